"""Candidates of several sources in one list a session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from llmrec.arrays import Floats, Ints
from llmrec.rankers.base import Ranker, Seen
from llmrec.rankers.sessions import CodedSessions
from llmrec.within import order_within, starts_anew

__all__ = ["Candidates", "find_candidates"]


_COLUMN_BITS: Final = np.uint64(32)
_COLUMN: Final = np.uint64((1 << 32) - 1)
_UNKNOWN: Final = ~_COLUMN  # code -1 in the upper half
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

    def take(self, places: Ints) -> Candidates:
        """Some of the candidates."""
        parts: list[Any] = [self.rows, self.codes, self.scores, self.ranks, self.prior]
        return Candidates(*(part.take(places, axis=0) for part in parts))


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
    proposed = [source.propose(sessions, depth, seen) for source in sources]
    table = np.concatenate([ranked for ranked, _ in proposed], axis=1)
    columns = np.arange(table.shape[1])
    # item and column in one number: short rows of these sort quickest, and unknown ones, -1, come last
    keys = (table.astype(np.uint64) << _COLUMN_BITS) | columns.astype(np.uint64)
    keys.sort(axis=1)
    rows, places = np.nonzero(keys < _UNKNOWN)
    ordered = keys[rows, places]
    codes, column = (ordered >> _COLUMN_BITS).astype(np.int64), (ordered & _COLUMN).astype(np.int64)
    fresh = starts_anew(codes, rows)
    at = np.cumsum(fresh) - 1
    rows, codes, proposals = rows[fresh], codes[fresh], (rows, column)
    values = np.full((len(rows), len(sources)), np.nan, dtype=np.float32)
    ranks = np.full((len(rows), len(sources)), np.nan, dtype=np.float32)
    widths = [ranked.shape[1] for ranked, _ in proposed]
    source = np.repeat(np.arange(len(sources)), widths)[column]
    position = np.concatenate([np.arange(1, width + 1) for width in widths])[column]
    values[at, source] = np.concatenate([scores for _, scores in proposed], axis=1)[proposals]
    ranks[at, source] = position
    prior = np.bincount(at, 1 / (_DAMPING + position), len(rows)).astype(np.float32)
    return _cut(Candidates(rows, codes, values, ranks, prior), len(sessions), most)


def _cut(every: Candidates, num_sessions: int, most: int) -> Candidates:
    if np.bincount(every.rows, minlength=num_sessions).max(initial=0) <= most:
        return every
    order, place = order_within(every.rows, every.prior)
    return every.take(np.sort(order[place < most]))
