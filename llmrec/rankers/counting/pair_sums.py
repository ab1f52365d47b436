"""Sums over pairs of items, kept whole: later sessions' are added to them, and what a ranker reads is made of them.

Nothing is divided, and no pair is left out, before all are added up. A sum is a whole number of `UNIT` and exact, so
that it does not matter whether sessions were counted at once or one batch after another.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from llmrec.arrays import checked
from llmrec.artefact import Arrays
from llmrec.ragged import offsets_of, places_within
from llmrec.rankers.counting.counts import UNIT
from llmrec.rankers.counting.rows import WeightedRows

__all__ = ["added", "arrays_of", "best_of_each", "sums_of_arrays"]


def added(before: WeightedRows, later: WeightedRows, part: float = 1.0) -> WeightedRows:
    """Sums of the pairs of all sessions, in one pass over those of the earlier ones.

    Args:
        before: Sums in earlier sessions ``(N rows)``, values rising in each row; weights in float64.
        later: The same in later ones.
        part: What the earlier ones have faded to; rounded to whole `UNIT`, and left out where nothing is left.
    """
    size = len(before)
    values, sums = (
        before.values,
        before.weights.copy() if part == 1 else np.round(before.weights * (part / UNIT)) * UNIT,
    )
    keys, new = (one.rows * size + one.values for one in (before, later))
    places = np.searchsorted(keys, new)
    known = places < len(keys)
    known[known] = keys[places[known]] == new[known]
    sums[places[known]] += later.weights[known]
    lengths = before.lengths + np.bincount(later.rows[~known], minlength=size)
    values = np.insert(values, places[~known], later.values[~known])
    sums = np.insert(sums, places[~known], later.weights[~known])
    together = replace(before, offsets=offsets_of(lengths), values=values, weights=sums)
    return together if sums.all() else together.kept(sums > 0)


def best_of_each(sums: WeightedRows, source_power: float, target_power: float, number: int) -> WeightedRows:
    """The ``number`` heaviest targets of each source, ties to the smaller code; rows keep the order of codes.

    A weight is a pair's sum, divided by its source's and its target's total, each to a power: (0, 0) leaves the sums,
    (1, 0) gives shares of the source, (0.5, 0.5) the cosine form.
    """
    rows, weights = sums.rows, sums.weights
    for ends, power in ((rows, source_power), (sums.values, target_power)):
        if power:
            totals = np.bincount(ends, sums.weights, len(sums))
            weights = weights / np.power(totals, power)[ends]
    long = sums.lengths > number
    best = replace(sums, weights=weights.astype(np.float32))
    if not long.any():
        return best
    many = np.flatnonzero(long[rows])
    order = many[np.lexsort((sums.values[many], -weights[many], rows[many]))]
    stays = ~long[rows]
    stays[order[places_within(sums.lengths[long]) < number]] = True
    return best.kept(stays)


def arrays_of(sums: WeightedRows) -> Arrays:
    """Sums for a file, in half the space where they are small."""
    whole = sums.weights / UNIT
    small = whole.max(initial=0) < 1 << 32
    arrays = sums.arrays("pairs")
    return arrays | {"pairs.weights": whole.astype(np.uint32 if small else np.uint64)}


def sums_of_arrays(arrays: Arrays, num_items: int) -> WeightedRows:
    """What `arrays_of` gave.

    Raises:
        KeyError: an array is missing.
        ValueError: they do not fit together.
    """
    whole = arrays["pairs.weights"]
    kind = "uint32" if whole.dtype == np.uint32 else "uint64"
    whole = checked(arrays, "pairs.weights", kind, (None,), least=1, most=1 << 53)
    rows = WeightedRows.from_arrays(
        {**arrays, "pairs.weights": whole.astype(np.float32)}, "pairs", num_items, num_items
    )
    if (np.diff(rows.rows * num_items + rows.values) <= 0).any():
        raise ValueError("pairs do not rise")
    return replace(rows, weights=whole * UNIT)
