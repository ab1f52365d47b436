"""Ranking metrics with one target a session, computed for whole columns at once (Jin et al. 2023, App. A)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmrec.api.public import public
from llmrec.console import track
from llmrec.errors import ConfigError, DataError
from llmrec.plugins.named import Named
from llmrec.ragged import row_numbers

__all__ = [
    "MAX_RANKED",
    "RANKING_METRICS",
    "metric_by_rank",
    "mrr_at_k",
    "ndcg_at_k",
    "ranking_metrics",
    "ranks_of_targets",
    "recall_at_k",
    "register_metric",
]

MAX_RANKED: Final = 100  # the longest list that the KDD Cup's submission form takes
CHUNK: Final = 1_000  # rows compared at once: their 100,000 ids and codes stay in a processor's cache
_ABSENT: Final = -1
_METRIC_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")


def ranks_of_targets(
    ranked: pa.Array | pa.ChunkedArray | Sequence[Sequence[str]],
    targets: pa.Array | pa.ChunkedArray | Sequence[str],
    source: str = "ranked lists",
) -> NDArray[np.int64]:
    """Find each session's target in its ranked list.

    Args:
        ranked: ``S`` lists of at most `MAX_RANKED` distinct ids, best first; a list may be empty.
        targets: ``S`` ids.
        source: What error messages call ``ranked``, a file name for instance.

    Returns:
        Shape ``(S,)``; the target's rank from 1, 0 where it is absent.

    Raises:
        DataError: the lengths differ; a list is missing, longer than `MAX_RANKED`, or holds an id twice or a null. Rows
            are counted from 1.
    """
    lists = _as_arrow(ranked, pa.list_(pa.string()))
    wanted = _as_arrow(targets, pa.string())
    if len(lists) != len(wanted):
        raise DataError(f"{source}: {len(lists)} ranked lists for {len(wanted)} targets; give one list a session")
    ranks = np.zeros(len(lists), dtype=np.int64)
    starts = range(0, len(lists), CHUNK)
    for start in track(starts, "ranks", len(starts)):
        part, goal = (pa.concat_arrays(column.slice(start, CHUNK).chunks) for column in (lists, wanted))
        ranks[start : start + len(part)] = _ranks_of_part(part, goal, source, start + 1)
    return ranks


def _as_arrow(values: Any, kind: Any) -> Any:
    if isinstance(values, pa.ChunkedArray):
        return values.cast(kind)
    if isinstance(values, pa.Array):
        return pa.chunked_array([values]).cast(kind)
    return pa.chunked_array([pa.array(values, kind)])


def _ranks_of_part(lists: Any, targets: Any, source: str, first_row: int) -> NDArray[np.int64]:
    """Ranks of at most `CHUNK` sessions, through a padded matrix of id codes, shape ``(rows, longest list)``."""
    lengths = _checked_lengths(lists, source, first_row)
    ids = lists.flatten()
    encoded = ids.dictionary_encode()
    if encoded.null_count:
        row = int(np.searchsorted(np.cumsum(lengths), _first(encoded.is_null().to_numpy(False)), side="right"))
        raise DataError(f"{source}, row {first_row + row}: a ranked list holds an empty (null) id; write ids alone")
    matrix = np.full((len(lengths), int(lengths.max(initial=1))), _ABSENT, dtype=np.int32)
    filled = np.arange(matrix.shape[1]) < lengths[:, None]
    matrix[filled] = encoded.indices.to_numpy()
    _refuse_duplicates(matrix, encoded.dictionary, source, first_row)
    goals = targets.take(pa.array(row_numbers(lengths)))
    hits = np.zeros(matrix.shape, dtype=np.bool_)
    hits[filled] = pc.fill_null(pc.equal(ids, goals), False).to_numpy(zero_copy_only=False)
    return np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, 0).astype(np.int64)


def _checked_lengths(lists: Any, source: str, first_row: int) -> NDArray[np.int64]:
    missing = lists.is_null().to_numpy(False)
    if missing.any():
        raise DataError(f"{source}, row {first_row + _first(missing)}: no ranked list (null); write an empty list")
    lengths: NDArray[np.int64] = lists.value_lengths().to_numpy().astype(np.int64)
    long = lengths > MAX_RANKED
    if long.any():
        row = _first(long)
        raise DataError(f"{source}, row {first_row + row}: {lengths[row]} ids in a ranked list; cut it to {MAX_RANKED}")
    return lengths


def _refuse_duplicates(matrix: NDArray[np.int32], ids: Any, source: str, first_row: int) -> None:
    in_order = np.sort(matrix, axis=1)
    twice = (in_order[:, 1:] == in_order[:, :-1]) & (in_order[:, 1:] != _ABSENT)
    if twice.any():
        row = _first(twice.any(axis=1))
        item = ids[int(in_order[row, 1:][twice[row]][0])].as_py()
        raise DataError(f"{source}, row {first_row + row}: id '{item}' is ranked twice; keep its best rank alone")


def _first(mask: NDArray[np.bool_]) -> int:
    return int(np.argmax(mask))


def mrr_at_k(ranks: NDArray[np.int64], k: int) -> float:
    """Mean reciprocal rank, cut at ``k``; a target below ``k`` scores 0.

    Args:
        ranks: Shape ``(S,)``; rank of each session's target from 1, 0 where it is absent.
        k: Cutoff, at least 1. The paper reports ``k = 100`` (Jin et al. 2023, Eq. 1).

    Returns:
        A fraction in ``[0, 1]``; 0 for no sessions.

    Raises:
        ConfigError: ``k`` is below 1.
    """
    return _mean_gain(ranks, k, lambda rank: 1.0 / rank)


def recall_at_k(ranks: NDArray[np.int64], k: int) -> float:
    """Share of sessions whose target is among the first ``k`` (the paper's Hit@K, Eq. 2); otherwise as `mrr_at_k`."""
    return _mean_gain(ranks, k, np.ones_like)


def ndcg_at_k(ranks: NDArray[np.int64], k: int) -> float:
    """Mean of 1/log2(rank + 1), cut at ``k``: NDCG where one item is relevant, so the ideal gain is 1 (App. A).

    Otherwise as `mrr_at_k`.
    """
    return _mean_gain(ranks, k, lambda rank: 1.0 / np.log2(rank + 1.0))


def _mean_gain(ranks: NDArray[np.int64], k: int, gain: Callable[[Any], Any]) -> float:
    if k < 1:
        raise ConfigError(f"a metric's cutoff must be at least 1; got {k}")
    gains = np.where((ranks > 0) & (ranks <= k), gain(np.maximum(ranks, 1)), 0.0)
    return float(gains.mean()) if gains.size else 0.0


RANKING_METRICS: Final[dict[str, Callable[[NDArray[np.int64], int], float]]] = {
    "mrr": mrr_at_k,
    "recall": recall_at_k,
    "ndcg": ndcg_at_k,
}


Metric = Callable[[NDArray[np.int64], int], float]


def _metric(name: str, thing: Any) -> Metric:
    if not callable(thing) or not _METRIC_NAME.fullmatch(name):
        raise ConfigError(f"metric '{name}': a function of ranks and k, with a name such as first_page, is wanted")
    found: Metric = thing
    return found


_ADDED: Final = Named("metric", "llmrec.metrics", {*RANKING_METRICS, "hit"}, _metric)


@public
def register_metric(name: str, metric: Metric) -> None:
    """Have a metric of ranked lists stand in every result, beside MRR, Recall and NDCG.

    A package makes one known to all by an entry point of the group ``llmrec.metrics``, of the same name.

    Args:
        name: What results call it: ``name@100``.
        metric: Takes the targets' ranks, shape ``(S,)``, 0 where a target is absent, and a cutoff; gives the mean over
            sessions of what each adds.

    Raises:
        ConfigError: there is a metric of that name, or it is no function.

    Example:
        >>> import llmrec
        >>> llmrec.register_metric("first", lambda ranks, k: float((ranks == 1).mean()))
        >>> llmrec.evaluate([["cup"], ["tea"]], ["cup", "pot"], samples=100).overall.metrics["first@100"]
        0.5
    """
    _ADDED.register(name, metric)


def ranking_metrics() -> dict[str, Metric]:
    """All metrics of ranked lists by name, those that were added last."""
    added = {name: _ADDED.find(name) for name in _ADDED.names()}
    return {**RANKING_METRICS, **{name: metric for name, metric in added.items() if metric is not None}}


def metric_by_rank(metric: str) -> NDArray[np.float64]:
    """What a session adds to a metric, by the rank of its target: shape ``(MAX_RANKED + 1,)``; 0 is a target missed.

    Args:
        metric: ``mrr@100``, ``recall@20``, ``ndcg@10``, ``hit@1`` …; ``hit`` is the paper's name for recall here.

    Raises:
        ConfigError: no such metric, or a cutoff below 1 or above `MAX_RANKED`.
    """
    name, _, cutoff = metric.partition("@")
    known = {**ranking_metrics(), "hit": recall_at_k}
    if name not in known or not cutoff.isdecimal() or not 1 <= int(cutoff) <= MAX_RANKED:
        raise ConfigError(f"no metric '{metric}'; write one of {', '.join(known)} and a cutoff of 1 to {MAX_RANKED}")
    try:
        return np.array([float(known[name](np.array([rank]), int(cutoff))) for rank in range(MAX_RANKED + 1)])
    except Exception as error:  # whatever somebody else's function does
        reason = f"{type(error).__name__}: {error}"
        raise ConfigError(f"metric '{name}' failed ({reason}); mend what was registered") from error
