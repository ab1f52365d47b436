"""Do vectors meet across languages? The same id in two locales is the same product, so each must find the other."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmrec.arrays import Floats, Ints
from llmrec.console import track
from llmrec.errors import ConfigError, DataError
from llmrec.reporting.blocks import Block, Heading, Notes, Table, to_markdown
from llmrec.schema import LOCALES

__all__ = ["Alignment", "PairScores", "align_locales", "gold_ranks", "render_alignment"]


BLOCK: Final = 65_536  # candidates whose scores are held at once
QUERIES: Final = 256
_ROUNDING: Final = np.float32(1e-6)  # scores nearer to each other than this are equal
METRICS: Final[dict[str, Callable[[PairScores], float]]] = {
    "Hit@1": lambda scores: scores.hit_at_1,
    "Hit@10": lambda scores: scores.hit_at_10,
    "MRR": lambda scores: scores.mrr,
}


@dataclass(frozen=True)
class PairScores:
    """How well products of one locale find themselves in another.

    Attributes:
        num_gold: Ids that both locales sell, with a text in both.
        num_queries: Those of them that were asked for.
        num_candidates: Products of the other locale with a text.
        hit_at_1: Share of the queries whose own product is the most similar one.
        hit_at_10: Share whose own product is among the ten most similar.
        mrr: Mean of one over its rank, without a cut.
    """

    num_gold: int
    num_queries: int
    num_candidates: int
    hit_at_1: float
    hit_at_10: float
    mrr: float


@dataclass(frozen=True)
class Alignment:
    """Scores of each ordered pair of locales.

    Attributes:
        locales: The paper's six in its order, then others by name.
        pairs: ``(locale of the query, locale of the candidates)`` to its scores; a pair without a shared id is missing.
        most: Most queries of a pair.
        seed: Drew them.
    """

    locales: tuple[str, ...]
    pairs: dict[tuple[str, str], PairScores]
    most: int
    seed: int

    def matrix(self, metric: str) -> NDArray[np.float64]:
        """One of `METRICS` as a matrix, shape ``(L, L)``, query locales down; NaN where there is no pair."""
        values = np.full((len(self.locales), len(self.locales)), np.nan)
        for (asked, answering), scores in self.pairs.items():
            values[self.locales.index(asked), self.locales.index(answering)] = METRICS[metric](scores)
        return values


def align_locales(vectors: Floats, products: Any, most: int = 1000, seed: int = 0) -> Alignment:
    """Let products of each locale look for themselves among all products of each other.

    Args:
        vectors: Shape ``(N, D)``, rows of length 1, 0 for a product without text; may be memory-mapped.
        products: Arrow table of ``locale`` and ``id``, ``N`` rows.
        most: Most queries of a pair; where more ids are shared, so many are drawn.
        seed: Draws them.

    Raises:
        ConfigError: ``most`` is below 1.
        DataError: there is one locale alone, or no two locales share an id.
    """
    if most < 1:
        raise ConfigError(f"--queries must be at least 1; got {most}")
    names = products["locale"].to_pylist()
    place = {name: position for position, name in enumerate(LOCALES)}
    locales = tuple(sorted(set(names), key=lambda name: (place.get(name, len(place)), name)))
    if len(locales) < 2:
        raise DataError(f"one locale alone ({', '.join(locales)}): alignment compares the same id in two of them")
    filled = _filled(vectors)
    of_row, ids = np.asarray(names), products["id"].combine_chunks()
    rows = {name: np.flatnonzero(filled & (of_row == name)) for name in locales}
    pairs = {}
    ordered = list(itertools.permutations(range(len(locales)), 2))
    for one, other in track(ordered, "pairs of locales", len(ordered)):
        asked, answering = locales[one], locales[other]
        queries, golds = _shared(ids, rows[asked], rows[answering])
        if not len(queries):
            continue
        rng = np.random.default_rng([seed, one, other])
        drawn = np.sort(rng.permutation(len(queries))[:most])
        ranks = gold_ranks(vectors, queries[drawn], golds[drawn], rows[answering])
        pairs[asked, answering] = _scores(ranks, len(queries), len(rows[answering]))
    if not pairs:
        raise DataError(f"no id is sold in two of the locales {', '.join(locales)}; alignment needs some that are")
    return Alignment(locales, pairs, most, seed)


def gold_ranks(vectors: Floats, queries: Ints, golds: Ints, candidates: Ints) -> Ints:
    """Rank, from 1, of each query's own product among the candidates; of equal scores the smaller row comes first.

    Args:
        vectors: Shape ``(N, D)``.
        queries: Rows that ask, shape ``(Q,)``.
        golds: Row that each should find, shape ``(Q,)``.
        candidates: Rising rows that are looked through, a block at a time, shape ``(C,)``.
    """
    ranks = np.ones(len(queries), dtype=np.int64)
    for first in range(0, len(queries), QUERIES):
        part = slice(first, first + QUERIES)
        asked, wanted = np.asarray(vectors[queries[part]]), np.asarray(vectors[golds[part]])
        own = np.einsum("qd,qd->q", asked, wanted)[:, None]
        for start in range(0, len(candidates), BLOCK):
            rows = candidates[start : start + BLOCK]
            scores = asked @ np.asarray(vectors[rows]).T
            before = rows[None, :] < golds[part, None]
            better = (scores > own + _ROUNDING) | (before & (scores >= own - _ROUNDING))
            ranks[part] += (better & (rows[None, :] != golds[part, None])).sum(axis=1)
    return ranks


def render_alignment(alignment: Alignment) -> str:
    """Render a Markdown table for each metric, locales that ask down, locales that answer across."""
    blocks: list[Block] = []
    for metric in METRICS:
        rows = [
            [name, *("–" if np.isnan(value) else f"{value:.3f}" for value in row)]
            for name, row in zip(alignment.locales, alignment.matrix(metric), strict=True)
        ]
        blocks += [Heading(metric, 3), Table(("asks ↓, answers →", *alignment.locales), rows)]
    asked = [scores.num_queries for scores in alignment.pairs.values()]
    spread = f"{min(asked):,}" if min(asked) == max(asked) else f"{min(asked):,} to {max(asked):,}"
    note = (
        f"{spread} queries a pair (at most {alignment.most:,}, drawn with seed {alignment.seed}), "
        "each against all products of the other locale; – where no id is shared."
    )
    return to_markdown([*blocks, Notes([note])])


def _filled(vectors: Floats) -> NDArray[np.bool_]:
    filled = np.zeros(len(vectors), dtype=np.bool_)
    for start in range(0, len(vectors), BLOCK):
        filled[start : start + BLOCK] = (np.asarray(vectors[start : start + BLOCK]) != 0).any(axis=1)
    return filled


def _shared(ids: Any, asked: Ints, answering: Ints) -> tuple[Ints, Ints]:
    """Rows of the ids that both have, in the order of the first."""
    places = pc.index_in(ids.take(pa.array(asked)), value_set=ids.take(pa.array(answering)))
    both = places.is_valid().to_numpy(zero_copy_only=False)
    found: Ints = pc.drop_null(places).to_numpy(zero_copy_only=False).astype(np.int64)
    return asked[both], answering[found]


def _scores(ranks: Ints, num_gold: int, num_candidates: int) -> PairScores:
    return PairScores(
        num_gold,
        len(ranks),
        num_candidates,
        float((ranks <= 1).mean()),
        float((ranks <= 10).mean()),
        float((1 / ranks).mean()),
    )
