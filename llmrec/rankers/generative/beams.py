"""Beams over the codes of items that there are: a table of prefixes, and the search that keeps to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from llmrec.arrays import Bools, Floats, Ints
from llmrec.ragged import UNKNOWN, flat_ranges
from llmrec.within import starts_anew, top_k_candidates

__all__ = ["Decode", "PrefixTable", "beam_search"]

Decode = Callable[[Ints, Ints], Floats]
"""Session of each beam ``(B,)`` and its tokens so far ``(B, l)`` → log probabilities of the next, ``(B, V)``."""


@dataclass(frozen=True)
class PrefixTable:
    """Token sequences of items in order, so that the items of a prefix stand together and a prefix is a range.

    Attributes:
        tokens: Shape ``(N, L)``; sorted, each row another.
        items: Shape ``(N,)``; the item of each row.
        starts: For each length from 0 to ``L`` the first row of each prefix, rising.
    """

    tokens: Ints
    items: Ints
    starts: Sequence[Ints]

    @classmethod
    def of(cls, tokens: Ints) -> PrefixTable:
        """Table of the items whose tokens these are, shape ``(N, L)``."""
        order = np.lexsort(tokens.T[::-1])
        ordered = tokens[order]
        starts = [np.zeros(min(1, len(order)), dtype=np.int64)]
        starts += [np.flatnonzero(starts_anew(*ordered.T[: length + 1])) for length in range(tokens.shape[1])]
        return cls(ordered, order, starts)

    def alive(self, allowed: Bools) -> list[Bools]:
        """For each length which prefixes some allowed item has; ``allowed`` has shape ``(N,)``."""
        rows = allowed[self.items]
        return [np.logical_or.reduceat(rows, starts) for starts in self.starts]

    def children(self, length: int, prefixes: Ints) -> tuple[Ints, Ints]:
        """Prefixes that are one longer: how many of each, and which, prefix after prefix."""
        starts = self.starts[length]
        ends = np.append(starts[1:], len(self.items))
        longer = self.starts[length + 1]
        first, last = (np.searchsorted(longer, one[prefixes]) for one in (starts, ends))
        return last - first, flat_ranges(first, last - first)


def beam_search(
    table: PrefixTable, alive: Sequence[Sequence[Bools]], kinds: Ints, number: int, decode: Decode
) -> tuple[Ints, Ints, Floats]:
    """The likeliest items of sessions.

    Args:
        table: Of all items.
        alive: `PrefixTable.alive` of each kind of session.
        kinds: Shape ``(S,)``; kind of each session.
        number: Beams of a session.
        decode: The model.

    Returns:
        Session, item and log probability of what was found, ``(C,)``, the sessions ascending.
    """
    rows, prefixes, scores = np.arange(len(kinds)), np.zeros(len(kinds), dtype=np.int64), np.zeros(len(kinds))
    for length in range(table.tokens.shape[1]):
        likely = decode(rows, table.tokens[table.starts[length][prefixes], :length])
        numbers, longer = table.children(length, prefixes)
        parents = np.repeat(np.arange(len(prefixes)), numbers)
        living = np.stack([one[length + 1] for one in alive])[kinds[rows[parents]], longer]
        parents, longer = parents[living], longer[living]
        tokens = table.tokens[table.starts[length + 1][longer], length]
        found = scores[parents] + likely[parents, tokens]
        best, kept = top_k_candidates(rows[parents], longer, found, len(kinds), number)
        rows, places = np.nonzero(best != UNKNOWN)
        prefixes, scores = best[rows, places], kept[rows, places].astype(np.float64)
    return rows, table.items[prefixes], scores.astype(np.float32)
