"""The vector of a session: the mean of its items' vectors, later items weighing more."""

from __future__ import annotations

import numpy as np

from llmrec.arrays import Floats
from llmrec.ragged import Ragged
from llmrec.text.encoders.base import unit_rows

__all__ = ["session_vectors"]


def session_vectors(sessions: Ragged, vectors: Floats, recency: float, history: int | None = None) -> Floats:
    """Recency-weighted means of sessions' item vectors, scaled to length 1, shape ``(S, D)``; 0 where none has one.

    Args:
        sessions: Rows of ``vectors`` in time order, ``S`` sessions.
        vectors: Of the items, shape ``(N, D)``.
        recency: Weight of an item relative to that of the next one of the session; the last weighs 1.
        history: Most recent items of a session that count; all if not given.
    """
    recent = sessions if history is None else sessions.last(history)
    weighted = vectors[recent.values] * np.power(recency, recent.ages)[:, None].astype(np.float32)
    sums = np.zeros((len(sessions), vectors.shape[1]), dtype=np.float32)
    filled = recent.lengths > 0
    if filled.any():
        sums[filled] = np.add.reduceat(weighted, recent.offsets[:-1][filled], axis=0)
    return unit_rows(sums)
