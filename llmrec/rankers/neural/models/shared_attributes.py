"""Items that share an attribute with an item, drawn for a whole batch at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["AttributeNeighbours"]


class AttributeNeighbours(nn.Module):
    """Groups of items with the same value of an attribute, in a shuffled order.

    A draw is a run of a group from a random place on, so that no item comes twice, and a group that is smaller than the
    draw comes whole. The item itself is never its own neighbour.

    Args:
        attributes: Shape ``(N + 1, A)``; items with the same number, above 0, share the attribute.
        seed: Seed of the order within groups.
    """

    members: Tensor
    starts: Tensor
    sizes: Tensor
    ranks: Tensor

    def __init__(self, attributes: NDArray[Any], seed: int = 0) -> None:
        super().__init__()
        random = np.random.default_rng(seed)
        rows, kinds = attributes.shape
        members = np.zeros((kinds, rows), dtype=np.int32)
        starts, sizes, ranks = (np.zeros((rows, kinds), dtype=np.int32) for _ in range(3))
        for kind in range(kinds):
            values = attributes[:, kind]
            order = np.lexsort([random.permutation(rows), values])
            first = np.searchsorted(values[order], values, side="left")
            members[kind], starts[:, kind] = order, first
            ranks[order, kind] = np.arange(rows) - first[order]
            sizes[:, kind] = np.where(values > 0, np.searchsorted(values[order], values, side="right") - first, 0)
        for name, array in (("members", members), ("starts", starts), ("sizes", sizes), ("ranks", ranks)):
            self.register_buffer(name, torch.from_numpy(array), persistent=False)

    def forward(self, items: Tensor, count: int, random: bool) -> tuple[Tensor, Tensor]:
        """Neighbours of some items.

        Args:
            items: Rows of items, shape ``(T,)``.
            count: Most neighbours ``C`` of an item and attribute.
            random: Draw from a random place on; else from the item's own, which is the same every time.

        Returns:
            Rows of items, shape ``(T, A, C)``, and which of them are there, bool of the same shape.
        """
        sizes = self.sizes[items].long()
        if random:
            begin = (torch.rand(sizes.shape, device=items.device) * sizes).long()
        else:
            begin = self.ranks[items].long() + 1
        steps = torch.arange(count, device=items.device)
        places = (begin.unsqueeze(2) + steps) % sizes.clamp(min=1).unsqueeze(2)
        kinds = torch.arange(sizes.shape[1], device=items.device)[:, None]
        found = self.members[kinds, self.starts[items].long().unsqueeze(2) + places].long()
        return found, (steps < sizes.unsqueeze(2)) & (found != items[:, None, None])
