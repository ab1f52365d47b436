"""What a neural ranker is trained on: prefixes of sessions, each with the item that followed, from flat arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from llmrec.arrays import Ints
from llmrec.rankers.sessions import CodedSessions

__all__ = ["BatchPlan", "Prefixes", "build_prefixes", "padded_rows", "share_of"]


POOL: Final = 32  # batches sorted by length together: little padding, and still a new mixture every epoch


def padded_rows(items: Ints, starts: Ints, lengths: Ints) -> Ints:
    """Pieces of a flat array of codes as rows of an item table, right-padded.

    Args:
        items: Shape ``(T,)``; item codes.
        starts: Shape ``(B,)``; first item of each piece.
        lengths: Shape ``(B,)``; number of its items.

    Returns:
        Shape ``(B, L)``, ``L`` the longest length but at least 1: code + 1, and 0 beyond a piece.
    """
    places = np.arange(max(1, int(lengths.max(initial=0))))
    inside = places < lengths[:, None]
    return np.where(inside, items[np.where(inside, starts[:, None] + places, 0)] + 1, 0)


@dataclass(frozen=True)
class Prefixes:
    """Training examples: example ``p`` reads ``items[starts[p]:targets[p]]`` and should name ``items[targets[p]]``.

    Attributes:
        items: Shape ``(T,)``; item codes of all sessions.
        starts: Shape ``(P,)``; place of the first item that is read.
        targets: Shape ``(P,)``; place of the item that followed.
    """

    items: Ints
    starts: Ints
    targets: Ints

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def lengths(self) -> Ints:
        """Number of items that each example reads, shape ``(P,)``."""
        return self.targets - self.starts

    def batch(self, chosen: Ints) -> tuple[Ints, Ints, Ints]:
        """Some examples as rows of the item table.

        Returns:
            Items read ``(B, L)``, right-padded with 0, their numbers ``(B,)``, and targets ``(B,)``.
        """
        starts, targets = self.starts[chosen], self.targets[chosen]
        return padded_rows(self.items, starts, targets - starts), targets - starts, self.items[targets] + 1


def build_prefixes(sessions: CodedSessions, max_length: int, every_prefix: bool = True) -> Prefixes:
    """Examples of some sessions; a session of one item gives none.

    Args:
        sessions: Known items alone.
        max_length: Most items that an example reads: the last ones before its target.
        every_prefix: Whether each item after a session's first is a target, not only its last.
    """
    firsts = np.repeat(sessions.offsets[:-1], sessions.lengths)
    places = np.arange(len(sessions.items))
    chosen = places > firsts
    if not every_prefix:
        chosen &= sessions.ages == 0
    targets = places[chosen]
    return Prefixes(sessions.items, np.maximum(firsts[chosen], targets - max_length), targets)


@dataclass(frozen=True)
class BatchPlan:
    """Batches of an epoch, the same for the same seed and epoch, shared out among processes.

    Attributes:
        lengths: Shape ``(P,)``; what examples of a batch should have in common.
        batch_size: Examples of a batch, over all processes; an epoch's last may have fewer.
        seed: Seed of the order.
    """

    lengths: Ints
    batch_size: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in an epoch."""
        return -(-len(self.lengths) // self.batch_size)

    def epoch(self, number: int, first: int = 0) -> Iterator[Ints]:
        """Batches of an epoch from the ``first`` on; examples of nearly the same length stand together."""
        rng = np.random.default_rng([self.seed, number])
        order = rng.permutation(len(self.lengths))
        pool = self.batch_size * POOL
        pools = np.arange(len(order)) // pool
        order = order[np.lexsort((self.lengths[order], pools))]
        steps = rng.permutation(self.steps_per_epoch)
        for step in steps[first:]:
            yield order[step * self.batch_size : (step + 1) * self.batch_size]


def share_of(batch: Ints, process: int, num_processes: int) -> Ints:
    """What one process takes of a batch; never empty, as every process must take every step."""
    mine = batch[process::num_processes]
    return mine if len(mine) else batch[:1]
