"""Rows of different lengths in two flat arrays: sessions and their items, titles and their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmrec.arrays import Bools, Ints

__all__ = [
    "UNKNOWN",
    "Ragged",
    "flat_ranges",
    "list_array",
    "list_lengths",
    "offsets_of",
    "places_within",
    "row_numbers",
    "split_last",
]


UNKNOWN: Final = -1  # stands where there is no value


def offsets_of(lengths: Any) -> Ints:
    """Where rows of some lengths ``(R,)`` start, and where the last ends; shape ``(R + 1,)``."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def row_numbers(lengths: Any) -> Ints:
    """Row of each value, shape ``(T,)``, of rows of some lengths."""
    return np.repeat(np.arange(len(lengths)), lengths)


def places_within(lengths: Ints) -> Ints:
    """Place from 0 of each value in its row, shape ``(T,)``, of rows of some lengths."""
    return flat_ranges(np.zeros(len(lengths), dtype=np.int64), lengths)


def flat_ranges(starts: Ints, lengths: Ints) -> Ints:
    """``starts[0], starts[0] + 1, …`` for ``lengths[0]`` numbers, then the next range; shape ``(sum(lengths),)``."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    flat: Ints = np.repeat(starts - ends + lengths, lengths) + np.arange(total)
    return flat


def list_lengths(lists: Any) -> Ints:
    """Lengths of an Arrow list column, shape ``(R,)``; 0 for a null."""
    lengths: Ints = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    return lengths


def list_array(offsets: Ints, values: Any) -> Any:
    """Arrow lists of rows that start at ``offsets`` of an Arrow array."""
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values)


def split_last(lists: Any, rows: Bools | None = None) -> tuple[Any, Any]:
    """Arrow lists without the last value of each, or of those that ``rows`` names; and each last value, or null."""
    values = lists.flatten()
    whole = Ragged(offsets_of(list_lengths(lists)), np.arange(len(values)))
    kept, ends = whole.without_last(rows), whole.ends
    return list_array(kept.offsets, values.take(pa.array(kept.values))), values.take(pa.array(ends, mask=ends < 0))


@dataclass(frozen=True, eq=False)
class Ragged:
    """Row ``i`` is ``values[offsets[i]:offsets[i + 1]]``.

    A subclass that knows more of each row, or of each value, keeps it in step by overriding `take` and `slice`, or
    `_picked`.

    Attributes:
        offsets: Shape ``(R + 1,)``, from 0.
        values: Shape ``(T,)``.
    """

    offsets: Ints
    values: NDArray[Any]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Ints:
        """Number of values of each row, shape ``(R,)``."""
        return np.diff(self.offsets)

    @property
    def rows(self) -> Ints:
        """Row of each value, shape ``(T,)``."""
        return row_numbers(self.lengths)

    @property
    def ages(self) -> Ints:
        """How many values of its row come after each, shape ``(T,)``."""
        ages: Ints = np.repeat(self.offsets[1:], self.lengths) - 1 - np.arange(len(self.values))
        return ages

    @property
    def ends(self) -> NDArray[Any]:
        """Last value of each row, shape ``(R,)``; `UNKNOWN` for an empty one."""
        ends = np.full(len(self), UNKNOWN, dtype=self.values.dtype)
        filled, values = self.from_end(np.arange(len(self)), 0)
        ends[filled] = values
        return ends

    def from_end(self, rows: Ints, age: int) -> tuple[Ints, NDArray[Any]]:
        """Of some rows ``(C,)`` the value that ``age`` others come after: places in ``rows`` that have it, and it."""
        long = np.flatnonzero(self.lengths[rows] > age)
        return long, self.values[self.offsets[rows[long] + 1] - 1 - age]

    def places(self, rows: Ints) -> tuple[Ints, Ints]:
        """Where some rows stand: lengths ``(C,)``, and places ``(T,)`` in ``values``, row after row."""
        starts = self.offsets[rows]
        lengths = self.offsets[rows + 1] - starts
        return lengths, flat_ranges(starts, lengths)

    def apart(self, distance: int) -> tuple[Ints, Ints]:
        """Places of each two values of a row that stand ``distance`` apart: the first's and the other's, ``(P,)``."""
        first = np.flatnonzero(self.ages >= distance)
        return first, first + distance

    def take(self, rows: Ints) -> Self:
        """Some rows, in the order asked for."""
        lengths, places = self.places(rows)
        return self._picked(offsets_of(lengths), places)

    def slice(self, start: int, count: int) -> Self:
        """Rows ``start`` to ``start + count``, without a copy of their values."""
        offsets = self.offsets[start : start + count + 1]
        return self._picked(offsets - offsets[0], slice(offsets[0], offsets[-1]))

    def kept(self, keep: Bools) -> Self:
        """The rows without the values that ``keep``, shape ``(T,)``, does not name."""
        return self._picked(offsets_of(keep)[self.offsets], keep)

    def last(self, count: int) -> Self:
        """The last ``count`` values of each row."""
        lengths = np.minimum(self.lengths, count)
        if lengths.sum() == len(self.values):
            return self
        return self._picked(offsets_of(lengths), flat_ranges(self.offsets[1:] - lengths, lengths))

    def without_last(self, rows: Bools | None = None) -> Self:
        """The rows without the last value of each, or of those that ``rows``, shape ``(R,)``, names."""
        cut = self.lengths > 0 if rows is None else rows & (self.lengths > 0)
        keep = np.ones(len(self.values), dtype=np.bool_)
        keep[self.offsets[1:][cut] - 1] = False
        return self._picked(self.offsets - offsets_of(cut), keep)

    def distinct(self) -> Self:
        """Each value of a row once, where it stands last."""
        return self.kept(self.latest)

    @property
    def latest(self) -> Bools:
        """Whether each value, shape ``(T,)``, comes no more after it in its row."""
        rows = self.rows
        order = np.lexsort((self.values, rows))  # stable: the last of equal pairs is the latest
        last = np.ones(len(order), dtype=np.bool_)
        last[:-1] = (np.diff(rows[order]) != 0) | (self.values[order][1:] != self.values[order][:-1])
        keep = np.zeros(len(order), dtype=np.bool_)
        keep[order[last]] = True
        return keep

    def padded(self) -> NDArray[Any]:
        """Values as a matrix, shape ``(R, longest)``, at least one column, `UNKNOWN` beyond a row's end."""
        lengths = self.lengths
        matrix = np.full((len(self), max(1, int(lengths.max(initial=0)))), UNKNOWN, dtype=self.values.dtype)
        matrix[np.arange(matrix.shape[1]) < lengths[:, None]] = self.values
        return matrix

    @classmethod
    def joined(cls, parts: Sequence[Ragged]) -> Ragged:
        """Rows of the first, then of the second …; none of no parts."""
        if not parts:
            return Ragged(np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int64))
        lengths = np.concatenate([part.lengths for part in parts])
        return Ragged(offsets_of(lengths), np.concatenate([part.values for part in parts]))

    def _picked(self, offsets: Ints, places: Any) -> Self:
        """Other rows of some values, which an index, a mask or a slice picks."""
        return replace(self, offsets=offsets, values=self.values[places])
