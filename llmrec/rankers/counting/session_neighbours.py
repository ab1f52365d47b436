"""Sessions that resemble a session: the index that all session-neighbour rankers read."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, Literal, Protocol, Self, TypeVar

import ibis.expr.types as ir
import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Floats, Ints
from llmrec.ragged import offsets_of, places_within, row_numbers
from llmrec.rankers.base import Seen
from llmrec.rankers.counting.base import CountingRanker
from llmrec.rankers.counting.counts import newest_sessions
from llmrec.rankers.counting.rows import WeightedRows
from llmrec.rankers.sessions import CodedSessions
from llmrec.vocabulary import UNKNOWN
from llmrec.within import grouped, nth_within, sum_candidates, top_k_candidates

__all__ = ["Neighbours", "SessionNeighbours"]

Doubles = NDArray[np.float64]
Neighbours = tuple[Ints, Ints, Doubles]  # row of the session to rank for, neighbour, similarity


class _IndexSettings(Protocol):
    @property
    def sample(self) -> int: ...
    @property
    def engine(self) -> Literal["duckdb", "spark"]: ...


SettingsT = TypeVar("SettingsT", bound=_IndexSettings)


class SessionNeighbours(CountingRanker[SettingsT], Generic[SettingsT]):
    """Holds training sessions as sets of items, and each item's newest sessions.

    A training session's number counts from the newest, so that ties among neighbours go to the newer one. Where
    sessions have no time the order of the files stands for it.

    Attributes:
        placed: Whether sessions keep where each of their items stands: how many items come after it.
    """

    placed: ClassVar[bool] = False
    _sessions: WeightedRows  # session → its distinct items; weighted by their ages where they are ``placed``
    _index: WeightedRows  # item → its newest sessions, the newest first
    _idf: Doubles  # (N,); ln(sessions / sessions with the item)

    def _count(self, training: CodedSessions) -> None:
        num_items, num_sessions = len(self.catalogue.vocabulary), len(training)

        def newest(events: ir.Table) -> ir.Table:
            held = newest_sessions(events, self.settings.sample)
            return held.order_by(held.item, held.session.desc())

        table = self._counted(training, newest)
        by_item = WeightedRows.of(table, "item", "session", num_items)
        self._index = WeightedRows.sets(by_item.offsets, num_sessions - 1 - by_item.values)
        self._sessions = self._sets(training, num_items)
        self._weigh()

    def _count_touched(self, earlier: Self, training: CodedSessions, start: int, places: Ints) -> bool:
        num_items, number = len(self.catalogue.vocabulary), len(training) - start
        later = self._sets(training.slice(start, number), num_items)
        self._sessions = WeightedRows(
            np.concatenate([later.offsets, later.offsets[-1] + earlier._sessions.offsets[1:]]),
            np.concatenate([later.values, places[earlier._sessions.values].astype(np.int32)]),
            np.concatenate([later.weights, earlier._sessions.weights]),
        )
        self._weigh()
        # each item's newest sessions: the later ones, then those that it had, whose numbers are higher now
        known = earlier._index.moved(places, num_items, of_items=False)
        values = np.concatenate([later.rows, known.values.astype(np.int64) + number])
        items = np.concatenate([later.values, known.rows])
        order = np.argsort(items, kind="stable")
        lengths = np.bincount(items, minlength=num_items)
        newest = places_within(lengths) < self.settings.sample
        self._index = WeightedRows.sets(offsets_of(np.minimum(lengths, self.settings.sample)), values[order][newest])
        return True

    def _rank_coded(self, sessions: CodedSessions, k: int, seen: Seen) -> tuple[Ints, Floats]:
        rows, neighbours, weights = self._neighbours(sessions)
        lengths, places = self._sessions.places(neighbours)
        weights = np.repeat(weights, lengths) * self._shares(sessions, rows, lengths, places)
        rows, codes = np.repeat(rows, lengths), self._sessions.values[places].astype(np.int64)
        rows, codes, scores = sum_candidates(rows, codes, weights, len(self.catalogue.vocabulary))
        return self._best_candidates(rows, codes, self._weighed(codes, scores), sessions, k, seen)

    def holders(self, session: CodedSessions) -> tuple[int, dict[int, int]]:
        """How many neighbours one session has, and how many of them hold each item."""
        _, neighbours, _ = self._neighbours(session)
        _, places = self._sessions.places(neighbours)
        codes, counts = np.unique(self._sessions.values[places], return_counts=True)
        return len(neighbours), dict(zip(codes.tolist(), counts.tolist(), strict=True))

    def _shared(self, sessions: CodedSessions, weights: Doubles) -> tuple[Neighbours, Ints]:
        """Training sessions that share items with some sessions.

        Args:
            sessions: ``S`` sessions, each item once.
            weights: Shape ``(T,)``; an item's weight.

        Returns:
            The sharing sessions with the sum of the shared items' weights, and the place among the ``T`` items of the
            newest shared one.
        """
        lengths, places = self._index.places(sessions.items)
        rows, holders = np.repeat(sessions.rows, lengths), self._index.values[places].astype(np.int64)
        order, starts = grouped(rows, holders, self._num_sessions)
        if not len(order):
            return (rows, holders, np.zeros(0)), rows
        sums = np.add.reduceat(np.repeat(weights, lengths)[order], starts)
        newest = order[np.append(starts[1:], len(order)) - 1]  # items come in time order, and grouping keeps it
        firsts = order[starts]
        return (rows[firsts], holders[firsts], sums), row_numbers(lengths)[newest]

    def _newest(self, own: CodedSessions, weights: Doubles) -> tuple[Neighbours, Ints]:
        """`_shared`, of the ``sample`` newest of all sessions that share an item."""
        (rows, holders, sums), newest_shared = self._shared(own, weights)
        # a smaller number is a newer session, and sessions come in the order of their numbers
        newest = nth_within(rows) < self.settings.sample
        return (rows[newest], holders[newest], sums[newest]), newest_shared[newest]

    def _nearest(self, found: Neighbours, num_rows: int, number: int) -> Neighbours:
        """The ``number`` most similar of each row, ties to the newer."""
        ranked, similarity = top_k_candidates(*found, num_rows, number)
        rows, places = np.nonzero(ranked != UNKNOWN)
        return rows, ranked[rows, places], similarity[rows, places].astype(np.float64)

    def _places_in(self, found: Neighbours, nearest: Neighbours) -> Ints:
        """Where the nearest stand among those found."""
        keys, wanted = (one[0] * self._num_sessions + one[1] for one in (found, nearest))
        return np.searchsorted(keys, wanted)

    @property
    def _num_sessions(self) -> int:
        return len(self._sessions)

    @abstractmethod
    def _neighbours(self, sessions: CodedSessions) -> Neighbours:
        """Neighbours of sessions, and what each adds to the score of its items."""

    def _shares(self, sessions: CodedSessions, rows: Ints, lengths: Ints, places: Ints) -> Any:
        """What part of a neighbour's weight each of its items gets, shape ``(T,)``; all of it, if not said otherwise.

        ``rows`` are those of the neighbours, ``lengths`` and ``places`` their items' in ``_sessions``.
        """
        del sessions, rows, lengths, places
        return 1.0

    def _rarer_first(self, codes: Ints, scores: Doubles, idf_weight: float) -> Doubles:
        """Scores times 1 + ``idf_weight`` × ln(sessions / sessions with the item)."""
        weighed: Doubles = scores * (1 + idf_weight * self._idf[codes])
        return weighed

    def _weighed(self, codes: Ints, scores: Doubles) -> Doubles:
        """Scores ``(C,)`` once more by item; as they are, unless a subclass says otherwise."""
        del codes
        return scores

    def _state(self) -> Mapping[str, NDArray[Any]]:
        return {**self._sessions.arrays("sessions"), **self._index.arrays("index")}

    def _restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        num_items = len(self.catalogue.vocabulary)
        num_sessions = len(arrays["sessions.offsets"]) - 1
        self._sessions = WeightedRows.from_arrays(arrays, "sessions", num_sessions, num_items, weighted=self.placed)
        self._index = WeightedRows.from_arrays(arrays, "index", num_items, num_sessions, weighted=False)
        self._weigh()

    def _weigh(self) -> None:
        holders = np.bincount(self._sessions.values, minlength=len(self.catalogue.vocabulary))
        self._idf = np.log(max(self._num_sessions, 1) / np.maximum(holders, 1))

    def _sets(self, training: CodedSessions, num_items: int) -> WeightedRows:
        """The distinct items of each session, the last session first."""
        number = len(training)
        keys, ages = (number - 1 - training.rows) * num_items + training.items, np.zeros(0, dtype=np.float32)
        if self.placed:  # the first from behind is where an item stands last
            keys, places = np.unique(keys[::-1], return_index=True)
            ages = training.ages[::-1][places].astype(np.float32)
        else:
            keys = np.unique(keys)
        offsets = np.searchsorted(keys, np.arange(number + 1) * num_items)
        return WeightedRows(offsets, (keys % num_items).astype(np.int32), ages)
