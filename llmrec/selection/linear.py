"""Corpus BLEU as a sum over sessions, so that a title can be chosen for each by itself.

The logarithm of BLEU is ``min(0, 1 - R / C) + sum_n log(m_n / t_n) / 4``, where ``m_n`` are n-grams found, ``t_n``
n-grams written, ``C`` tokens written and ``R`` tokens of the targets, all summed over the corpus. Near a choice its
change is linear in what one session adds: ``sum_n found_n / 4 m_n - sum_n written_n / 4 t_n``, and a price of length,
which is positive where the brevity penalty bites. Titles that are best at these prices move the sums and so the prices;
a few rounds settle both (Dinkelbach's method for ratios).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Ints
from llmrec.evaluation.bleu import ORDERS
from llmrec.text.ngrams import lengths_by_order

__all__ = ["Prices", "corpus_stats", "prices_at"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Prices:
    """What an n-gram found is worth and an n-gram written costs, in log BLEU times the number of sessions.

    Attributes:
        found: Shape ``(4,)``.
        written: Shape ``(4,)``; the lowest includes what length is worth against the brevity penalty.
    """

    found: Floats
    written: Floats

    def worth(self, matches: Floats) -> Floats:
        """Value of matches ``(C, 4)``, shape ``(C,)``."""
        value: Floats = matches @ self.found
        return value

    def cost(self, lengths: Ints, length_price: float) -> Floats:
        """Cost of titles of some lengths, shape ``(C,)``, each token being worth ``length_price`` beside."""
        cost: Floats = lengths_by_order(lengths) @ self.written - length_price * lengths
        return cost


def prices_at(stats: NDArray[np.floating]) -> Prices:
    """Prices near a choice.

    Args:
        stats: Shape ``(S, 10)``; of the titles chosen, as `llmrec.evaluation.bleu.bleu_stats` gives them.
    """
    sums = stats.sum(axis=0) / len(stats)
    found = np.maximum(sums[:ORDERS], 1.0 / len(stats))
    written = np.maximum(sums[ORDERS : 2 * ORDERS], 1.0 / len(stats))
    return Prices(1 / (ORDERS * found), 1 / (ORDERS * written))


def corpus_stats(matches: Floats, lengths: Ints, target_lengths: Ints) -> Floats:
    """Statistics of chosen titles, shape ``(S, 10)``, as `llmrec.evaluation.bleu.bleu_stats` counts them."""
    return np.column_stack([matches, lengths_by_order(lengths), lengths, target_lengths])
