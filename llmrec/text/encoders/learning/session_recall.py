"""Whether vectors find what a session goes on to: its items' mean, the nearest products, and the target among them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmrec.text.encoders.base import Floats, unit_rows
from llmrec.text.encoders.learning.pairs import HeldSessions, SessionItems

__all__ = ["session_vectors", "target_hits"]

_PART = 1_024  # sessions scored at once


def session_vectors(vectors: Floats, sessions: SessionItems, decay: float = 0.8) -> Floats:
    """Means of items' vectors, the last item weighing 1, the one before ``decay``, and so on.

    Args:
        vectors: Of the products, shape ``(N, D)``.
        sessions: ``S`` sessions of products.
        decay: Weight of an item beside that of the next one.

    Returns:
        Shape ``(S, D)``, each of length 1.
    """
    lengths = np.diff(sessions.offsets)
    ages = np.repeat(sessions.offsets[1:], lengths) - 1 - np.arange(len(sessions.items))
    summed = np.zeros((len(sessions), vectors.shape[1]), dtype=np.float32)
    weighted = vectors[sessions.items] * (decay**ages).astype(np.float32)[:, None]
    np.add.at(summed, np.repeat(np.arange(len(sessions)), lengths), weighted)
    return unit_rows(summed)


def target_hits(vectors: Floats, held: HeldSessions, k: int = 100, decay: float = 0.8) -> NDArray[np.bool_]:
    """Whether each session's target is among its ``k`` nearest products, its own items left out; shape ``(S,)``.

    The mean is Recall@k. A tie counts against the target: vectors that are all alike find nothing.
    """
    queries = session_vectors(vectors, held.prefixes, decay)
    hits = np.zeros(len(held.targets), dtype=np.bool_)
    for start in range(0, len(hits), _PART):
        rows = np.arange(start, min(start + _PART, len(hits)))
        part = held.prefixes.take(rows)
        scores = queries[rows] @ vectors.T
        scores[np.repeat(np.arange(len(rows)), np.diff(part.offsets)), part.items] = -np.inf
        found = scores[np.arange(len(rows)), held.targets[rows]]
        ranks = (scores >= found[:, None]).sum(axis=1)
        hits[rows] = np.isfinite(found) & (ranks <= k)
    return hits
