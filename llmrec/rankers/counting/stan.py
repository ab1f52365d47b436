"""Session neighbours that heed order: STAN (Garg et al., SIGIR 2019), and V-STAN, VS-kNN with STAN's factors.

V-STAN is of Ludewig, Mauro, Latifi and Jannach ("Empirical analysis of session-based recommendation algorithms", 2021).
Where papers write a decay ``exp(-x / λ)``, settings here hold ``exp(-1 / λ)``: what a place further away still weighs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Ints
from llmrec.ragged import row_numbers
from llmrec.rankers.counting.session_neighbours import Neighbours, SessionNeighbours
from llmrec.rankers.sessions import CodedSessions
from llmrec.settings import Decides, option
from llmrec.within import is_among

__all__ = ["Stan", "StanNeighbours", "StanSettings", "VStan", "VStanSettings"]

Doubles = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class StanSettings:
    """Settings of `Stan`."""

    DECIDES: ClassVar[Decides] = "lists"

    neighbours: int = option(500, "Most similar sessions that vote.", minimum=1, maximum=10_000)
    sample: int = option(1000, "Newest sessions that share an item, among which neighbours are looked for.", minimum=1)
    history: int = option(50, "Most recent items of a session that are compared.", minimum=1, maximum=10_000)
    recency: float = option(
        0.4, "Weight of an item relative to the next one of the session: exp(-1/λ1).", minimum=0, maximum=1
    )
    session_decay: float = option(
        0.0,
        "Share of newer training sessions that takes a neighbour's weight to 1/e: λ2, where the order of the "
        "sessions is that of time. 0: the age of a session does not count.",
        minimum=0,
    )
    pair_decay: float = option(
        0.6,
        "Weight of a neighbour's item relative to one that is a place closer to its last shared item: exp(-1/λ3).",
        minimum=0,
        maximum=1,
    )
    engine: Literal["duckdb", "spark"] = option("duckdb", "Where sessions are indexed: duckdb, or spark.")


@dataclass(frozen=True, kw_only=True)
class VStanSettings(StanSettings):
    """Settings of `VStan`."""

    match_recency: float = option(
        0.7,
        "What is left of a vote for each place of its newest shared item from the end: exp(-1/λ4).",
        minimum=0,
        maximum=1,
    )
    idf_weight: float = option(
        1.0, "How much rarer items gain: a score times 1 + this × ln(sessions / item's).", minimum=0, maximum=10_000
    )


SettingsT = TypeVar("SettingsT", bound=StanSettings)


class StanNeighbours(SessionNeighbours[SettingsT], Generic[SettingsT]):
    """STAN's three factors: where an item stands in the session, how old a neighbour is, where its item stands.

    An item that ``a`` items come after in the session weighs w1 = recency^a. The similarity of a neighbour ``n`` is the
    sum of w1 over shared items, divided by ``sqrt(sum of w1² · |n|)``, times w2 = exp(-age / session_decay); its age is
    the share of training sessions that are newer. It adds its similarity times w3 = pair_decay^d to an item that
    stands ``d`` places from the last shared item of the neighbour, before or after.
    """

    placed: ClassVar[bool] = True

    def _neighbours(self, sessions: CodedSessions) -> Neighbours:
        settings, own, ages = self.settings, *self._own(sessions)
        weights = _power(settings.recency, ages)
        (rows, neighbours, similarity), newest_shared = self._newest(own, weights)
        norms = np.bincount(own.rows, weights**2, minlength=len(own))[rows] * self._sessions.lengths[neighbours]
        similarity = similarity / np.sqrt(norms)
        if settings.session_decay:
            similarity = similarity * np.exp(-neighbours / self._num_sessions / settings.session_decay)
        found = rows, neighbours, similarity
        nearest = self._nearest(found, len(own), settings.neighbours)
        votes = self._votes(ages[newest_shared[self._places_in(found, nearest)]])
        return nearest[0], nearest[1], nearest[2] * votes

    def _own(self, sessions: CodedSessions) -> tuple[CodedSessions, Ints]:
        """What of sessions is compared: each item once, and how many items come after it, repeated ones too."""
        own = sessions.last(self.settings.history)
        latest = own.latest
        return own.kept(latest), own.ages[latest]

    def _votes(self, ages: Ints) -> Doubles:
        """What is left of neighbours' votes, by the age in the session of the newest shared item ``(C,)``."""
        return np.ones(len(ages))

    def _shares(self, sessions: CodedSessions, rows: Ints, lengths: Ints, places: Ints) -> Doubles:
        own, _ = self._own(sessions)
        ages, neighbour = self._sessions.weights[places], row_numbers(lengths)
        codes = self._sessions.values[places].astype(np.int64)
        shared = is_among(rows[neighbour], codes, own.rows, own.items, len(self.catalogue.vocabulary))
        last = np.full(len(rows), np.inf, dtype=np.float32)
        np.minimum.at(last, neighbour[shared], ages[shared])
        return _power(self.settings.pair_decay, np.abs(ages - last[neighbour]))


class Stan(StanNeighbours[StanSettings]):
    """Sequence and time aware neighbourhood; as `StanNeighbours` has it."""

    name = "stan"
    settings_class = StanSettings


class VStan(StanNeighbours[VStanSettings]):
    """STAN with two factors of VS-kNN: votes fade with the place of the newest shared item, and rarer items gain.

    A neighbour whose newest shared item has ``a`` items after it in the session votes with match_recency^a of its
    weight; scores are multiplied by ``1 + idf_weight · ln(sessions / sessions with the item)``.
    """

    name = "vstan"
    settings_class = VStanSettings

    def _votes(self, ages: Ints) -> Doubles:
        return _power(self.settings.match_recency, ages)

    def _weighed(self, codes: Ints, scores: Doubles) -> Doubles:
        return self._rarer_first(codes, scores, self.settings.idf_weight)


def _power(base: float, exponents: NDArray[np.generic]) -> Doubles:
    """``base`` to the power of each; 0 to the power of 0 is 1."""
    return np.power(np.float64(base), exponents.astype(np.float64))
