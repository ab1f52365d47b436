"""What a session's recent items say of its candidates by their counts as pairs, as machine code."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from llmrec.arrays import Floats, Ints
from llmrec.processes import machine_code

__all__ = ["PARTS", "add_up_pairs"]

PARTS: Final = ("share", "lift", "best_share", "best_lift", "links")  # rows of a table below those of the counts


@machine_code()
def add_up_pairs(evidence: Any, weights: Any, recent: Any, rows: Ints, codes: Ints) -> Floats:
    """Counts of pairs of recent items with candidates, and how strong these are, added up.

    Args:
        evidence: Keys of pairs, ``(P,)``, their counts, ``(P, 6)``, and the items' totals, ``(N, 6)``.
        weights: What a count of each kind weighs where all are one number, ``(6,)``; and an item relative to the next.
        recent: Where each session's recent items start, ``(S + 1,)``, and the items.
        rows: Shape ``(C,)``; session of each candidate.
        codes: Shape ``(C,)``; its item, ascending in a session.

    Returns:
        Shape ``(12, C)``: sums by kind, then `PARTS`, then the age of the nearest item that has a pair, NaN for none.
    """
    keys, pairs, totals = evidence
    of_kinds, recency = weights
    offsets, items = recent
    kinds = len(of_kinds)
    found = np.zeros((kinds + 6, len(rows)), dtype=np.float32)
    found[kinds + 5] = np.nan
    first = 0
    while first < len(rows):
        row, last = rows[first], first
        while last < len(rows) and rows[last] == row:
            last += 1
        weight = np.float32(1)
        for age in range(offsets[row + 1] - offsets[row]):
            item = items[offsets[row + 1] - 1 - age]
            _add_up_item(
                item, np.float32(age), weight, (keys, pairs, totals, of_kinds), codes[first:last], found[:, first:last]
            )
            weight = np.float32(weight * recency)
        first = last
    return found


@machine_code()
def _add_up_item(item: int, age: Any, weight: Any, evidence: Any, codes: Ints, found: Floats) -> None:
    """What one item says of its session's candidates."""
    keys, pairs, totals, of_kinds = evidence
    kinds, start = len(of_kinds), item * len(totals)
    place = np.searchsorted(keys, start)
    whole = _weighed(totals[item], of_kinds)
    for candidate in range(len(codes)):
        wanted = start + codes[candidate]
        while place < len(keys) and keys[place] < wanted:
            place += 1
        if place == len(keys):
            break
        if keys[place] != wanted:
            continue
        for kind in range(kinds):
            found[kind, candidate] += pairs[place, kind] * weight
        together = _weighed(pairs[place], of_kinds)
        other = max(_weighed(totals[codes[candidate]], of_kinds), np.float32(1))
        share = together / max(whole, np.float32(1))
        lift = together / np.sqrt(max(whole, np.float32(1)) * other)
        found[kinds, candidate] += share * weight
        found[kinds + 1, candidate] += lift * weight
        found[kinds + 2, candidate] = max(found[kinds + 2, candidate], share)
        found[kinds + 3, candidate] = max(found[kinds + 3, candidate], lift)
        found[kinds + 4, candidate] += np.float32(1)
        found[kinds + 5, candidate] = np.fmin(found[kinds + 5, candidate], age)


@machine_code()
def _weighed(counts: Floats, weights: Floats) -> Any:
    total = np.float32(0)
    for kind in range(len(weights)):
        total += counts[kind] * weights[kind]
    return total
