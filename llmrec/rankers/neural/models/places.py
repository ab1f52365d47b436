"""The places of a batch that hold an item, one after another: what is computed on them costs nothing at padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from llmrec.rankers.neural.models.base import PADDING

__all__ = ["Places", "places_of", "run_gru"]

GROUPS: Final = 4


@dataclass(frozen=True)
class Places:
    """The ``T`` places of a batch of ``B`` sessions that hold an item, session after session.

    Attributes:
        rows: Session of each, shape ``(T,)``.
        columns: Place within its session, shape ``(T,)``.
        starts: First place of each session, shape ``(B,)``.
        last: Last place of each session, shape ``(B,)``.
        shape: ``B`` and the padded length ``L``.
    """

    rows: Tensor
    columns: Tensor
    starts: Tensor
    last: Tensor
    shape: torch.Size

    def padded(self, values: Tensor) -> Tensor:
        """Values ``(T, D)`` as ``(B, L, D)``, 0 at padding."""
        return values.new_zeros(*self.shape, values.shape[1]).index_put((self.rows, self.columns), values)

    def flat(self, values: Tensor) -> Tensor:
        """Values ``(B, L, ...)`` as ``(T, ...)``."""
        return values[self.rows, self.columns]

    def summed(self, values: Tensor) -> Tensor:
        """Values ``(T, D)`` added up by session, shape ``(B, D)``."""
        return values.new_zeros(self.shape[0], values.shape[1]).index_add(0, self.rows, values)


def places_of(item_seq: Tensor) -> Places:
    """The places of sessions ``(B, L)`` that hold an item."""
    held = item_seq != PADDING
    rows, columns = held.nonzero(as_tuple=True)
    counts = held.sum(dim=1)
    ends = counts.cumsum(0)
    return Places(rows, columns, ends - counts, ends - 1, item_seq.shape)


def run_gru(gru: nn.GRU, values: Tensor, places: Places) -> Tensor:
    """States ``(T, H)`` of a recurrent layer over values ``(T, D)``.

    The batch goes through in `GROUPS` groups of like length, each cut to its longest session: a packed sequence would
    skip all padding, but on a CPU it takes the slow way through torch, and costs more than the padding.
    """
    padded = places.padded(values)
    lengths = places.last - places.starts + 1
    states = values.new_zeros(*places.shape, gru.hidden_size)
    for group in lengths.argsort().chunk(GROUPS):
        longest = int(lengths[group[-1]])
        read, _ = gru(padded[group, :longest])
        columns = torch.arange(longest, device=group.device)
        states.index_put_((group.unsqueeze(1), columns.unsqueeze(0)), read)
    return places.flat(states)
