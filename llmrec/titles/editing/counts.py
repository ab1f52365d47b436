"""What training sessions say of n-grams: how often one of the last title returns, and how often one is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Floats, Ints, checked
from llmrec.evaluation.bleu import ORDERS
from llmrec.ragged import Ragged
from llmrec.text.ngrams import NO_TITLE, TitleBook, plain_grams, with_row
from llmrec.within import places_among

__all__ = ["Counts", "count"]

Hashes = NDArray[np.uint64]
_PRIOR: Final = 4.0  # an n-gram counts as if it had been seen so often more, returning as an average one does


@dataclass(frozen=True)
class Counts:
    """Counts by n-gram, of all orders together.

    Attributes:
        keys: Shape ``(V,)``, ascending; hashes of `plain_grams`.
        numbers: Shape ``(V, 3)``; sessions whose last title has it, those of them whose target has it too, and sessions
            whose target has it.
        averages: Shape ``(4,)``; share of n-grams of the last title that return, by order.
        scale: What numbers are multiplied by, so that counts over more sessions than a network has learnt with say the
            same to it.
    """

    keys: Hashes
    numbers: NDArray[np.int32]
    averages: NDArray[np.float64]
    scale: float = 1.0

    def of(self, keys: Hashes, order: int) -> tuple[Floats, Floats, Floats]:
        """Of n-grams of ``order`` tokens: the rate at which each returns, how often it was seen, and asked for."""
        numbers = np.append(self.numbers, np.zeros((1, 3), np.int32), axis=0)[places_among(self.keys, keys)]
        seen, kept, wanted = (numbers * np.float32(self.scale)).astype(np.float32).T
        average = np.float32(self.averages[order - 1])
        return (kept + np.float32(_PRIOR) * average) / (seen + np.float32(_PRIOR)), seen, wanted

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Its arrays by name, for a file."""
        scale = np.array([self.scale])
        named: dict[str, NDArray[Any]] = {
            "keys": self.keys,
            "numbers": self.numbers,
            "averages": self.averages,
            "scale": scale,
        }
        return {f"counts.{name}": array for name, array in named.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Counts:
        """What `arrays` gave.

        Raises:
            ValueError: an array is of another kind or shape.
        """
        keys = checked(arrays, "counts.keys", "uint64", (None,), rising="strictly")
        numbers = checked(arrays, "counts.numbers", "int32", (len(keys), 3), least=0)
        averages = checked(arrays, "counts.averages", "float64", (ORDERS,), least=0)
        return cls(keys, numbers, averages, float(checked(arrays, "counts.scale", "float64", (1,), least=0, most=1)[0]))


def count(book: TitleBook, own: Ragged, targets: Ints) -> Counts:
    """Count over labelled sessions.

    Args:
        book: Titles.
        own: Titles of ``S`` sessions, oldest first.
        targets: Shape ``(S,)``; title of each session's target; a session with `NO_TITLE` teaches nothing.
    """
    known = np.flatnonzero((targets != NO_TITLE) & (own.lengths > 0))
    last, wanted = own.ends[known], targets[known]
    keys, columns, averages = [], [], np.zeros(ORDERS)
    for order in range(1, ORDERS + 1):
        mine, asked = _sets(book, last, order), _sets(book, wanted, order)
        both = np.isin(with_row(*mine), with_row(*asked))
        averages[order - 1] = both.mean() if len(both) else 0.0
        keys += [mine[0], mine[0][both], asked[0]]
        columns += [np.zeros(len(mine[0]), np.int64), np.ones(int(both.sum()), np.int64), np.full(len(asked[0]), 2)]
    distinct, places = np.unique(np.concatenate(keys), return_inverse=True)
    numbers = np.bincount(places * 3 + np.concatenate(columns), minlength=3 * len(distinct))
    return Counts(distinct, numbers.reshape(-1, 3).astype(np.int32), averages)


def _sets(book: TitleBook, titles: Ints, order: int) -> tuple[Hashes, Ints]:
    """Distinct n-grams of each title, and whose they are."""
    rows, keys, _ = plain_grams(*book.flat_tokens(titles), order)
    _, first = np.unique(with_row(keys, rows), return_index=True)
    return keys[first], rows[first]
