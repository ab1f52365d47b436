"""How often a word of one title stands in the next one too, learnt from consecutive products of training sessions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import checked
from llmrec.ragged import Ragged
from llmrec.text.ngrams import TitleBook, token_support
from llmrec.within import places_among

__all__ = ["Survival", "count_survival"]

Floats = NDArray[np.float64]

_PRIOR: Final = 5.0  # a word counts as if it had been seen so often more, surviving as an average one does


@dataclass(frozen=True)
class Survival:
    """Rates by token.

    Attributes:
        tokens: Shape ``(V,)``, ascending; hashes as in `TitleBook`.
        rates: Shape ``(V,)``.
        average: Rate of a token that was never seen.
    """

    tokens: NDArray[np.uint64]
    rates: Floats
    average: float

    def of(self, tokens: NDArray[np.uint64]) -> Floats:
        """Rates of some tokens."""
        return np.append(self.rates, self.average)[places_among(self.tokens, tokens)]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Its arrays by name, for a file."""
        return {
            "survival.tokens": self.tokens,
            "survival.rates": self.rates,
            "survival.average": np.array([self.average]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Survival:
        """What `arrays` gave; KeyError where it was not called."""
        tokens = checked(arrays, "survival.tokens", "uint64", (None,), rising="strictly")
        rates = checked(arrays, "survival.rates", "float64", (len(tokens),), least=0)
        return cls(tokens, rates, float(checked(arrays, "survival.average", "float64", (1,), least=0)[0]))


def count_survival(book: TitleBook, own: Ragged) -> Survival:
    """Count over consecutive titles of sessions."""
    follows = own.ages > 0
    before = own.values[follows]
    after = own.values[np.flatnonzero(follows) + 1]
    pairs = np.arange(len(before))
    owner, support = token_support(book, pairs, before, pairs, after, np.ones(len(after)))
    _, tokens = book.flat_tokens(before)
    if not len(owner):
        return Survival(np.zeros(0, np.uint64), np.zeros(0), 0.0)
    distinct, where = np.unique(tokens, return_inverse=True)
    seen = np.bincount(where, minlength=len(distinct))
    kept = np.bincount(where, weights=support, minlength=len(distinct))
    average = float(kept.sum() / seen.sum())
    return Survival(distinct, (kept + _PRIOR * average) / (seen + _PRIOR), average)
