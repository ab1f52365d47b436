"""The best, the first, the rank of many candidates, each within its session, for many sessions at once.

Candidates stand in flat arrays: ``rows`` says whose each is. What is compared as float32 is quicker by several times
than what is compared ``exact``, as it is given.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Bools, Floats, Ints
from llmrec.ragged import UNKNOWN, offsets_of, places_within

__all__ = [
    "best_of_each",
    "best_within",
    "fill_up",
    "first_k",
    "grouped",
    "highest_within",
    "is_among",
    "near_best",
    "nth_within",
    "order_within",
    "places_among",
    "rank_within",
    "starts_anew",
    "sum_candidates",
    "top_k_candidates",
]

Keys = NDArray[np.uint64]

_LONG: Final = 2_048  # candidates of a session, of which a cut before they are sorted saves time
_SIGN = np.uint32(1 << 31)
_LAST = np.uint64((1 << 64) - 1)  # above every key
_LOW_BITS = np.uint64(32)
_LOW = np.uint64((1 << 32) - 1)


def top_k_candidates(
    rows: Ints, codes: Ints, scores: NDArray[np.floating], num_sessions: int, k: int
) -> tuple[Ints, Floats]:
    """Best k candidates of each session; ties, as float32, go to the smaller code.

    Args:
        rows: Shape ``(C,)``; session of each candidate. Quickest where they ascend.
        codes: Shape ``(C,)``; its item, from 0 to 2^32 - 1. A session has each item at most once.
        scores: Shape ``(C,)``; higher is better.
        num_sessions: ``S``.
        k: Most items of a list.

    Returns:
        Codes ``(S, k)``, -1 beyond a session's candidates, and scores ``(S, k)``, ``-inf`` there.
    """
    if (rows[1:] < rows[:-1]).any():
        order = np.argsort(rows, kind="stable")
        rows, codes, scores = rows[order], codes[order], scores[order]
    sizes = np.bincount(rows, minlength=num_sessions)
    if len(rows) > num_sessions * max(_LONG, 4 * k):
        near = near_best(scores, sizes, k)
        rows, codes, scores = rows[near], codes[near], scores[near]
        sizes = np.bincount(rows, minlength=num_sessions)
    keys = _sorted_by_session(_keys(scores, codes), sizes)
    place = places_within(sizes)
    best = place < k
    keys, rows, place = keys[best], rows[best], place[best]
    ranked = np.full((num_sessions, k), UNKNOWN)
    kept = np.full((num_sessions, k), -np.inf, dtype=np.float32)
    ranked[rows, place] = (keys & _LOW).astype(np.int64)
    falling = (keys >> _LOW_BITS).astype(np.uint32)
    kept[rows, place] = np.where(falling & _SIGN, falling, ~falling & ~_SIGN).view(np.float32)
    return ranked, kept


def near_best(scores: NDArray[np.floating], sizes: Ints, k: int, slack: float = 0.0) -> Ints:
    """Places of the k best of each session, as float32, and of what is worse than the last by ``slack`` at most.

    Sessions of some thousands of candidates stay in a processor's cache, one after another.

    Args:
        scores: Shape ``(C,)``; of candidates session after session.
        sizes: Shape ``(S,)``; candidates of each session.
        k: How many.
        slack: At least 0, so that what ties with the last is there.

    Returns:
        Places in ``scores``, ascending.
    """
    values = scores.astype(np.float32, copy=False)
    if len(sizes) and (sizes == sizes[0]).all():  # a table; threads that loop over its rows wait for each other
        table = values.reshape(len(sizes), -1)
        bars = np.partition(table, -k, axis=1)[:, -k, None] - slack if table.shape[1] > k else -np.inf
        return np.flatnonzero(table >= bars)
    found = [np.zeros(0, dtype=np.int64)]
    for first, last in pairwise(offsets_of(sizes).tolist()):
        own = values[first:last]
        bar = np.partition(own, -k)[-k] - slack if last - first > k else -np.inf
        found.append(first + np.flatnonzero(own >= bar))
    return np.concatenate(found)


def first_k(rows: Ints, codes: Ints, scores: NDArray[np.floating], num_sessions: int, k: int) -> tuple[Ints, Floats]:
    """`top_k_candidates` of candidates given session after session, each session's best first."""
    place = nth_within(rows)
    ranked, kept = np.full((num_sessions, k), UNKNOWN), np.full((num_sessions, k), -np.inf, dtype=np.float32)
    best = place < k
    ranked[rows[best], place[best]] = codes[best]
    kept[rows[best], place[best]] = scores[best]
    return ranked, kept


def nth_within(rows: Ints) -> Ints:
    """Place from 0 of each candidate within its session, shape ``(C,)``; ``rows`` ascend."""
    return places_within(np.bincount(rows))


def order_within(rows: Ints, values: NDArray[Any], *, exact: bool = False) -> tuple[Ints, Ints]:
    """The order of candidates by session and falling value, and the place of each in that order within its session.

    Equals stay as they were given.

    Args:
        rows: Shape ``(C,)``; session of each candidate, ascending unless ``exact``.
        values: Shape ``(C,)``; no NaN.
        exact: Whether values that are equal as float32 may differ.

    Returns:
        Order and places from 0, both ``(C,)``; the n-th of the order is at the n-th place.
    """
    sizes = np.bincount(rows)
    place = places_within(sizes)
    if exact:
        return np.lexsort((-values, rows)), place
    keys = _sorted_by_session(_keys(values, place), sizes)
    return (keys & _LOW).astype(np.int64) + np.repeat(offsets_of(sizes)[:-1], sizes), place


def rank_within(rows: Ints, values: NDArray[Any], *, exact: bool = False) -> Floats:
    """Rank of each candidate in its session by falling value, from 1, shape ``(C,)``; equals share the best rank.

    Arguments as `order_within`, but ``rows`` always ascend.
    """
    order, place = order_within(rows, values, exact=exact)
    ordered = (values if exact else values.astype(np.float32))[order]
    places = np.arange(len(order))
    ranks = np.empty(len(order), dtype=np.float32)
    ranks[order] = place - (places - np.maximum.accumulate(np.where(starts_anew(rows, ordered), places, 0))) + 1
    return ranks


def best_within(rows: Ints, values: NDArray[Any], count: int = 1) -> Ints:
    """Places of the ``count`` highest values of each session, exact, of equals the first; ascending."""
    order, place = order_within(rows, values, exact=True)
    return np.sort(order[place < count])


def best_of_each(rows: Ints, values: NDArray[Any], num_sessions: int) -> Ints:
    """Place of each session's highest value, exact, the first of equals, shape ``(S,)``; -1 where it has none."""
    best = np.full(num_sessions, UNKNOWN)
    places = best_within(rows, values)
    best[rows[places]] = places
    return best


def highest_within(rows: Ints, values: NDArray[Any], num_sessions: int, least: float = -np.inf) -> NDArray[Any]:
    """Highest value of each session, shape ``(S,)``, but at least ``least``; NaN is passed over."""
    highest = np.full(num_sessions, least, dtype=values.dtype)
    np.fmax.at(highest, rows, values)
    return highest


def starts_anew(*columns: NDArray[Any]) -> Bools:
    """Whether each entry differs from the one before in any of some columns ``(C,)``, so that a run starts there."""
    anew = np.ones(len(columns[0]), dtype=np.bool_)
    if len(anew):
        anew[1:] = columns[0][1:] != columns[0][:-1]
    for column in columns[1:]:
        anew[1:] |= column[1:] != column[:-1]
    return anew


def _keys(values: NDArray[np.floating], low: Ints) -> Keys:
    """One whole number for each candidate, rising as its value falls, then as ``low`` does: quicker than lexsort."""
    bits = (values.astype(np.float32) + np.float32(0)).view(np.uint32)  # -0.0 becomes 0.0, so that the two tie
    falling = np.where(bits & _SIGN, bits, ~(bits | _SIGN))  # IEEE 754 order, turned around
    keys: Keys = (falling.astype(np.uint64) << _LOW_BITS) | low.astype(np.uint64)
    return keys


def _sorted_by_session(keys: Keys, sizes: Ints) -> Keys:
    """Keys ``(C,)``, session after session, each session's sorted.

    Short rows of a table sort several times quicker than one long array. Sessions of like size share a table, so that
    it is never twice as large as what it holds.
    """
    if not len(keys) or (sizes == sizes[0]).all():
        return np.sort(keys.reshape(len(sizes), -1), axis=1).ravel() if len(keys) else keys
    starts, classes = offsets_of(sizes)[:-1], np.frexp(sizes)[1]
    found = np.empty_like(keys)
    for one in np.unique(classes[sizes > 0]):
        some = np.flatnonzero(classes == one)
        columns = np.arange(sizes[some].max())
        held = columns < sizes[some, None]
        places = (starts[some, None] + columns)[held]
        table = np.full(held.shape, _LAST)
        table[held] = keys[places]
        table.sort(axis=1)
        found[places] = table[held]
    return found


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
    return order, np.flatnonzero(starts_anew(keys[order]))


def is_among(rows: Ints, codes: Ints, held_rows: Ints, held_codes: Ints, num_items: int) -> Bools:
    """Whether each (row, code) pair is one of the held pairs, shape ``(C,)``; quickest where these are few.

    ``num_items`` is above every code; a held code of -1 stands for none.
    """
    held = np.sort((held_rows * num_items + held_codes)[held_codes != UNKNOWN])
    return _nearest(held, rows * num_items + codes)[1]


def places_among(held: NDArray[Any], keys: NDArray[Any]) -> Ints:
    """Place of each key, of any shape, among ascending ones; `UNKNOWN`, -1, for a key that is not there."""
    places, same = _nearest(held, keys)
    return np.where(same, places, UNKNOWN)


def _nearest(held: NDArray[Any], keys: NDArray[Any]) -> tuple[Ints, Bools]:
    """Where each key would stand among ascending ones, and whether it does."""
    if not len(held):
        return np.zeros(keys.shape, dtype=np.int64), np.zeros(keys.shape, dtype=np.bool_)
    places = np.minimum(np.searchsorted(held, keys), len(held) - 1)
    return places, held[places] == keys


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
