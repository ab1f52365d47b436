"""Candidates of several sources in one list a session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from llmrec.arrays import Floats, Ints
from llmrec.errors import needing
from llmrec.ragged import places_within
from llmrec.rankers.base import Ranker, Seen
from llmrec.rankers.sessions import CodedSessions

__all__ = ["Candidates", "find_candidates"]


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
    with needing("rank"):
        from llmrec.rankers.fusion.merging import merge  # which waits for numba
    num_items = max(len(source.catalogue.vocabulary) for source in sources)
    proposed = [source.propose(sessions, depth, seen) for source in sources]
    table = np.concatenate([ranked for ranked, _ in proposed], axis=1)
    scores = np.concatenate([values for _, values in proposed], axis=1)
    widths = [ranked.shape[1] for ranked, _ in proposed]
    columns = (np.repeat(np.arange(len(sources)), widths), places_within(np.array(widths)) + 1)
    slots = np.zeros(num_items, dtype=np.int32)
    return Candidates(*merge(table, scores, columns, most, slots, _DAMPING))
