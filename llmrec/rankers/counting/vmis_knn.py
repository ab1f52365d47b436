"""Session neighbours by vector multiplication and an index of sessions: VS-kNN as Serenade serves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Ints
from llmrec.rankers.counting.session_neighbours import Neighbours, SessionNeighbours
from llmrec.rankers.sessions import CodedSessions
from llmrec.settings import Decides, option
from llmrec.within import nth_within

__all__ = ["VmisKnn", "VmisKnnSettings"]

Doubles = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class VmisKnnSettings:
    """Settings of `VmisKnn`."""

    DECIDES: ClassVar[Decides] = "lists"

    neighbours: int = option(100, "Most similar sessions that vote.", minimum=1, maximum=10_000)
    sample: int = option(500, "Newest sessions that share an item, among which neighbours are looked for.", minimum=1)
    history: int = option(10, "Most recent items of a session that are compared.", minimum=1, maximum=10_000)
    match_decay: float = option(
        0.1, "What a vote loses for each place of its newest shared item from the end.", minimum=0, maximum=10_000
    )
    idf_weight: float = option(
        1.0, "How much rarer items gain: a score times 1 + this × ln(sessions / item's).", minimum=0, maximum=10_000
    )
    engine: Literal["duckdb", "spark"] = option("duckdb", "Where sessions are indexed: duckdb, or spark.")


class VmisKnn(SessionNeighbours[VmisKnnSettings]):
    """Neighbours share items that stand late in the session; their votes fade with the place of the newest shared one.

    An item at place p of a session of n weighs p / n, and a session's similarity is the sum over shared items, taken
    among the ``sample`` newest sessions that share one. A neighbour whose newest shared item stands x places before the
    end adds its similarity times ``1 - match_decay · x`` (0 at least) to its items.
    """

    name = "vmis_knn"
    settings_class = VmisKnnSettings
    _idf: Doubles  # (N,); ln(sessions / sessions with the item)

    def _count(self, training: CodedSessions) -> None:
        super()._count(training)
        self._weigh()

    def _count_touched(self, earlier: Self, training: CodedSessions, start: int, places: Ints) -> bool:
        done = super()._count_touched(earlier, training, start, places)
        self._weigh()
        return done

    def _restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        super()._restore(arrays)
        self._weigh()

    def _weigh(self) -> None:
        holders = np.bincount(self._sessions.values, minlength=len(self.catalogue.vocabulary))
        self._idf = np.log(max(self._num_sessions, 1) / np.maximum(holders, 1))

    def _neighbours(self, sessions: CodedSessions) -> Neighbours:
        own = sessions.last(self.settings.history).distinct()
        lengths = np.repeat(own.lengths, own.lengths)
        (rows, holders, similarity), newest_shared = self._shared(own, (lengths - own.ages) / lengths)
        # a smaller number is a newer session, and sessions come in the order of their numbers
        newest = nth_within(rows) < self.settings.sample
        rows, holders, similarity = rows[newest], holders[newest], similarity[newest]
        votes = np.maximum(1 - self.settings.match_decay * own.ages[newest_shared[newest]], 0)
        nearest = self._nearest((rows, holders, similarity), len(own), self.settings.neighbours)
        keys = rows * self._num_sessions + holders
        found = np.searchsorted(keys, nearest[0] * self._num_sessions + nearest[1])
        return nearest[0], nearest[1], nearest[2] * votes[found]

    def _weighed(self, codes: Ints, scores: Doubles) -> Doubles:
        weighed: Doubles = scores * (1 + self.settings.idf_weight * self._idf[codes])
        return weighed
