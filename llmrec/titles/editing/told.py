"""Titles, or phrases, that others say may come next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Ints

__all__ = ["Told"]


@dataclass(frozen=True)
class Told:
    """Of ``S`` sessions, sorted by session.

    Attributes:
        rows: Shape ``(E,)``; session.
        titles: Shape ``(E,)``; places in a book.
        weights: Shape ``(E,)``; probabilities.
    """

    rows: Ints
    titles: Ints
    weights: NDArray[np.float64]

    def slice(self, start: int, count: int) -> Told:
        """Of some sessions, counted anew."""
        first, last = np.searchsorted(self.rows, [start, start + count])
        return Told(self.rows[first:last] - start, self.titles[first:last], self.weights[first:last])

    @classmethod
    def none(cls) -> Self:
        """Nothing is told."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
