"""Rows of codes with weights: what counting leaves and prediction reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llmrec.arrays import Bools, Ints, checked
from llmrec.ragged import Ragged, offsets_of

__all__ = ["WeightedRows"]


@dataclass(frozen=True, eq=False)
class WeightedRows(Ragged):
    """Row ``i`` is ``values[offsets[i]:offsets[i + 1]]``, and ``weights`` there.

    Attributes:
        offsets: Shape ``(N + 1,)``.
        values: Shape ``(P,)``, int32; codes.
        weights: Shape ``(P,)``, float32, float64 where they are sums; ``(0,)`` where rows are mere sets.
    """

    weights: NDArray[Any]

    @classmethod
    def sets(cls, offsets: Ints, codes: NDArray[Any]) -> Self:
        """Rows without weights."""
        return cls(offsets, codes.astype(np.int32), np.zeros(0, dtype=np.float32))

    @classmethod
    def of(cls, table: pa.Table, row: str, code: str, num_rows: int, weight: str | None = None) -> Self:
        """Rows from a table that is sorted by them."""
        offsets = offsets_of(np.bincount(table[row].to_numpy(), minlength=num_rows))
        rows = cls.sets(offsets, table[code].to_numpy())
        return rows if weight is None else replace(rows, weights=table[weight].to_numpy().astype(np.float32))

    def arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """The three arrays under ``name``, for a file."""
        return {f"{name}.offsets": self.offsets, f"{name}.codes": self.values, f"{name}.weights": self.weights}

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, NDArray[Any]], name: str, num_rows: int, num_codes: int, *, weighted: bool = True
    ) -> Self:
        """What `arrays` gave.

        Raises:
            KeyError: an array is missing.
            ValueError: they do not fit together.
        """
        offsets = checked(arrays, f"{name}.offsets", "int64", (num_rows + 1,), least=0, rising="weakly")
        codes = checked(arrays, f"{name}.codes", "int32", (None,), least=0, most=num_codes - 1)
        weights = checked(arrays, f"{name}.weights", "float32", (len(codes) if weighted else 0,), least=0)
        if offsets[0] != 0 or offsets[-1] != len(codes):
            raise ValueError(f"{name} has {len(codes)} codes in rows from {offsets[0]} to {offsets[-1]}")
        return cls(offsets, codes, weights)

    def moved(self, places: Ints, num_rows: int, *, of_items: bool = True) -> Self:
        """The rows of items whose codes are ``places`` now, rising, with as many rows as there are items now.

        ``of_items`` says whether their values are codes of items, too.
        """
        lengths = np.zeros(num_rows, dtype=np.int64)
        lengths[places] = self.lengths
        values = places.astype(np.int32)[self.values] if of_items else self.values
        return replace(self, offsets=offsets_of(lengths), values=values)

    def with_rows(self, chosen: Bools, others: Self) -> Self:
        """The rows, those that ``chosen``, shape ``(R,)``, names as they are in others of as many rows."""
        lengths = np.where(chosen, others.lengths, self.lengths)
        here, there = ~np.repeat(chosen, self.lengths), np.repeat(chosen, others.lengths)
        goes_there = np.repeat(chosen, lengths)

        def merged(mine: NDArray[Any], theirs: NDArray[Any]) -> NDArray[Any]:
            values = np.empty(len(goes_there), dtype=mine.dtype)
            values[goes_there] = theirs[there]
            values[~goes_there] = mine[here]
            return values

        weights = merged(self.weights, others.weights) if len(self.weights) or len(others.weights) else self.weights
        return replace(self, offsets=offsets_of(lengths), values=merged(self.values, others.values), weights=weights)

    def _picked(self, offsets: Ints, places: Any) -> Self:
        weights = self.weights[places] if len(self.weights) else self.weights
        return replace(super()._picked(offsets, places), weights=weights)
