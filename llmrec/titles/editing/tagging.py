"""Which words to keep: those whose n-grams are expected to be worth more in BLEU than they cost."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Bools, Floats, Ints
from llmrec.evaluation.bleu import ORDERS
from llmrec.ragged import Ragged, offsets_of

__all__ = ["by_start", "keep_words", "kept_tokens"]

_LONGEST: Final = 512  # tokens of a piece that are looked at; what comes behind is dropped


def by_start(orders: Ints, starts: Ints, odds: Floats, num_tokens: int) -> Floats:
    """Probability of the n-gram of each order that starts at each token, shape ``(4, T)``; 0 where there is none."""
    values = np.zeros((ORDERS, num_tokens), dtype=np.float32)
    values[orders, starts] = odds
    return values


def keep_words(lengths: Ints, values: Floats, found: NDArray[np.floating], cost: float) -> Bools:
    """Best words of each piece by itself: the sum of its n-grams' worth, less a cost of each word, is highest.

    A piece is read from left to right; the state is how many words before were kept, up to 4, so this is Viterbi's
    search. n-grams that come to be where something was dropped are expected to be worth nothing.

    Args:
        lengths: Shape ``(P,)``; tokens of each piece.
        values: Shape ``(4, T)``; from `by_start`.
        found: Shape ``(4,)``; what a matched n-gram of each order is worth.
        cost: What a word costs.

    Returns:
        Shape ``(T,)``.
    """
    kept = np.zeros(int(lengths.sum()), dtype=np.bool_)
    starts = offsets_of(lengths)[:-1]
    longest = np.minimum(lengths, _LONGEST)
    for wide in np.unique(np.frexp(longest)[1]):  # pieces of like length share a table
        some = np.flatnonzero((np.frexp(longest)[1] == wide) & (longest > 0))
        if len(some):
            _keep_some(starts[some], longest[some], values, found, cost, kept)
    return kept


def _keep_some(
    starts: Ints, lengths: Ints, values: Floats, found: NDArray[np.floating], cost: float, kept: Bools
) -> None:
    number, width = len(starts), int(lengths.max())
    best = np.full((number, ORDERS + 1), -np.inf)
    best[:, 0] = 0.0
    came = np.zeros((width, number, ORDERS + 1), dtype=np.int8)
    for place in range(width):
        inside = place < lengths
        gain, gains = np.full(number, -cost), []
        for order in range(ORDERS):
            at = np.where(inside, starts + place - order, 0)
            gain = gain + np.where(place >= order, found[order] * values[order, at.clip(0)], 0.0)
            gains.append(gain)
        new = np.empty_like(best)
        came[place, :, 0] = best.argmax(axis=1)
        new[:, 0] = best.max(axis=1)
        for run in range(ORDERS - 1):
            new[:, run + 1], came[place, :, run + 1] = best[:, run] + gains[run], run
        long = best[:, ORDERS - 1 :]
        new[:, ORDERS] = long.max(axis=1) + gains[-1]
        came[place, :, ORDERS] = ORDERS - 1 + long.argmax(axis=1)
        new[:, 1:][~inside] = -np.inf
        best = new
    state = best.argmax(axis=1)
    for place in range(width - 1, -1, -1):
        there = np.flatnonzero((place < lengths) & (state > 0))
        kept[starts[there] + place] = True
        state = came[place, np.arange(number), state]


def kept_tokens(tokens: NDArray[np.uint64], owner: Ints, kept: Bools, number: int) -> Ragged:
    """Tokens that are kept, session after session."""
    return Ragged(offsets_of(np.bincount(owner[kept], minlength=number)), tokens[kept])
