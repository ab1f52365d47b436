"""CORE (Hou et al., SIGIR 2022): a session is a weighted mean of its items, so that both live in one space.

The same parameters, names and numbers as RecBole's ``CORE`` with ``dnn_type: trm``. RecBole has no Python loop here;
its cost over this module is the padding that it computes on, attention weights held for every head, and weights in
float64.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from llmrec.rankers.neural.models.base import PADDING, SessionModel
from llmrec.rankers.neural.models.places import Places, places_of
from llmrec.rankers.neural.models.srgnn import uniform_start
from llmrec.rankers.neural.settings import CoreSettings

__all__ = ["CoreModel"]

_EPS = 1e-12  # RecBole's layer_norm_eps


class _Attention(nn.Module):
    def __init__(self, dim: int, heads: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.heads, self.attention_dropout = heads, attention_dropout
        self.query, self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.dense = nn.Linear(dim, dim)
        self.LayerNorm = nn.LayerNorm(dim, eps=_EPS)
        self.out_dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, places: Places) -> Tensor:
        query, key, value = (
            places.padded(layer(hidden)).view(*places.shape, self.heads, -1).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        dropout = self.attention_dropout if self.training else 0.0
        # An item reads itself and what came before; padding stands at the end, so that no item reads any of it.
        read = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True)
        mixed = self.out_dropout(self.dense(places.flat(read.transpose(1, 2)).flatten(1)))
        normed: Tensor = self.LayerNorm(mixed + hidden)
        return normed


class _FeedForward(nn.Module):
    def __init__(self, dim: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.dense_1, self.dense_2 = nn.Linear(dim, inner), nn.Linear(inner, dim)
        self.LayerNorm = nn.LayerNorm(dim, eps=_EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        mixed = self.dropout(self.dense_2(functional.gelu(self.dense_1(hidden))))
        normed: Tensor = self.LayerNorm(mixed + hidden)
        return normed


class _Layer(nn.Module):
    def __init__(self, dim: int, heads: int, inner: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.multi_head_attention = _Attention(dim, heads, dropout, attention_dropout)
        self.feed_forward = _FeedForward(dim, inner, dropout)

    def forward(self, hidden: Tensor, places: Places) -> Tensor:
        mixed: Tensor = self.feed_forward(self.multi_head_attention(hidden, places))
        return mixed


class _Encoder(nn.Module):
    def __init__(self, layers: list[_Layer]) -> None:
        super().__init__()
        self.layer = nn.ModuleList(layers)


class _Weights(nn.Module):
    """The transformer that gives each item of a session its weight."""

    def __init__(self, dim: int, max_length: int, layers: list[_Layer], dropout: float) -> None:
        super().__init__()
        self.position_embedding = nn.Embedding(max_length, dim)
        self.trm_encoder = _Encoder(layers)
        self.LayerNorm = nn.LayerNorm(dim, eps=_EPS)
        self.dropout = nn.Dropout(dropout)
        self.fn = nn.Linear(dim, 1)

    def forward(self, items: Tensor, places: Places) -> Tensor:
        """Weights ``(T, 1)`` that add up to 1 in each session."""
        hidden = self.dropout(self.LayerNorm(items + self.position_embedding(places.columns)))
        for layer in self.trm_encoder.layer:
            hidden = layer(hidden, places)
        scores = self.fn(hidden).float().squeeze(1)
        padded = scores.new_full(places.shape, float("-inf")).index_put((places.rows, places.columns), scores)
        return places.flat(torch.softmax(padded, dim=1)).unsqueeze(1)


class CoreModel(SessionModel):
    """CORE with RecBole's parameters: either's ``state_dict`` loads into the other.

    CORE compares unit vectors over a temperature of .07, and drops values of the items that sessions are compared with;
    here, as for every model, that is done to what `encode` and `item_vectors` give.

    Args:
        num_items: Number ``N`` of items.
        settings: Width of an item, length of a session, and shape and dropout of the transformer.
    """

    def __init__(self, num_items: int, settings: CoreSettings) -> None:
        super().__init__()
        self.kept_vectors = 10 + 8 * settings.n_layers
        width, dropout = settings.embedding_size, settings.hidden_dropout_prob
        self.sess_dropout = nn.Dropout(settings.sess_dropout)
        self.item_embedding = nn.Embedding(num_items + 1, width, padding_idx=PADDING)
        stack = [
            _Layer(width, settings.n_heads, settings.inner_size, dropout, settings.attn_dropout_prob)
            for _ in range(settings.n_layers)
        ]
        self.net = _Weights(width, settings.history, stack, dropout)
        uniform_start(self, width)

    def encode(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:  # noqa: ARG002 (padding tells it)
        """Vectors of sessions, as `SessionModel.encode`."""
        places = places_of(item_seq)
        items = self.sess_dropout(self.item_embedding(places.flat(item_seq)))
        return places.summed(self.net(items, places).to(items.dtype) * items)
