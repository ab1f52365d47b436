"""Session neighbours by vector multiplication and an index of sessions: VS-kNN as Serenade serves it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Ints
from llmrec.rankers.counting.session_neighbours import Neighbours, SessionNeighbours
from llmrec.rankers.sessions import CodedSessions
from llmrec.settings import Decides, option

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

    def _neighbours(self, sessions: CodedSessions) -> Neighbours:
        own = sessions.last(self.settings.history).distinct()
        lengths = np.repeat(own.lengths, own.lengths)
        found, newest_shared = self._newest(own, (lengths - own.ages) / lengths)
        nearest = self._nearest(found, len(own), self.settings.neighbours)
        ages = own.ages[newest_shared[self._places_in(found, nearest)]]
        return nearest[0], nearest[1], nearest[2] * np.maximum(1 - self.settings.match_decay * ages, 0)

    def _weighed(self, codes: Ints, scores: Doubles) -> Doubles:
        return self._rarer_first(codes, scores, self.settings.idf_weight)
