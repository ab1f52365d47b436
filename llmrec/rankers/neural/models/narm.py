"""NARM (Li et al., CIKM 2017): a GRU with attention from its last state to all of them.

The same parameters, names and numbers as RecBole's ``NARM``. RecBole has no Python loop here: its cost over this module
is the padding that it computes on.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from llmrec.rankers.neural.models.base import PADDING, SessionModel
from llmrec.rankers.neural.models.places import places_of, run_gru
from llmrec.rankers.neural.settings import NarmSettings

__all__ = ["NarmModel", "xavier_start"]


def xavier_start(module: nn.Module) -> None:
    """Draw embeddings and dense layers as RecBole does: Xavier's normal distribution; biases and rows of no item 0."""
    if isinstance(module, nn.Embedding | nn.Linear):
        nn.init.xavier_normal_(module.weight)
    if isinstance(module, nn.Embedding) and module.padding_idx is not None:
        nn.init.zeros_(module.weight[module.padding_idx])
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


class NarmModel(SessionModel):
    """NARM with RecBole's parameters: either's ``state_dict`` loads into the other.

    Args:
        num_items: Number ``N`` of items.
        settings: Width of an item, width and layers of the GRU, and dropout of items and of the session vector's parts.
    """

    def __init__(self, num_items: int, settings: NarmSettings) -> None:
        super().__init__()
        embedding_size, hidden_size, dropout_probs = (
            settings.embedding_size,
            settings.hidden_size,
            settings.dropout_probs,
        )
        self.item_embedding = nn.Embedding(num_items + 1, embedding_size, padding_idx=PADDING)
        self.emb_dropout = nn.Dropout(dropout_probs[0])
        self.gru = nn.GRU(embedding_size, hidden_size, settings.n_layers, bias=False, batch_first=True)
        self.a_1 = nn.Linear(hidden_size, hidden_size, bias=False)
        self.a_2 = nn.Linear(hidden_size, hidden_size, bias=False)
        self.v_t = nn.Linear(hidden_size, 1, bias=False)
        self.ct_dropout = nn.Dropout(dropout_probs[1])
        self.b = nn.Linear(2 * hidden_size, embedding_size, bias=False)
        self.apply(xavier_start)

    def encode(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:  # noqa: ARG002 (padding tells it)
        """Vectors of sessions, as `SessionModel.encode`."""
        places = places_of(item_seq)
        items = self.emb_dropout(self.item_embedding(places.flat(item_seq)))
        states = run_gru(self.gru, items, places)
        last = states[places.last]
        weights = self.v_t(torch.sigmoid(self.a_1(states) + self.a_2(last)[places.rows]))
        vectors: Tensor = self.b(self.ct_dropout(torch.cat([places.summed(weights * states), last], dim=1)))
        return vectors
