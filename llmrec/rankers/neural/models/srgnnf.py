"""SR-GNN with item text (SRGNNF in the Amazon-M2 paper, §4.2): a node is an item and its title, side by side.

The paper says that SRGNNF lets SR-GNN use "additional item embeddings from the item titles". Its authors' code joins
half a node's width of item embedding with half of feature embedding, runs SR-GNN on both, and maps back to the item
half, which items are compared with. So does this, with two departures. The title's vector is the node's own: in the
authors' code features in the order of the sequence meet nodes in the order of their ids. And it enters through a
learned matrix; which encoder made it is up to `llmrec.rankers.attributes` (the paper: multilingual Sentence-BERT).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from llmrec.rankers.neural.models.gru4recf import ItemText
from llmrec.rankers.neural.models.srgnn import SrGnnModel, uniform_start

__all__ = ["SrGnnFModel"]


class SrGnnFModel(SrGnnModel):
    """SR-GNN on nodes of width ``2 D``: an item's vector and its title's.

    Args:
        num_items: Number ``N`` of items.
        embedding_size: Width ``D`` of an item; half of what the authors' code calls by this name.
        step: Rounds of the graph network (paper App. A searches 1 and 2).
        features: ``text`` of `llmrec.rankers.vectors.item_text.text_features`.
    """

    def __init__(
        self, num_items: int, embedding_size: int, step: int = 1, *, features: Mapping[str, NDArray[Any]]
    ) -> None:
        super().__init__(num_items, embedding_size, step, node_width=2 * embedding_size)
        self.item_text = ItemText(features["text"], embedding_size)
        uniform_start(self.item_text, embedding_size)

    def node_vectors(self, items: Tensor) -> Tensor:
        """What the nodes of items start as: ``(T,)`` to ``(T, 2 D)``."""
        return torch.cat([self.item_embedding(items), self.item_text(items)], dim=1)
