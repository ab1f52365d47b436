"""Do vectors meet across languages? The same id in two locales is the same product, so each must find the other."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmrec.arrays import Floats, Ints
from llmrec.console import track
from llmrec.errors import ConfigError, DataError
from llmrec.evaluation.bootstrap import Interval, interval_of, resampled_means, resampled_sums
from llmrec.reporting.blocks import Block, Heading, Notes, Table, to_markdown
from llmrec.schema import LOCALES

__all__ = [
    "Alignment",
    "Asked",
    "PairScores",
    "align_locales",
    "filled_rows",
    "gold_ranks",
    "pooled",
    "pooled_difference",
    "render_alignment",
    "render_comparison",
]


BLOCK: Final = 65_536  # candidates whose scores are held at once
QUERIES: Final = 256
_ROUNDING: Final = np.float32(1e-6)  # scores nearer to each other than this are equal
METRICS: Final[dict[str, Callable[[PairScores], float]]] = {
    "Hit@1": lambda scores: scores.hit_at_1,
    "Hit@10": lambda scores: scores.hit_at_10,
    "MRR": lambda scores: scores.mrr,
}
SAMPLES: Final = 2_000


@dataclass(frozen=True)
class Asked:
    """What products of one locale looked for in another.

    Attributes:
        ids: Their ids, each once.
        ranks: Of their own product among the other locale's, from 1.
    """

    ids: tuple[str, ...]
    ranks: tuple[int, ...]

    @property
    def gains(self) -> NDArray[np.float64]:
        """What each adds to the `METRICS`, shape ``(Q, 3)``."""
        ranks = np.array(self.ranks, dtype=np.float64)
        return np.stack([ranks <= 1, ranks <= 10, 1 / ranks], axis=1).astype(np.float64)


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
        hit_at_1_interval: Ends of its 95 % interval over queries drawn with replacement.
        hit_at_10_interval: The same.
        mrr_interval: The same.
    """

    num_gold: int
    num_queries: int
    num_candidates: int
    hit_at_1: float
    hit_at_10: float
    mrr: float
    hit_at_1_interval: tuple[float, float]
    hit_at_10_interval: tuple[float, float]
    mrr_interval: tuple[float, float]


@dataclass(frozen=True)
class Alignment:
    """Scores of each ordered pair of locales.

    Attributes:
        locales: The paper's six in its order, then others by name.
        pairs: ``(locale of the query, locale of the candidates)`` to its scores; a pair without a shared id is missing.
        asked: The same pairs to what was asked, and found at which rank.
        most: Most queries of a pair.
        seed: Drew them.
    """

    locales: tuple[str, ...]
    pairs: dict[tuple[str, str], PairScores]
    asked: dict[tuple[str, str], Asked]
    most: int
    seed: int

    def matrix(self, metric: str) -> NDArray[np.float64]:
        """One of `METRICS` as a matrix, shape ``(L, L)``, query locales down; NaN where there is no pair."""
        values = np.full((len(self.locales), len(self.locales)), np.nan)
        for (asked, answering), scores in self.pairs.items():
            values[self.locales.index(asked), self.locales.index(answering)] = METRICS[metric](scores)
        return values


def align_locales(
    vectors: Floats, products: Any, most: int = 1000, seed: int = 0, filled: NDArray[np.bool_] | None = None
) -> Alignment:
    """Let products of each locale look for themselves among all products of each other.

    Args:
        vectors: Shape ``(N, D)``, rows of length 1, 0 for a product without text; may be memory-mapped.
        products: Arrow table of ``locale`` and ``id``, ``N`` rows.
        most: Most queries of a pair; where more ids are shared, so many are drawn.
        seed: Draws them.
        filled: Which products ask and answer, shape ``(N,)``; those with a text where None.

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
    filled = filled_rows(vectors) if filled is None else filled
    of_row, ids = np.asarray(names), products["id"].combine_chunks()
    rows = {name: np.flatnonzero(filled & (of_row == name)) for name in locales}
    pairs, found = {}, {}
    ordered = list(itertools.permutations(range(len(locales)), 2))
    for one, other in track(ordered, "pairs of locales", len(ordered)):
        asked, answering = locales[one], locales[other]
        queries, golds = _shared(ids, rows[asked], rows[answering])
        if not len(queries):
            continue
        rng = np.random.default_rng([seed, one, other])
        drawn = np.sort(rng.permutation(len(queries))[:most])
        ranks = gold_ranks(vectors, queries[drawn], golds[drawn], rows[answering])
        named = ids.take(pa.array(queries[drawn])).to_pylist()
        found[asked, answering] = Asked(tuple(named), tuple(ranks.tolist()))
        pairs[asked, answering] = _scores(found[asked, answering], len(queries), len(rows[answering]), seed)
    if not pairs:
        raise DataError(f"no id is sold in two of the locales {', '.join(locales)}; alignment needs some that are")
    return Alignment(locales, pairs, found, most, seed)


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


def pooled(alignment: Alignment) -> tuple[Interval, ...]:
    """Means of the `METRICS` over all queries of all pairs, with intervals over ids drawn with replacement.

    An id is asked for in each pair of locales that sell it, and its queries are alike: they are drawn together.
    """
    sums = _by_id(alignment)
    drawn = resampled_sums(sums, SAMPLES, alignment.seed)
    total = sums.sum(axis=0)
    return tuple(
        interval_of(total[column] / total[0], drawn[:, column] / drawn[:, 0]) for column in range(1, sums.shape[1])
    )


def pooled_difference(first: Alignment, second: Alignment) -> tuple[Interval, ...]:
    """How far the first is above the second in each of the `METRICS`, over all queries, with paired intervals.

    Raises:
        DataError: they asked for different products.
    """
    if {pair: one.ids for pair, one in first.asked.items()} != {pair: one.ids for pair, one in second.asked.items()}:
        raise DataError("two alignments of different products cannot be compared; embed the same file")
    one, other = (_by_id(alignment) for alignment in (first, second))
    drawn_one, drawn_other = (resampled_sums(sums, SAMPLES, first.seed) for sums in (one, other))
    totals = one.sum(axis=0) - other.sum(axis=0)
    return tuple(
        interval_of(totals[column] / one[:, 0].sum(), (drawn_one[:, column] - drawn_other[:, column]) / drawn_one[:, 0])
        for column in range(1, one.shape[1])
    )


def _by_id(alignment: Alignment) -> NDArray[np.float64]:
    """Queries of each id, and sums of what they add to the `METRICS`, shape ``(ids, 4)``."""
    ids = [name for asked in alignment.asked.values() for name in asked.ids]
    gains = np.concatenate([asked.gains for asked in alignment.asked.values()])
    _, places = np.unique(np.array(ids, dtype=object), return_inverse=True)
    sums = np.zeros((int(places.max()) + 1, 1 + gains.shape[1]))
    np.add.at(sums, places, np.column_stack([np.ones(len(gains)), gains]))
    return sums


def render_comparison(alignments: Sequence[tuple[str, Alignment]]) -> str:
    """Render a Markdown table: the `METRICS` of each encoder over all pairs, and how far its MRR is above the first's.

    Raises:
        DataError: they asked for different products.
    """
    rows = []
    for place, (name, alignment) in enumerate(alignments):
        cells = [f"{one.difference:.3f} [{one.low:.3f}, {one.high:.3f}]" for one in pooled(alignment)]
        gain = pooled_difference(alignment, alignments[0][1])[-1]
        rows.append([name, *cells, f"{gain.difference:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]" if place else ""])
    first = alignments[0][1]
    num = sum(len(asked.ids) for asked in first.asked.values())
    distinct = len({name for asked in first.asked.values() for name in asked.ids})
    columns = ("encoder", *METRICS, *(["MRR above the first"] if len(rows) > 1 else []))
    note = f"All pairs together: {num:,} queries of {distinct:,} ids; 95 % intervals over ids drawn with replacement."
    return to_markdown([Heading("All pairs", 3), Table(columns, [row[: len(columns)] for row in rows]), Notes([note])])


def filled_rows(vectors: Floats) -> NDArray[np.bool_]:
    """Which products have a vector, shape ``(N,)``: those with a text that the encoder knows something of."""
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


def _scores(asked: Asked, num_gold: int, num_candidates: int, seed: int) -> PairScores:
    means = asked.gains.mean(axis=0)
    drawn = [resampled_means(column, SAMPLES, seed) for column in asked.gains.T]
    found = [interval_of(mean, one) for mean, one in zip(means, drawn, strict=True)]
    (hit_at_1, hit_at_10, mrr), (one, ten, reciprocal) = means.tolist(), [(each.low, each.high) for each in found]
    return PairScores(num_gold, len(asked.ids), num_candidates, hit_at_1, hit_at_10, mrr, one, ten, reciprocal)
