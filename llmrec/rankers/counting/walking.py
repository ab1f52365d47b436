"""The loops of a walk over a graph of items, as machine code."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Floats
from llmrec.processes import machine_code

__all__ = ["nth_largest", "sort_keys", "walk"]

# of an item, side by side in a cache: what a step brings, what all of them have brought, and whether they have
_HERE, _REACHED, _IS_HERE, _IS_REACHED = 0, 1, 2, 3
_LOW_BITS: Final = np.uint64(32)
_LOW: Final = np.uint64((1 << 32) - 1)


@machine_code()
def nth_largest(values: Floats, nth: int) -> np.float32:
    """The ``nth`` largest, from 1, of values ``(C,)``, whose order changes (Hoare's selection)."""
    wanted, first, last = nth - 1, 0, len(values) - 1
    while first < last:
        bar = values[(first + last) >> 1]
        left, right = first, last
        while left <= right:
            while values[left] > bar:
                left += 1
            while values[right] < bar:
                right -= 1
            if left <= right:
                values[left], values[right] = values[right], values[left]
                left += 1
                right -= 1
        if wanted <= right:
            last = right
        elif wanted >= left:
            first = left
        else:
            break
    found: np.float32 = values[wanted]
    return found


@machine_code()
def _heaviest(codes: NDArray[np.int32], weights: Floats, number: int) -> NDArray[np.uint64]:
    """Keys of the ``number`` largest weights, none below 0, falling, ties to the smaller code, which is a key's end."""
    bar = np.float32(0)
    if len(codes) > number:
        bar = nth_largest(weights.copy(), number)
    bits = weights.view(np.uint32)
    keys = np.empty(len(codes), dtype=np.uint64)
    count = 0
    for place in range(len(codes)):
        if weights[place] >= bar:
            keys[count] = (np.uint64(~bits[place] & np.uint32(_LOW)) << _LOW_BITS) | np.uint64(codes[place])
            count += 1
    sort_keys(keys[:count])
    return keys[: min(count, number)]


@machine_code()
def sort_keys(keys: NDArray[np.uint64]) -> None:
    """Sort some hundreds of numbers in place (Shell's sort): what compiles in a fraction of `numpy.sort`'s time."""
    gap = len(keys) >> 1
    while gap:
        for place in range(gap, len(keys)):
            key, left = keys[place], place - gap
            while left >= 0 and keys[left] > key:
                keys[left + gap] = keys[left]
                left -= gap
            keys[left + gap] = key
        gap = (gap * 5 - 1) // 11 if gap > 2 else gap - 1


@machine_code()
def _step(graph: Any, items: Any, weights: Floats, cells: Floats, touched: NDArray[np.int32]) -> int:
    """Add what a step from some items brings to the cells; ``touched`` begins with what is there, of a number told."""
    offsets, values, shares = graph
    count = 0
    for place in range(len(items)):
        weight = weights[place]
        for edge in range(offsets[items[place]], offsets[items[place] + 1]):
            code = values[edge]
            if cells[code, _IS_HERE] == 0:
                cells[code, _IS_HERE] = 1
                touched[count] = code
                count += 1
            cells[code, _HERE] += weight * shares[edge]
    return count


@machine_code()
def _reach(graph: Any, items: Any, weights: Floats, rules: Any, scratch: Any) -> int:
    """Walk from one session's items; ``every`` in the scratch begins with what is reached, of a number told."""
    steps, hop_items, hop_weight, _ = rules
    cells, touched, every = scratch
    number, weight = 0, np.float32(1)
    for step in range(steps):
        count = _step(graph, items, weights, cells, touched)
        values = np.empty(count, dtype=np.float32)
        for place in range(count):
            cell = cells[touched[place]]
            values[place] = cell[_HERE]
            if cell[_IS_REACHED] == 0:
                every[number] = touched[place]
                number += 1
            cell[_IS_REACHED] = 1
            cell[_REACHED] += weight * cell[_HERE]
            cell[_HERE], cell[_IS_HERE] = 0, 0
        weight *= hop_weight
        if step + 1 < steps:
            keys = _heaviest(touched[:count], values, hop_items)
            items = (keys & _LOW).astype(np.int64)
            weights = (~(keys >> _LOW_BITS) & _LOW).astype(np.uint32).view(np.float32)
    return number


@machine_code()
def walk(
    graph: Any, sessions: Any, rules: Any, offered: Any, most: int, cells: Floats
) -> tuple[NDArray[np.int64], Floats]:
    """The best items that some sessions' walks reach, in no order.

    Args:
        graph: Where each item's neighbours start, ``(N + 1,)``, their codes and shares.
        sessions: Where each session's items start, ``(S + 1,)``, the items, their weights in float32, and locales.
        rules: Steps, best items of one from which the next starts, weight of a step relative to the one before in
            float32, and weight of a locale's share.
        offered: How often each locale's sessions hold an item, ``(L + 1, N)``, how often all do, ``(N,)``, whether a
            locale is offered what it never held, ``(L + 1,)``, and what it sells, ``(L + 1, N)``, or ``(0, 0)``.
        most: Items of a session at most; ties to the smaller code.
        cells: Zeros ``(N, 4)``, and zeros again at the end.

    Returns:
        Codes ``(S, most)``, -1 where there are no more, and scores.
    """
    offsets, items, weights, locales = sessions
    counts, totals, unseen, sold = offered
    touched, every = np.empty(len(cells), dtype=np.int32), np.empty(len(cells), dtype=np.int32)
    ranked = np.full((len(locales), most), -1)
    scores = np.empty((len(locales), most), dtype=np.float32)
    for row in range(len(locales)):
        own, locale = slice(offsets[row], offsets[row + 1]), locales[row]
        number = _reach(graph, items[own], weights[own], rules, (cells, touched, every))
        values, usable = np.empty(number, dtype=np.float32), 0
        for place in range(number):
            code = every[place]
            value, held = cells[code, _REACHED], counts[locale, code]
            cells[code, _REACHED], cells[code, _IS_REACHED] = 0, 0
            score = np.float32(value * (1 + rules[3] * held / totals[code]))
            offered_here = (held > 0 or unseen[locale]) and (not len(sold) or sold[locale, code])
            if offered_here and score == score:  # what is no number has no place in an order
                every[usable] = code
                values[usable] = score
                usable += 1
        _keep(every[:usable], values[:usable], ranked[row], scores[row])
    return ranked, scores


@machine_code()
def _keep(codes: NDArray[np.int32], values: Floats, ranked: NDArray[np.int64], scores: Floats) -> None:
    """Fill a row with the best, ties to the smaller code; values are numbers."""
    count, bar = 0, np.float32(-np.inf)
    if len(codes) > len(ranked):
        bar = nth_largest(values.copy(), len(ranked))
    for place in range(len(codes)):
        if values[place] > bar:
            ranked[count], scores[count] = codes[place], values[place]
            count += 1
    last = -1
    while count < min(len(codes), len(ranked)):  # of what ties with the last one there are few
        least = -1
        for place in range(len(codes)):
            if values[place] == bar and codes[place] > last and (least < 0 or codes[place] < least):
                least = codes[place]
        ranked[count], scores[count] = least, bar
        last = least
        count += 1
