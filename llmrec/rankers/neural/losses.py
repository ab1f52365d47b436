"""Cross-entropy over many items: in full, in chunks that never hold all logits, and with sampled negatives.

Each loss is summed over the batch and takes vectors whose product already is the logit.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

__all__ = ["NegativeSampler", "chunked_softmax", "full_softmax", "sampled_softmax"]

CHUNK: Final = 8192  # items whose logits are held at once


def full_softmax(sessions: Tensor, items: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy over all items; holds ``(B, N)`` logits.

    Args:
        sessions: Session vectors, shape ``(B, D)``.
        items: Item vectors, shape ``(N, D)``.
        targets: Row of the right item, shape ``(B,)``.

    Returns:
        Sum over the batch, in nats.
    """
    return functional.cross_entropy((sessions @ items.T).float(), targets, reduction="sum")


def chunked_softmax(sessions: Tensor, items: Tensor, targets: Tensor, chunk: int = CHUNK) -> Tensor:
    """The same value and gradients as `full_softmax`, holding ``(B, chunk)`` logits at a time, computed twice.

    Args:
        sessions: Session vectors, shape ``(B, D)``.
        items: Item vectors, shape ``(N, D)``.
        targets: Row of the right item, shape ``(B,)``.
        chunk: Items whose logits are held at once.

    Returns:
        Sum over the batch, in nats.
    """
    device = sessions.device.type
    kind = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else sessions.dtype
    with torch.autocast(device, enabled=False):  # backward runs outside of it, and must see the numbers of forward
        loss: Tensor = _ChunkedSoftmax.apply(sessions.to(kind), items.to(kind), targets, chunk)  # type: ignore[no-untyped-call]
    return loss


class _ChunkedSoftmax(torch.autograd.Function):
    """Forward keeps one normaliser a session; backward computes the logits of each chunk again."""

    @staticmethod
    def forward(ctx: Any, sessions: Tensor, items: Tensor, targets: Tensor, chunk: int) -> Tensor:
        normaliser = torch.full((len(sessions),), -torch.inf, device=sessions.device)
        for start in range(0, len(items), chunk):
            logits = (sessions @ items[start : start + chunk].T).float()
            normaliser = torch.logaddexp(normaliser, torch.logsumexp(logits, dim=1))
        ctx.save_for_backward(sessions, items, targets, normaliser)
        ctx.chunk = chunk
        right = (sessions.float() * items[targets].float()).sum(dim=1)
        return (normaliser - right).sum()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        sessions, items, targets, normaliser = ctx.saved_tensors
        session_gradient = torch.zeros_like(sessions)
        item_gradient = torch.empty_like(items)
        for start in range(0, len(items), ctx.chunk):
            part = items[start : start + ctx.chunk]
            shares = torch.exp((sessions @ part.T).float() - normaliser[:, None]).to(sessions.dtype)
            session_gradient += shares @ part
            item_gradient[start : start + ctx.chunk] = shares.T @ sessions
        session_gradient -= items[targets]
        item_gradient.index_add_(0, targets, sessions, alpha=-1)
        return session_gradient * gradients[0], item_gradient * gradients[0], None, None


class NegativeSampler:
    """Draws items as often as they occur.

    Attributes:
        log_odds: Shape ``(N,)``; log of the probability of each item times ``N``, 0 where all are equal.
    """

    def __init__(self, counts: NDArray[np.int64]) -> None:
        """Sampler of items.

        Args:
            counts: Shape ``(N,)``; how often each item was a target. One that never was counts as once.
        """
        weights = np.maximum(counts, 1).astype(np.float64)
        shares = weights / weights.sum()
        self._cumulated = np.cumsum(shares)
        self.log_odds = np.log(shares * len(shares)).astype(np.float32)

    def draw(self, number: int, seed: tuple[int, ...]) -> NDArray[np.int64]:
        """Codes of ``number`` items, drawn with replacement; the same for the same seed."""
        uniform = np.random.default_rng(seed).random(number)
        places = np.searchsorted(self._cumulated, uniform * self._cumulated[-1], side="right")
        codes: NDArray[np.int64] = np.minimum(places, len(self._cumulated) - 1)
        return codes


def sampled_softmax(
    sessions: Tensor,
    right: Tensor,
    negatives: Tensor,
    *,
    targets: Tensor,
    drawn: Tensor,
    log_odds: Tensor,
    num_items: int,
    strength: float,
) -> Tensor:
    """Cross-entropy of the right item against negatives that the whole batch shares.

    A drawn negative ``j`` stands for all items: its logit is lowered by the log of how often it is drawn, so that the
    sum estimates the full softmax's (logQ correction; Bengio and Senécal 2008). ``strength`` below 1 lowers popular
    negatives less, which takes popularity out of what the vectors learn. A negative that is the target itself is
    masked.

    Args:
        sessions: Session vectors, shape ``(B, D)``.
        right: Vectors of the right items, shape ``(B, D)``.
        negatives: Vectors of the negatives, shape ``(M, D)``.
        targets: Rows of the right items, shape ``(B,)``.
        drawn: Rows of the negatives, shape ``(M,)``.
        log_odds: Log of probability times number of items of each negative, shape ``(M,)``.
        num_items: ``N``.
        strength: 1 corrects in full, 0 treats the negatives as if all were equally likely.

    Returns:
        Sum over the batch, in nats.
    """
    own = (sessions * right).sum(dim=1).float()
    correction = strength * log_odds + float(np.log(len(drawn) / num_items))
    others = (sessions @ negatives.T).float() - correction
    others = others.masked_fill(targets[:, None] == drawn[None, :], -torch.inf)
    return (torch.logaddexp(own, torch.logsumexp(others, dim=1)) - own).sum()
