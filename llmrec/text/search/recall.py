"""How much of the exact answer a shard finds for how much work, and the least work for a stated share."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from llmrec.arrays import Floats, Ints
from llmrec.console import table
from llmrec.errors import ConfigError
from llmrec.text.search.index import Index, Shard
from llmrec.text.search.vectors import ROUNDING, Vectors, best, exact_candidates

__all__ = ["Point", "recall", "trade_off", "trade_off_table", "tuned"]

QUERIES: Final = 200
TIMED: Final = 50
ENOUGH: Final = 0.999
EFFORTS: Final = {
    "hnsw": (16, 32, 64, 128, 256, 512),
    "ivf": (1, 2, 4, 8, 16, 32, 64, 128, 256),
    "pq": (1, 2, 4, 8, 16, 32, 64, 128, 256),
}


@dataclass(frozen=True)
class Point:
    """One setting of a shard.

    Attributes:
        effort: ``nprobe`` of IVF and PQ, ``efSearch`` of HNSW.
        recall: Share of the exact ``k`` nearest that it finds, over the sampled queries.
        ms: Median milliseconds of one query alone.
    """

    effort: int
    recall: float
    ms: float


def recall(scores: Floats, exact: Floats) -> float:
    """Share of the exact answer that was found; another row of an equal score is as good.

    Args:
        scores: Shape ``(Q, k)``; what was found, by `llmrec.text.search.vectors.best`.
        exact: Shape ``(Q, k)``; the exact answer's scores, ``-inf`` beyond what there is.
    """
    there = np.isfinite(exact)
    last = np.where(there, exact, np.inf).min(axis=1, keepdims=True)
    hits = np.minimum((scores >= last - ROUNDING).sum(axis=1), there.sum(axis=1))
    return float(hits.sum() / max(1, there.sum()))


def trade_off(vectors: Vectors, shard: Shard, k: int = 10, seed: int = 0) -> list[Point]:
    """Recall@k and time of rising efforts, up to the one that finds nearly all.

    Args:
        vectors: Of all rows.
        shard: One with a structure.
        k: Cutoff of the recall.
        seed: Draws the products that are searched for; each is left out of its own answer.
    """
    drawn = np.random.default_rng(seed).choice(shard.rows, min(QUERIES, len(shard.rows)), replace=False)
    queries = vectors.take(drawn)
    exact = _others(vectors, queries, exact_candidates(vectors, shard.rows, queries, k + 1), drawn, k)
    points: list[Point] = []
    for effort in EFFORTS[shard.kind]:
        whole = dataclasses.replace(shard, effort=effort).view(np.ones(len(vectors), dtype=np.bool_))
        found = _others(vectors, queries, whole.candidates(vectors, queries, k + 1), drawn, k)
        seconds = []
        for query in queries[:TIMED]:
            started = time.perf_counter()
            best(vectors, query[None], whole.candidates(vectors, query[None], k), k)
            seconds.append(time.perf_counter() - started)
        points.append(Point(effort, recall(found, exact), float(np.median(seconds)) * 1e3))
        if points[-1].recall >= ENOUGH:
            break
    return points


def tuned(index: Index, target: float, k: int = 10, seed: int = 0) -> tuple[Index, dict[int, list[Point]]]:
    """The index with the least effort in each shard that reaches ``target``, or the most where none does.

    Args:
        index: What to tune.
        target: Recall@k against exact search, in ``(0, 1]``.
        k: Its cutoff.
        seed: Draws the queries.

    Returns:
        The index and, by the number of the shard's group, the points that were measured.

    Raises:
        ConfigError: ``target`` is no such share.
    """
    if not 0 < target <= 1:
        raise ConfigError(f"--recall must be above 0 and at most 1; got {target:g}")
    shards, measured = [], {}
    for shard in index.shards:
        if shard.structure is not None:
            points = measured[shard.group] = trade_off(index.vectors, shard, k, seed)
            enough = [point.effort for point in points if point.recall >= target]
            best_of_all = max(points, key=lambda point: point.recall).effort
            shard = dataclasses.replace(shard, effort=enough[0] if enough else best_of_all)
        shards.append(shard)
    return dataclasses.replace(index, shards=tuple(shards)), measured


def trade_off_table(index: Index, measured: dict[int, list[Point]], locales: Sequence[str], k: int = 10) -> Any:
    """What `tuned` measured as a table; the settings that it chose are marked."""
    rows = [
        (
            f"{locales[shard.group]}, {len(shard.rows):,} products",
            f"{'efSearch' if shard.kind == 'hnsw' else 'nprobe'} {point.effort}",
            f"{point.recall:.3f}",
            f"{point.ms:.2f}",
            "chosen" if point.effort == shard.effort else "",
        )
        for shard in index.shards
        for point in measured.get(shard.group, [])
    ]
    return table("recall against exact search", ("locale", "setting", f"recall@{k}", "ms/query", ""), rows)


def _others(vectors: Vectors, queries: Floats, candidates: Ints, own: Ints, k: int) -> Floats:
    """Scores of the ``k`` best candidates but the product itself."""
    without = np.where(candidates == own[:, None], -1, candidates)
    return best(vectors, queries, without, k)[0]
