"""Rows of codes and weights in three flat arrays: what counting leaves and prediction reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

__all__ = ["NO_WEIGHTS", "Csr", "flat_ranges"]

Ints = NDArray[np.int64]

NO_WEIGHTS = np.zeros(0, dtype=np.float32)


@dataclass(frozen=True)
class Csr:
    """Row ``i`` is ``codes[offsets[i]:offsets[i + 1]]``, and ``weights`` there.

    Attributes:
        offsets: Shape ``(N + 1,)``, int64.
        codes: Shape ``(P,)``, int32.
        weights: Shape ``(P,)``, float32; ``(0,)`` where rows are mere sets.
    """

    offsets: Ints
    codes: NDArray[np.int32]
    weights: NDArray[np.float32]

    @classmethod
    def of(cls, table: pa.Table, row: str, code: str, num_rows: int, weight: str | None = None) -> Csr:
        """Rows from a table that is sorted by them."""
        rows = table[row].to_numpy()
        offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=num_rows))])
        weights = NO_WEIGHTS if weight is None else table[weight].to_numpy().astype(np.float32)
        return cls(offsets, table[code].to_numpy().astype(np.int32), weights)

    def places(self, rows: Ints) -> tuple[Ints, Ints]:
        """Where some rows stand: lengths ``(R,)``, and places ``(T,)`` in ``codes``, row after row."""
        starts = self.offsets[rows]
        lengths = self.offsets[rows + 1] - starts
        return lengths, flat_ranges(starts, lengths)

    def arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """The three arrays under ``name``, for a file."""
        arrays: dict[str, NDArray[Any]] = {f"{name}.offsets": self.offsets, f"{name}.codes": self.codes}
        return arrays | {f"{name}.weights": self.weights}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], name: str, num_rows: int, num_codes: int) -> Csr:
        """What `arrays` gave.

        Raises:
            KeyError: an array is missing.
            ValueError: they do not fit together.
        """
        csr = cls(arrays[f"{name}.offsets"], arrays[f"{name}.codes"], arrays[f"{name}.weights"])
        fits = len(csr.offsets) == num_rows + 1 and csr.offsets[0] == 0 and csr.offsets[-1] == len(csr.codes)
        rising = fits and bool((np.diff(csr.offsets) >= 0).all())
        inside = not len(csr.codes) or (csr.codes.min() >= 0 and csr.codes.max() < num_codes)
        if not rising or not inside or len(csr.weights) not in (0, len(csr.codes)):
            raise ValueError(f"{name} holds arrays that do not fit together")
        return csr


def flat_ranges(starts: Ints, lengths: Ints) -> Ints:
    """``starts[0], starts[0] + 1, …`` for ``lengths[0]`` numbers, then the next range; shape ``(sum(lengths),)``."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    flat: Ints = np.repeat(starts - ends + lengths, lengths) + np.arange(total)
    return flat
