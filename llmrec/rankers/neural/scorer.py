"""A session model with what makes a score of it: readout, lengths, temperature and the loss."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from llmrec.rankers.neural.losses import chunked_softmax, full_softmax, sampled_softmax
from llmrec.rankers.neural.models.base import PADDING, SessionModel

__all__ = ["AttentionReadout", "Scorer"]


class AttentionReadout(nn.Module):
    """Session vector in the space of the items: the session's item vectors, weighted by the encoder's own vector.

    A weight is the softmax of the product of a (linearly mapped) encoder vector with the item's, plus a learned term
    for how long ago the item was. The encoder's vector itself is added, each dimension times a learned gate that starts
    small: before any training the session is a recency-weighted mean of its items.
    """

    def __init__(self, size: int, max_length: int) -> None:
        """Readout for ``size`` dimensions and sessions of at most ``max_length`` items."""
        super().__init__()
        self.query = nn.Linear(size, size, bias=False)
        self.recency = nn.Parameter(-0.5 * torch.arange(max_length, dtype=torch.float32))
        self.gate = nn.Parameter(torch.full((size,), 0.1))

    def forward(self, encoded: Tensor, items: Tensor, lengths: Tensor) -> Tensor:
        """Session vectors.

        Args:
            encoded: The encoder's vectors, shape ``(B, D)``.
            items: Item vectors of the sessions, shape ``(B, L, D)``.
            lengths: Number of items of each, shape ``(B,)``.

        Returns:
            Shape ``(B, D)``.
        """
        ago = lengths[:, None] - 1 - torch.arange(items.shape[1], device=items.device)
        weights = torch.einsum("bd,bld->bl", self.query(encoded), items) + self.recency[ago.clamp(min=0)]
        weights = torch.softmax(weights.masked_fill(ago < 0, -torch.inf), dim=1)
        return torch.einsum("bl,bld->bd", weights, items) + self.gate * encoded


class Scorer(nn.Module):
    """Session model, readout and temperature; its `forward` is the training loss."""

    def __init__(
        self,
        model: SessionModel,
        *,
        max_length: int,
        readout: Literal["model", "attention"] = "model",
        unit_length: bool = False,
        scale: float = 1.0,
        learn_scale: bool = False,
        item_dropout: float = 0.0,
        row_updates: bool = False,
    ) -> None:
        """Score items for sessions.

        Args:
            model: Encoder and item vectors.
            max_length: Most items of a session.
            readout: ``model``: the encoder's vector is the session's; ``attention``: `AttentionReadout`.
            unit_length: Whether session and item vectors are scaled to length 1 before they are multiplied.
            scale: What the product of unit vectors is multiplied by (one over the temperature).
            learn_scale: Whether training changes the scale.
            item_dropout: Dropout of the item vectors that sessions are compared with.
            row_updates: Whether gradients of the item table name its used rows alone.
        """
        super().__init__()
        self.model = model
        self.max_length = max_length
        self.unit_length = unit_length
        self.item_dropout = item_dropout
        self.own_table = type(model).item_vectors is SessionModel.item_vectors
        self.row_updates = row_updates and self.own_table
        model.item_embedding.sparse = self.row_updates
        size = model.item_embedding.embedding_dim
        self.readout = AttentionReadout(size, max_length) if readout == "attention" else None
        self.log_scale = nn.Parameter(torch.tensor([math.log(scale)]), requires_grad=learn_scale)

    def session_vectors(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Session vectors whose product with `item_vectors` is the score, shape ``(B, D)``."""
        encoded = self.model.encode(item_seq, item_seq_len)
        if self.readout is not None:
            encoded = self.readout(encoded, self.rows(item_seq), item_seq_len)
        if not self.unit_length:
            return encoded
        return functional.normalize(encoded, dim=-1) * self.log_scale.exp()

    def item_vectors(self) -> Tensor:
        """Vectors of all items, shape ``(N + 1, D)``; row 0 is padding."""
        return self._finished(self.model.item_vectors())

    def rows(self, rows: Tensor) -> Tensor:
        """Vectors of some rows of the item table, shape ``(*rows, D)``."""
        if not self.own_table:
            return self._finished(self.model.item_vectors()[rows])
        weight = self.model.item_embedding.weight
        return self._finished(functional.embedding(rows, weight, sparse=self.row_updates))

    def _finished(self, vectors: Tensor) -> Tensor:
        vectors = functional.dropout(vectors, self.item_dropout, self.training) if self.item_dropout else vectors
        return functional.normalize(vectors, dim=-1) if self.unit_length else vectors

    def forward(
        self,
        item_seq: Tensor,
        item_seq_len: Tensor,
        targets: Tensor,
        loss: Literal["full", "chunked", "sampled"],
        *,
        padding_class: bool = False,
        drawn: Tensor | None = None,
        log_odds: Tensor | None = None,
        strength: float = 1.0,
    ) -> Tensor:
        """Training loss, summed over the batch.

        Args:
            item_seq: Rows of the item table, shape ``(B, L)``, right-padded with 0.
            item_seq_len: Shape ``(B,)``.
            targets: Rows of the items that followed, shape ``(B,)``.
            loss: One of `llmrec.rankers.neural.losses`.
            padding_class: Whether the padding row is one of the items that the softmax is over, as in RecBole.
            drawn: Rows of the negatives, shape ``(M,)``; for ``sampled``.
            log_odds: As `sampled_softmax` wants them, shape ``(M,)``.
            strength: As `sampled_softmax` wants it.
        """
        sessions = self.session_vectors(item_seq, item_seq_len)
        if loss == "sampled" and drawn is not None and log_odds is not None:
            both = self.rows(torch.cat([targets, drawn]))
            value = sampled_softmax(
                sessions,
                both[: len(targets)],
                both[len(targets) :],
                targets=targets,
                drawn=drawn,
                log_odds=log_odds,
                num_items=self.model.item_embedding.num_embeddings - 1,
                strength=strength,
            )
        else:
            first = PADDING if padding_class else PADDING + 1
            compare = chunked_softmax if loss == "chunked" else full_softmax
            value = compare(sessions, self.item_vectors()[first:], targets - first)
        extra = getattr(self.model, "auxiliary_loss", None)
        return value if extra is None else value + extra(item_seq, item_seq_len)
