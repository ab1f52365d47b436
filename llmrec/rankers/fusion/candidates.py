"""Candidates of several sources in one list a session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from llmrec.rankers.base import Ranker, Seen
from llmrec.rankers.sessions import CodedSessions
from llmrec.rankers.topk import top_k_candidates
from llmrec.rankers.vocabulary import UNKNOWN

__all__ = ["Candidates", "find_candidates"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

_DAMPING: Final = 20.0  # a source's n-th candidate adds 1 / (this + n) to its prior (Cormack et al. 2009 take 60)


@dataclass(frozen=True)
class Candidates:
    """Candidates of ``S`` sessions, sorted by session and item, each pair once.

    Attributes:
        rows: Shape ``(C,)``; session.
        codes: Shape ``(C,)``; item.
        scores: Shape ``(C, R)``; what each source gave it, NaN where the source does not propose it.
        ranks: Shape ``(C, R)``; its rank there from 1, NaN likewise.
        prior: Shape ``(C,)``; sum over sources of ``1 / (20 + rank)``.
    """

    rows: Ints
    codes: Ints
    scores: Floats
    ranks: Floats
    prior: Floats

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, places: Any) -> Candidates:
        """Some of the candidates, by places or by a mask."""
        parts = (self.rows, self.codes, self.scores, self.ranks, self.prior)
        return Candidates(*(part[places] for part in parts))


def find_candidates(
    sources: Sequence[Ranker[Any]], sessions: CodedSessions, depth: int, most: int, seen: Seen
) -> Candidates:
    """Ask every source and merge what they say.

    Args:
        sources: ``R`` fitted rankers that share a catalogue.
        sessions: ``S`` sessions of known items alone.
        depth: Candidates asked of each source.
        most: Candidates kept of a session: those of the highest prior, ties to the smaller code.
        seen: Whether a session's own items are left out.
    """
    num_items = len(sources[0].catalogue.vocabulary)
    found = []
    for source in sources:
        ranked, scores = source.propose(sessions, depth, seen)
        rows, places = np.nonzero(ranked != UNKNOWN)
        found.append((rows * num_items + ranked[rows, places], scores[rows, places], places + 1))
    together = np.concatenate([one[0] for one in found])
    order = np.argsort(together, kind="stable")
    ordered = together[order]
    fresh = np.ones(len(ordered), dtype=np.bool_)
    fresh[1:] = ordered[1:] != ordered[:-1]
    keys = ordered[fresh]
    at = np.empty(len(order), dtype=np.int64)
    at[order] = np.cumsum(fresh) - 1
    values = np.full((len(keys), len(sources)), np.nan, dtype=np.float32)
    ranks = np.full((len(keys), len(sources)), np.nan, dtype=np.float32)
    prior = np.zeros(len(keys), dtype=np.float32)
    start = 0
    for place, (own, scores, positions) in enumerate(found):
        here = at[start : start + len(own)]
        start += len(own)
        values[here, place], ranks[here, place] = scores, positions
        prior[here] += (1 / (_DAMPING + positions)).astype(np.float32)
    every = Candidates(keys // num_items, keys % num_items, values, ranks, prior)
    return _cut(every, len(sessions), most, num_items)


def _cut(every: Candidates, num_sessions: int, most: int, num_items: int) -> Candidates:
    if np.bincount(every.rows, minlength=num_sessions).max(initial=0) <= most:
        return every
    best, _ = top_k_candidates(every.rows, every.codes, every.prior, num_sessions, most)
    rows, places = np.nonzero(best != UNKNOWN)
    kept = np.sort(rows * num_items + best[rows, places])
    return every.take(np.searchsorted(every.rows * num_items + every.codes, kept))
