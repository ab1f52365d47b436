"""Features of candidates, in groups that can be switched off; every one is made from what a fold may know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Floats
from llmrec.errors import needing
from llmrec.rankers.base import Ranker
from llmrec.rankers.fusion.candidate_features.feature_counts import FeatureCounts, ItemCount, PairCount
from llmrec.rankers.fusion.candidate_features.id_features import id_columns
from llmrec.rankers.fusion.candidate_features.product_features import ProductFacts, product_columns
from llmrec.rankers.fusion.candidates import Candidates
from llmrec.rankers.fusion.scorers import Scorer
from llmrec.rankers.sessions import CodedSessions
from llmrec.rankers.vectors.item_vectors import ItemVectors
from llmrec.rankers.vectors.text_knn import TextKnn
from llmrec.text.session_vectors import session_vectors
from llmrec.within import highest_within, places_among, rank_within

__all__ = ["GROUPS", "FeatureContext", "build_features", "feature_names"]

Columns = dict[str, Floats]

RECENCY: Final = 0.5  # weight of a session's item relative to the next one's, where counts of several are added
ID_HISTORY: Final = 5  # most recent items of a session whose ids are compared
PAIRS: Final = 1 << 12  # pairs whose vectors are gathered at once: more would leave a processor's cache
# where pairs of all kinds are one number; next ones are among those after
PAIR_WEIGHTS: Final = {
    PairCount.AFTER: 1.0,
    PairCount.LABEL_AFTER: 2.0,
    PairCount.BEFORE: 0.5,
    PairCount.LABEL_BEFORE: 0.5,
}


@dataclass(frozen=True)
class FeatureContext:
    """What the features of a fold's sessions may look at.

    Attributes:
        sources: Fitted rankers by name, in the order of the candidates' scores.
        evidence: Counts.
        products: Attributes of items; None where no products were given.
        numbers: Shape ``(N,)``; the items' ids as numbers.
        history: Most recent items of a session that pairs are counted with.
        scorers: What scores the candidates beside, by name.
    """

    sources: dict[str, Ranker[Any]]
    evidence: FeatureCounts
    products: ProductFacts | None
    numbers: NDArray[np.float64]
    history: int
    scorers: dict[str, Scorer] = field(default_factory=dict)


def build_features(
    context: FeatureContext, sessions: CodedSessions, candidates: Candidates, groups: Sequence[str]
) -> tuple[list[str], Floats]:
    """Names ``F``, each ``group.feature``, and values ``(C, F)`` of some candidates; NaN where a thing is not known."""
    names: list[str] = []
    columns: list[Floats] = []
    for group in groups:
        for name, column in GROUPS[group](context, sessions, candidates).items():
            names.append(f"{group}.{name}")
            columns.append(column)
    values = np.empty((len(names), len(candidates)), dtype=np.float32)  # column after column, as trees read them
    for place, column in enumerate(columns):
        values[place] = column
    return names, values.T


def feature_names(context: FeatureContext, groups: Sequence[str]) -> list[str]:
    """Names of the features that `build_features` gives."""
    none = CodedSessions(np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    nothing, width = np.zeros(0, dtype=np.int64), (0, len(context.sources))
    empty = np.zeros(width, dtype=np.float32)
    return build_features(context, none, Candidates(nothing, nothing, empty, empty, empty.sum(axis=1)), groups)[0]


def _source(context: FeatureContext, sessions: CodedSessions, found: Candidates) -> Columns:
    columns: Columns = {"prior": found.prior, "votes": (~np.isnan(found.ranks)).sum(axis=1).astype(np.float32)}
    columns["prior_rank"] = rank_within(found.rows, found.prior)
    for place, name in enumerate(context.sources):
        scores = found.scores[:, place]
        best = highest_within(found.rows, scores, len(sessions), least=float(np.finfo(np.float32).tiny))
        columns[f"{name}.score"] = scores
        columns[f"{name}.share_of_best"] = scores / best[found.rows]
        columns[f"{name}.rank"] = found.ranks[:, place]
    return columns


def _pair(context: FeatureContext, sessions: CodedSessions, found: Candidates) -> Columns:
    """Counts of the session's recent items with the candidate, added up; the last item's alone gained nothing more."""
    with needing("rank"):
        from llmrec.rankers.fusion.candidate_features.pairing import PARTS, add_up_pairs  # which waits for numba
    evidence, recent = context.evidence, sessions.distinct().last(context.history)
    weights = np.array([PAIR_WEIGHTS.get(kind, 0) for kind in PairCount], dtype=np.float32)
    counts = (evidence.keys, evidence.pairs, evidence.totals)
    sums = add_up_pairs(counts, (weights, np.float32(RECENCY)), (recent.offsets, recent.items), found.rows, found.codes)
    names = [*(f"sum.{kind.name.lower()}" for kind in PairCount), *(f"sum.{part}" for part in PARTS), "nearest_link"]
    columns: Columns = dict(zip(names, sums, strict=True))
    columns["share_rank"] = rank_within(found.rows, columns["sum.share"])
    columns["lift_rank"] = rank_within(found.rows, columns["sum.lift"])
    return columns


def _vector(context: FeatureContext, sessions: CodedSessions, found: Candidates) -> Columns:
    columns: Columns = {}
    for name, source in context.sources.items():
        if isinstance(source, ItemVectors | TextKnn):
            columns |= {f"{name}.{one}": value for one, value in _cosines(source.vectors, sessions, found).items()}
    return columns


def _cosines(vectors: Floats, sessions: CodedSessions, found: Candidates) -> Columns:
    """Similarity to the last item, the recency-weighted and the plain mean; rounded, for sums differ with a batch."""
    kinds = (("last", 1, 1.0), ("session", 10, 0.6), ("mean", 20, 1.0))
    wanted = np.stack([session_vectors(sessions, vectors, recency, history) for _, history, recency in kinds], axis=1)
    values = np.empty((len(found), len(kinds)), dtype=np.float32)
    for start in range(0, len(found), PAIRS):
        part = slice(start, start + PAIRS)
        own, asked = vectors.take(found.codes[part], axis=0), wanted.take(found.rows[part], axis=0)
        values[part] = np.einsum("cd,ckd->ck", own, asked)
    values = np.round(values, 4)
    columns = {name: values[:, place] for place, (name, _, _) in enumerate(kinds)}
    columns["session_rank"] = rank_within(found.rows, columns["session"])
    return columns


def _neural(context: FeatureContext, sessions: CodedSessions, found: Candidates) -> Columns:
    columns: Columns = {}
    for name, scorer in context.scorers.items():
        own = scorer.columns(sessions, found)
        score = own["score"]
        best = highest_within(found.rows, score, len(sessions))
        columns |= {f"{name}.{one}": value for one, value in own.items()}
        columns[f"{name}.below_best"] = score - best[found.rows]
        columns[f"{name}.rank"] = rank_within(found.rows, np.where(np.isnan(score), -np.inf, score))
    return columns


def _item(context: FeatureContext, sessions: CodedSessions, found: Candidates) -> Columns:
    evidence, codes = context.evidence, found.codes
    own = {kind: evidence.items[codes, kind] for kind in ItemCount}
    columns = {kind.name.lower(): np.log1p(counts) for kind, counts in own.items()}
    locales = sessions.locales[found.rows]
    here, every = evidence.by_locale[locales, codes], np.maximum(own[ItemCount.COUNT], 1)
    columns["here"] = np.log1p(here)
    columns["share_here"] = here / every
    columns["label_here"] = np.log1p(evidence.labels_by_locale[locales, codes])
    columns["end_share"] = own[ItemCount.END] / every
    columns["first_share"] = own[ItemCount.FIRST] / every
    columns["label_share"] = own[ItemCount.LABEL] / every
    columns["here_rank"] = rank_within(found.rows, here)
    return columns


def _session(context: FeatureContext, sessions: CodedSessions, found: Candidates) -> Columns:
    lengths = sessions.lengths
    distinct = sessions.distinct()
    last = np.maximum(sessions.ends, 0)
    evidence = context.evidence
    of_last = {kind: evidence.items[last, kind] for kind in ItemCount}
    number = np.bincount(found.rows, minlength=len(sessions))
    per_session = {
        "length": lengths,
        "distinct": distinct.lengths,
        "locale": sessions.locales,
        "candidates": number,
        "last_count": np.log1p(of_last[ItemCount.COUNT]),
        "last_followers": np.log1p(of_last[ItemCount.FOLLOWERS]),
        "last_end_share": of_last[ItemCount.END] / np.maximum(of_last[ItemCount.COUNT], 1),
        "last_here": np.log1p(evidence.by_locale[sessions.locales, last]),
    }
    columns = {name: value.astype(np.float32)[found.rows] for name, value in per_session.items()}
    columns["times_seen"] = _times_seen(sessions, found, len(evidence.items))
    return columns


def _times_seen(sessions: CodedSessions, found: Candidates, num_items: int) -> Floats:
    """How often the session holds the candidate; 0 throughout where seen items are dropped."""
    held, counts = np.unique(sessions.rows * num_items + sessions.items, return_counts=True)
    places = places_among(held, found.rows * num_items + found.codes)
    return np.append(counts, 0)[places].astype(np.float32)


def _product(context: FeatureContext, sessions: CodedSessions, found: Candidates) -> Columns:
    return {} if context.products is None else product_columns(context.products, sessions, found)


def _id(context: FeatureContext, sessions: CodedSessions, found: Candidates) -> Columns:
    return id_columns(context.numbers, sessions, found, ID_HISTORY)


GROUPS: Final[dict[str, Callable[[FeatureContext, CodedSessions, Candidates], Columns]]] = {
    "source": _source,
    "pair": _pair,
    "vector": _vector,
    "neural": _neural,
    "item": _item,
    "session": _session,
    "product": _product,
    "id": _id,
}
