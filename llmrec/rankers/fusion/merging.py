"""What several sources propose, in one list a session, as machine code."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from llmrec.arrays import Ints
from llmrec.processes import machine_code
from llmrec.rankers.counting.walking import nth_largest, sort_keys

__all__ = ["merge"]

_PLACE_BITS: Final = np.uint64(32)
_PLACE: Final = np.uint64((1 << 32) - 1)


@machine_code()
def merge(table: Ints, given: Any, sources: Any, most: int, slots: Any, damping: float) -> Any:
    """Distinct items of each session, ascending, the ``most`` of the highest prior, ties to the smaller code.

    Args:
        table: Shape ``(S, W)``; items as the sources propose them, source after source, -1 for none.
        given: Shape ``(S, W)``; their scores.
        sources: Shape ``(W,)``; number of each column's source; and its rank there, from 1.
        most: Items kept of a session.
        slots: Zeros ``(N,)``, int32, and zeros again at the end.
        damping: What is added to a rank.

    Returns:
        Sessions and items, ``(C,)``, scores and ranks, ``(C, R)``, NaN where a source does not propose an item, and
        priors, ``(C,)``.
    """
    source, rank = sources
    width, kept, room = source[-1] + 1, 0, len(table) * min(most, table.shape[1])
    rows, codes = np.empty(room, dtype=np.int64), np.empty(room, dtype=np.int64)
    scores = np.full((room, width), np.float32(np.nan))
    ranks = scores.copy()
    priors = np.empty(room, dtype=np.float32)
    held, sums = np.empty(table.shape[1], dtype=np.int64), np.empty(table.shape[1])
    for row in range(len(table)):
        count = 0
        for column in range(table.shape[1]):
            code = table[row, column]
            if code < 0:
                continue
            if slots[code] == 0:
                held[count], sums[count] = code, 0
                count += 1
                slots[code] = count
            sums[slots[code] - 1] += 1 / (damping + rank[column])
        first = kept
        kept = _keep(held[:count], sums[:count].astype(np.float32), most, first, codes, priors)
        for place in range(count):
            slots[held[place]] = 0
        for place in range(first, kept):
            rows[place] = row
            slots[codes[place]] = place - first + 1
        for column in range(table.shape[1]):
            code = table[row, column]
            if code >= 0 and slots[code]:
                place = first + slots[code] - 1
                scores[place, source[column]], ranks[place, source[column]] = given[row, column], rank[column]
        for place in range(first, kept):
            slots[codes[place]] = 0
    return rows[:kept], codes[:kept], scores[:kept], ranks[:kept], priors[:kept]


@machine_code()
def _keep(held: Ints, sums: Any, most: int, first: int, codes: Ints, priors: Any) -> int:
    """Put the best of a session's items from a place on, ascending; where they end."""
    bar, tied = np.float32(-1), len(held)
    if len(held) > most:
        bar = nth_largest(sums.copy(), most)
        tied = most
        for place in range(len(held)):
            tied -= sums[place] > bar
    keys, count = np.empty(len(held), dtype=np.uint64), 0
    for place in range(len(held)):
        if sums[place] >= bar:
            keys[count] = (np.uint64(held[place]) << _PLACE_BITS) | np.uint64(place)
            count += 1
    sort_keys(keys[:count])
    for place in range(count):
        own = np.int64(keys[place] & _PLACE)
        if sums[own] > bar or tied > 0:
            tied -= sums[own] == bar
            codes[first], priors[first] = held[own], sums[own]
            first += 1
    return first
