"""What every neural session model is: items of a session in, its vector out, and a vector for every item."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final

from torch import Tensor, nn

__all__ = ["PADDING", "SessionModel"]

PADDING: Final = 0  # row of no item; item code c of the catalogue is row c + 1


class SessionModel(nn.Module, ABC):
    """Encoder of sessions over ``N`` items; an item's score is the product of the session's vector and its own.

    Attributes:
        item_embedding: Table ``(N + 1, D)``; row `PADDING` is no item, item code ``c`` is row ``c + 1``.
        kept_vectors: Vectors of width ``D`` that `encode` keeps of each item for its backward pass, about; measured
            (``python scripts/bench.py work-memory``), to ask for memory before it is used.
    """

    item_embedding: nn.Embedding
    kept_vectors: int = 28

    @abstractmethod
    def encode(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Vectors of sessions, before any normalisation.

        Args:
            item_seq: Rows of `item_embedding`, shape ``(B, L)``, first to last, then `PADDING`.
            item_seq_len: Their number in each session, shape ``(B,)``, at least 1.

        Returns:
            Shape ``(B, D)``.
        """

    def item_vectors(self) -> Tensor:
        """What session vectors are compared with, shape ``(N + 1, D)``; row `PADDING` is never ranked."""
        return self.item_embedding.weight
