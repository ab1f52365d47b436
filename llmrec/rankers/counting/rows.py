"""Rows of codes with weights: what counting leaves and prediction reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llmrec.arrays import Ints
from llmrec.ragged import Ragged, offsets_of

__all__ = ["WeightedRows"]


@dataclass(frozen=True, eq=False)
class WeightedRows(Ragged):
    """Row ``i`` is ``values[offsets[i]:offsets[i + 1]]``, and ``weights`` there.

    Attributes:
        offsets: Shape ``(N + 1,)``.
        values: Shape ``(P,)``, int32; codes.
        weights: Shape ``(P,)``, float32; ``(0,)`` where rows are mere sets.
    """

    weights: NDArray[np.float32]

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
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], name: str, num_rows: int, num_codes: int) -> Self:
        """What `arrays` gave.

        Raises:
            KeyError: an array is missing.
            ValueError: they do not fit together.
        """
        rows = cls(*(arrays[f"{name}.{one}"] for one in ("offsets", "codes", "weights")))
        offsets, codes = rows.offsets, rows.values
        fits = len(offsets) == num_rows + 1 and offsets[0] == 0 and offsets[-1] == len(codes)
        rising = fits and bool((np.diff(offsets) >= 0).all())
        inside = not len(codes) or (codes.min() >= 0 and codes.max() < num_codes)
        if not rising or not inside or len(rows.weights) not in (0, len(codes)):
            raise ValueError(f"{name} holds arrays that do not fit together")
        return rows

    def _picked(self, offsets: Ints, places: Any) -> Self:
        weights = self.weights[places] if len(self.weights) else self.weights
        return replace(super()._picked(offsets, places), weights=weights)
