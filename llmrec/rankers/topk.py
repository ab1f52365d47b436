"""The k best of many candidates, for many sessions at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmrec.rankers.vocabulary import UNKNOWN

__all__ = ["fill_up", "grouped", "is_among", "rank_within", "sum_candidates", "top_k_candidates"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

_SIGN = np.uint32(1 << 31)
_SCORE_BITS = 32
_KEY_BITS = 64


def top_k_candidates(
    rows: Ints, codes: Ints, scores: NDArray[np.floating], num_sessions: int, k: int
) -> tuple[Ints, Floats]:
    """Best k candidates of each session; ties, as float32, go to the smaller code.

    Args:
        rows: Shape ``(C,)``; session of each candidate.
        codes: Shape ``(C,)``; its item, at least 0. A session has each item at most once.
        scores: Shape ``(C,)``; higher is better.
        num_sessions: ``S``.
        k: Most items of a list.

    Returns:
        Codes ``(S, k)``, -1 beyond a session's candidates, and scores ``(S, k)``, ``-inf`` there.
    """
    values = scores.astype(np.float32) + np.float32(0)  # -0.0 becomes 0.0, so that the two tie
    code_bits = int(codes.max(initial=0)).bit_length()
    if max(0, num_sessions - 1).bit_length() + _SCORE_BITS + code_bits <= _KEY_BITS:
        rows, codes, values = _sorted_as_one_number(rows, codes, values, code_bits)
    else:
        order = np.lexsort((codes, -values, rows))
        rows, codes, values = rows[order], codes[order], values[order]
    place = np.arange(len(rows)) - np.searchsorted(rows, np.arange(num_sessions))[rows]
    best = place < k
    rows, place = rows[best], place[best]
    ranked = np.full((num_sessions, k), UNKNOWN)
    kept = np.full((num_sessions, k), -np.inf, dtype=np.float32)
    ranked[rows, place] = codes[best]
    kept[rows, place] = values[best]
    return ranked, kept


def _sorted_as_one_number(rows: Ints, codes: Ints, values: Floats, code_bits: int) -> tuple[Ints, Ints, Floats]:
    """Candidates by session, falling score, code: sorting one whole number each is many times faster than lexsort."""
    falling = _falling(values)
    key = (rows.astype(np.uint64) << np.uint64(_SCORE_BITS + code_bits)) | (
        (falling.astype(np.uint64) << np.uint64(code_bits)) | codes.astype(np.uint64)
    )
    key.sort()
    falling = (key >> np.uint64(code_bits)).astype(np.uint32)
    bits = np.where(falling & _SIGN, falling, ~falling & ~_SIGN)
    code_mask = np.uint64((1 << code_bits) - 1)
    sorted_rows = (key >> np.uint64(_SCORE_BITS + code_bits)).astype(np.int64)
    return sorted_rows, (key & code_mask).astype(np.int64), bits.view(np.float32)


def _falling(values: Floats) -> NDArray[np.uint32]:
    """Whole numbers that rise as the values fall: IEEE 754 order, turned around."""
    bits = values.view(np.uint32)
    falling: NDArray[np.uint32] = np.where(bits & _SIGN, bits, ~(bits | _SIGN))
    return falling


def rank_within(rows: Ints, values: NDArray[np.floating]) -> Floats:
    """Rank of each candidate in its session by falling value, from 1, shape ``(C,)``; equals share the best rank.

    Args:
        rows: Shape ``(C,)``; session of each candidate, ascending.
        values: Shape ``(C,)``; as float32, no NaN.
    """
    falling = _falling(values.astype(np.float32) + np.float32(0))  # -0.0 becomes 0.0, so that the two tie
    key = (rows.astype(np.uint64) << np.uint64(_SCORE_BITS)) | falling.astype(np.uint64)
    order = np.argsort(key)  # one whole number each: twice as quick as lexsort
    ordered = key[order]
    places = np.arange(len(key))
    fresh = np.ones(len(key), dtype=np.bool_)
    fresh[1:] = ordered[1:] != ordered[:-1]
    sizes = np.bincount(rows)
    firsts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    ranks = np.empty(len(key), dtype=np.float32)
    ranks[order] = np.maximum.accumulate(np.where(fresh, places, 0)) - firsts + 1
    return ranks


def sum_candidates(
    rows: Ints, codes: Ints, weights: NDArray[np.floating], num_items: int
) -> tuple[Ints, Ints, NDArray[np.float64]]:
    """Add up the weights of each (session, item), each in the order given, so that a batch equals one by one.

    Args:
        rows: Shape ``(C,)``; session of each weight.
        codes: Shape ``(C,)``; its item.
        weights: Shape ``(C,)``.
        num_items: ``N``, above every code.

    Returns:
        Session, item and sum of each distinct pair, sorted by session and item.
    """
    order, starts = grouped(rows, codes, num_items)
    if not len(order):
        return rows, codes, np.zeros(0)
    sums: NDArray[np.float64] = np.add.reduceat(weights[order], starts, dtype=np.float64)
    firsts = order[starts]
    return rows[firsts], codes[firsts], sums


def grouped(rows: Ints, codes: Ints, num_codes: int) -> tuple[Ints, Ints]:
    """The order ``(C,)`` that brings equal (row, code) pairs together, sorted, and where each group starts there.

    Within a group the order given stays. ``num_codes`` is above every code.
    """
    keys = rows * num_codes + codes
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    return order, np.flatnonzero(np.concatenate([np.ones(min(1, len(keys)), np.bool_), keys[1:] != keys[:-1]]))


def is_among(rows: Ints, codes: Ints, held_rows: Ints, held_codes: Ints, num_items: int) -> Bools:
    """Whether each (row, code) pair is one of the held pairs, shape ``(C,)``; quickest where these are few.

    ``num_items`` is above every code; a held code of -1 stands for none.
    """
    held = np.sort((held_rows * num_items + held_codes)[held_codes != UNKNOWN])
    if not len(held):
        return np.zeros(len(rows), dtype=np.bool_)
    keys = rows * num_items + codes
    found: Bools = held[np.minimum(np.searchsorted(held, keys), len(held) - 1)] == keys
    return found


def fill_up(ranked: Ints, scores: Floats, fillers: Ints, excluded: Ints) -> None:
    """Append fillers to the lists that are short of their width, in place.

    Args:
        ranked: Shape ``(S, k)``; codes, -1 beyond the end of a list.
        scores: Shape ``(S, k)``; a filler scores 1 less than the item before it, the first one of an empty list -1.
        fillers: Shape ``(S, P)``; distinct codes to append, best first, -1 beyond or between.
        excluded: Shape ``(S, E)``; codes that must not be appended, -1 for none.
    """
    short = np.flatnonzero((ranked == UNKNOWN).any(axis=1))
    if not len(short) or not fillers.shape[1]:
        return
    held = np.concatenate([ranked[short], excluded[short]], axis=1)
    fresh = fillers[short]
    num_items = int(max(held.max(initial=0), fresh.max(initial=0))) + 1
    rows = np.arange(len(short))[:, None]
    taken = is_among(
        np.broadcast_to(rows, fresh.shape).ravel(),
        fresh.ravel(),
        np.broadcast_to(rows, held.shape).ravel(),
        held.ravel(),
        num_items,
    )
    usable = (fresh != UNKNOWN) & ~taken.reshape(fresh.shape)
    lengths = (ranked[short] != UNKNOWN).sum(axis=1)
    nth = usable.cumsum(axis=1) - 1
    usable &= nth < ranked.shape[1] - lengths[:, None]
    row, place = np.nonzero(usable)
    nth = nth[row, place]
    lowest = np.where(lengths > 0, scores[short, np.maximum(lengths - 1, 0)], np.float32(0))
    target = (short[row], lengths[row] + nth)
    ranked[target] = fresh[row, place]
    scores[target] = lowest[row] - np.float32(1) - nth.astype(np.float32)
