"""A walk over the co-visitation graph: what is reached from the session's items in one, two and three steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Floats, Ints, checked
from llmrec.rankers.base import Seen
from llmrec.rankers.counting.covisit import CovisitSettings, PairRanker
from llmrec.rankers.counting.rows import WeightedRows
from llmrec.rankers.counting.walking import walk
from llmrec.rankers.sessions import CodedSessions
from llmrec.settings import option
from llmrec.vocabulary import UNKNOWN

__all__ = ["CovisitWalk", "CovisitWalkSettings"]


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
    _neighbours: WeightedRows
    _shares: Floats  # of the neighbours' weights; those of an item add up to 1
    _counts: NDArray[np.int32]  # (L + 1, N); how often a locale's sessions hold an item

    def _take(self, neighbours: WeightedRows, training: CodedSessions) -> None:
        counts = training.counts(len(self.catalogue.locales), len(self.catalogue.vocabulary))
        self._set(neighbours, counts.astype(np.int32))

    def _set(self, neighbours: WeightedRows, counts: NDArray[np.int32]) -> None:
        size, rows = len(neighbours), neighbours.rows
        totals = np.bincount(rows, weights=neighbours.weights, minlength=size)
        self._shares = (neighbours.weights / np.where(totals > 0, totals, 1)[rows]).astype(np.float32)
        self._neighbours, self._counts = neighbours, counts
        self._unseen = np.array([not row.any() for row in counts])
        self._totals = np.maximum(counts.sum(axis=0), 1)

    def _rank_coded(self, sessions: CodedSessions, k: int, seen: Seen) -> tuple[Ints, Floats]:
        settings, recent, size = self.settings, sessions.last(self.settings.history), len(self._neighbours)
        weights = np.power(settings.recency, recent.ages).astype(np.float32)
        sold = np.zeros((0, 0), dtype=np.bool_) if self.catalogue.sold is None else self.catalogue.sold
        spare = int(sessions.lengths.max(initial=0)) if seen == "drop" else 0
        ranked, scores = walk(
            (self._neighbours.offsets, self._neighbours.values, self._shares),
            (recent.offsets, recent.items.astype(np.int64), weights, recent.locales),
            (settings.steps, settings.hop_items, np.float32(settings.hop_weight), float(settings.locale_weight)),
            (self._counts, self._totals, self._unseen, sold),
            min(k + spare, size),
            np.zeros((size, 4), dtype=np.float32),
        )
        rows, places = np.nonzero(ranked != UNKNOWN)
        return self._best_candidates(rows, ranked[rows, places], scores[rows, places], sessions, k, seen)

    def _state(self) -> Mapping[str, NDArray[Any]]:
        return {**self._neighbours.arrays("neighbours"), "counts": self._counts}

    def _restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        num_items = len(self.catalogue.vocabulary)
        counts = checked(arrays, "counts", "int32", (len(self.catalogue.locales) + 1, num_items), least=0)
        self._set(WeightedRows.from_arrays(arrays, "neighbours", num_items, num_items), counts)
