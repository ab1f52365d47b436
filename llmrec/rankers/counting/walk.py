"""A walk over the co-visitation graph: what is reached from the session's items in one, two and three steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from llmrec.arrays import Floats, Ints, checked
from llmrec.ragged import offsets_of, row_numbers
from llmrec.rankers.base import Seen
from llmrec.rankers.counting.covisit import CovisitSettings, PairRanker
from llmrec.rankers.counting.rows import WeightedRows
from llmrec.rankers.sessions import CodedSessions
from llmrec.settings import option
from llmrec.within import starts_anew, top_k_candidates

__all__ = ["CovisitWalk", "CovisitWalkSettings"]

_CLEARED: Final = 1 << 13  # items of the catalogue that are cleared in the time that a session alone takes longer


@dataclass(frozen=True, kw_only=True)
class CovisitWalkSettings(CovisitSettings):
    """Settings of `CovisitWalk`: those of `Covisit`, whose second hop it takes for every session, and then more."""

    hop_weight: float = option(
        0.3, "Weight of each further step relative to the one before.", minimum=0, maximum=10_000
    )
    hop_items: int = option(150, "Best items of a step from which the next one starts.", minimum=1, maximum=10_000)
    steps: int = option(3, "Steps of the walk.", minimum=1, maximum=16)


class CovisitWalk(PairRanker[CovisitWalkSettings]):
    """Sum, over steps, of the share of walks from the session's recent items that stand on an item.

    A step goes from an item to a neighbour by the neighbour's share of all its weights. A session is offered what its
    locale's sessions hold, where there is any; the locale's share of an item raises its score.
    """

    name = "covisit_walk"
    settings_class = CovisitWalkSettings
    _graph: Any  # sparse (N, N), rows add up to 1
    _counts: NDArray[np.int32]  # (L + 1, N); how often a locale's sessions hold an item

    def _take(self, neighbours: WeightedRows, training: CodedSessions) -> None:
        counts = training.counts(len(self.catalogue.locales), len(self.catalogue.vocabulary))
        self._set(neighbours, counts.astype(np.int32))

    def _set(self, neighbours: WeightedRows, counts: NDArray[np.int32]) -> None:
        size, rows = len(neighbours), neighbours.rows
        totals = np.bincount(rows, weights=neighbours.weights, minlength=size)
        shares = (neighbours.weights / np.where(totals > 0, totals, 1)[rows]).astype(np.float32)
        self._neighbours, self._counts = neighbours, counts
        self._unseen = np.array([not row.any() for row in counts])
        self._totals = np.maximum(counts.sum(axis=0), 1)
        self._graph = sparse.csr_array((shares, neighbours.values, neighbours.offsets), shape=(size, size))

    def _rank_coded(self, sessions: CodedSessions, k: int, seen: Seen) -> tuple[Ints, Floats]:
        rows, codes, scores = self._walked(sessions.last(self.settings.history))
        locales = sessions.locales[rows]
        here = self._counts.ravel().take(locales * self._counts.shape[1] + codes)
        usable = (here > 0) | self._unseen[locales]
        rows, codes, here = rows[usable], codes[usable], here[usable]
        scores = scores[usable] * (1 + self.settings.locale_weight * here / self._totals[codes])
        return self._best_candidates(rows, codes, scores, sessions, k, seen)

    def _walked(self, recent: CodedSessions) -> tuple[Ints, Ints, Floats]:
        """Session, item and weight of all that is reached."""
        # what a product of matrices clears for each step, however few the sessions are, is as long as the catalogue
        together = len(recent) * _CLEARED > self._graph.shape[0]
        return self._walked_together(recent) if together else self._walked_alone(recent)

    def _walked_alone(self, recent: CodedSessions) -> tuple[Ints, Ints, Floats]:
        """`_walked`, session after session."""
        weights = np.power(self.settings.recency, recent.ages).astype(np.float32)
        here, reached = np.zeros((2, self._graph.shape[0]), dtype=np.float32)
        found = []
        for first, last in pairwise(recent.offsets.tolist()):
            steps = self._steps_from(recent.items[first:last], weights[first:last], here)
            weight = np.float32(1)
            for codes, values in steps:
                reached[codes] += weight * values
                weight *= np.float32(self.settings.hop_weight)
            codes = _distinct(np.concatenate([codes for codes, _ in steps]))
            found.append((codes, reached[codes]))
            reached[codes] = 0
        rows = row_numbers([len(codes) for codes, _ in found])
        nothing = (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))
        codes, values = (np.concatenate(column) for column in zip(nothing, *found, strict=True))
        return rows, codes, values

    def _steps_from(self, items: Ints, weights: Floats, here: Floats) -> list[tuple[Ints, Floats]]:
        """Items, each once, and weights of what one session's items reach in each step; ``here``, ``(N,)``, is 0."""
        steps: list[tuple[Ints, Floats]] = []
        for _ in range(self.settings.steps):
            if steps:
                codes, weights = steps[-1]
                best = _heaviest_of_one(weights, self.settings.hop_items)
                items, weights = codes[best], weights[best]
            lengths, places = self._neighbours.places(items)
            codes = self._neighbours.values[places]
            np.add.at(here, codes, np.repeat(weights, lengths) * self._graph.data[places])
            codes = _distinct(codes).astype(np.int64)
            steps.append((codes, here[codes]))
            here[codes] = 0
        return steps

    def _walked_together(self, recent: CodedSessions) -> tuple[Ints, Ints, Floats]:
        """`_walked`, of all sessions at once."""
        weights = np.power(self.settings.recency, recent.ages).astype(np.float32)
        shape = (len(recent), self._graph.shape[0])
        at = sparse.csr_array((weights, recent.items, recent.offsets), shape=shape)
        reached = sparse.csr_array(shape, dtype=np.float32)
        weight = np.float32(1)
        for step in range(self.settings.steps):
            at = at @ self._graph
            reached = reached + weight * at
            weight *= np.float32(self.settings.hop_weight)
            if step + 1 < self.settings.steps:
                at = _heaviest(at, self.settings.hop_items)
        rows = row_numbers(np.diff(reached.indptr))
        return rows, reached.indices.astype(np.int64), reached.data

    def _state(self) -> Mapping[str, NDArray[Any]]:
        return {**self._neighbours.arrays("neighbours"), "counts": self._counts}

    def _restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        num_items = len(self.catalogue.vocabulary)
        counts = checked(arrays, "counts", "int32", (len(self.catalogue.locales) + 1, num_items), least=0)
        self._set(WeightedRows.from_arrays(arrays, "neighbours", num_items, num_items), counts)


def _distinct(codes: NDArray[Any]) -> NDArray[Any]:
    """Each once, ascending; in a quarter of the time that `numpy.unique` takes for some hundreds."""
    ordered = np.sort(codes)
    return ordered[starts_anew(ordered)]


def _heaviest_of_one(weights: Floats, number: int) -> Ints:
    """Places of the ``number`` largest, falling, ties to the smaller place."""
    near = np.arange(len(weights))
    if len(weights) > number:
        near = np.flatnonzero(weights >= np.partition(weights, -number)[-number])
    return near[np.argsort(-weights[near], kind="stable")[:number]]


def _heaviest(matrix: Any, number: int) -> Any:
    """The ``number`` largest entries of each row of a sparse matrix, ties to the smaller column."""
    rows = row_numbers(np.diff(matrix.indptr))
    best, values = top_k_candidates(rows, matrix.indices.astype(np.int64), matrix.data, matrix.shape[0], number)
    kept = best >= 0
    return sparse.csr_array((values[kept], best[kept], offsets_of(kept.sum(axis=1))), shape=matrix.shape)
