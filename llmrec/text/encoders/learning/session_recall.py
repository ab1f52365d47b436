"""Whether vectors find what a session goes on to: its items' mean, the nearest products, and the target among them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Floats
from llmrec.text.encoders.learning.pairs import HeldSessions
from llmrec.text.session_vectors import session_vectors

__all__ = ["target_hits"]

_PART = 1_024  # sessions scored at once


def target_hits(vectors: Floats, held: HeldSessions, k: int = 100, recency: float = 0.8) -> NDArray[np.bool_]:
    """Whether each session's target is among its ``k`` nearest products, its own items left out; shape ``(S,)``.

    The mean is Recall@k. A tie counts against the target: vectors that are all alike find nothing.
    """
    queries = session_vectors(held.prefixes, vectors, recency)
    hits = np.zeros(len(held.targets), dtype=np.bool_)
    for start in range(0, len(hits), _PART):
        rows = np.arange(start, min(start + _PART, len(hits)))
        part = held.prefixes.take(rows)
        scores = queries[rows] @ vectors.T
        scores[part.rows, part.values] = -np.inf
        found = scores[np.arange(len(rows)), held.targets[rows]]
        ranks = (scores >= found[:, None]).sum(axis=1)
        hits[rows] = np.isfinite(found) & (ranks <= k)
    return hits
