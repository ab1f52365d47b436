"""GRU4Rec with item text (Hidasi et al., RecSys 2016): one GRU over items, one over their titles, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from llmrec.rankers.neural.models.base import PADDING, SessionModel
from llmrec.rankers.neural.models.narm import xavier_start
from llmrec.rankers.neural.models.places import places_of, run_gru
from llmrec.rankers.neural.settings import Gru4RecSettings

__all__ = ["Gru4RecFModel", "ItemText"]


class ItemText(nn.Module):
    """Title vectors of items, mapped to the width of the items by a learned matrix; the vectors themselves stay.

    Args:
        text: Title vectors, shape ``(N + 1, T)``.
        embedding_size: Width ``D`` that they are mapped to.
    """

    text: Tensor

    def __init__(self, text: NDArray[Any], embedding_size: int) -> None:
        super().__init__()
        self.register_buffer("text", torch.from_numpy(text).float(), persistent=False)
        self.projection = nn.Linear(text.shape[1], embedding_size, bias=False)

    def forward(self, items: Tensor) -> Tensor:
        """Mapped vectors of some items: ``(T,)`` to ``(T, D)``."""
        vectors: Tensor = self.projection(self.text[items])
        return vectors


class Gru4RecFModel(SessionModel):
    """RecBole's ``GRU4RecF`` with one feature, the title's vector.

    RecBole reads categories, words, or single numbers as features; a vector enters here as RecBole would add up one
    learned vector for each of its numbers, which is a learned matrix. Parameters but the feature's are named as there.

    Args:
        num_items: Number ``N`` of items.
        settings: Width of an item, width and layers of each GRU, and dropout of the items' values.
        features: ``text`` of `llmrec.rankers.vectors.item_text.text_features`.
    """

    def __init__(self, num_items: int, settings: Gru4RecSettings, features: Mapping[str, NDArray[Any]]) -> None:
        super().__init__()
        embedding_size, hidden_size, num_layers = settings.embedding_size, settings.hidden_size, settings.num_layers
        self.item_embedding = nn.Embedding(num_items + 1, embedding_size, padding_idx=PADDING)
        self.item_text = ItemText(features["text"], embedding_size)
        self.item_gru_layers = nn.GRU(embedding_size, hidden_size, num_layers, bias=False, batch_first=True)
        self.feature_gru_layers = nn.GRU(embedding_size, hidden_size, num_layers, bias=False, batch_first=True)
        self.dense_layer = nn.Linear(2 * hidden_size, embedding_size)
        self.dropout = nn.Dropout(settings.dropout_prob)
        self.apply(xavier_start)

    def encode(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:  # noqa: ARG002 (padding tells it)
        """Vectors of sessions, as `SessionModel.encode`."""
        places = places_of(item_seq)
        items = places.flat(item_seq)
        by_item = run_gru(self.item_gru_layers, self.dropout(self.item_embedding(items)), places)
        by_text = run_gru(self.feature_gru_layers, self.item_text(items), places)
        vectors: Tensor = self.dense_layer(torch.cat([by_item[places.last], by_text[places.last]], dim=1))
        return vectors
