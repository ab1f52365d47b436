"""Co-visitation: what stood near the session's items in other sessions, weighed by distance, recency and locale."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Generic, Literal, Self, TypeVar

import ibis.expr.types as ir
import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Floats, Ints, checked
from llmrec.artefact import Arrays
from llmrec.errors import ConfigError
from llmrec.rankers.base import Seen
from llmrec.rankers.counting.base import CountingRanker, later_sessions
from llmrec.rankers.counting.counts import neighbour_weights
from llmrec.rankers.counting.pair_sums import added, arrays_of, best_of_each, sums_of_arrays
from llmrec.rankers.counting.rows import WeightedRows
from llmrec.rankers.sessions import CodedSessions
from llmrec.settings import Decides, option
from llmrec.within import sum_candidates, top_k_candidates

__all__ = ["Covisit", "CovisitSettings", "PairRanker", "refuse_no_weight"]

Doubles = NDArray[np.float64]
Candidates = tuple[Ints, Ints, Doubles]  # session, item, score; sorted by session and item, each pair once

_FORWARD: Final = (3.0, 0.5, 0.25, 0.1, 0.05, 0.01)
_BACKWARD: Final = (1.5, 0.25, 0.125, 0.05, 0.025, 0.005)


@dataclass(frozen=True, kw_only=True)
class CovisitSettings:
    """Settings of `Covisit`: counting first, then prediction."""

    DECIDES: ClassVar[Decides] = "lists"

    forward: tuple[float, ...] = option(
        _FORWARD,
        "Weight of an item 1, 2, … places after another; as many places as there are numbers.",
        minimum=0,
        maximum=10_000,
    )
    backward: tuple[float, ...] = option(
        _BACKWARD, "The same for an item before another; 0 for none.", minimum=0, maximum=10_000
    )
    labelled_weight: float = option(1.0, "Factor for pairs that end with a next_item.", minimum=0, maximum=10_000)
    repeats: bool = option(False, "Count an item that comes again as its own neighbour (for --seen keep).")
    source_power: float = option(
        1.0, "Divide by the source's total to this power; 0.5 and 0.5 is cosine.", minimum=0, maximum=16
    )
    target_power: float = option(0.0, "Divide by the target's total to this power.", minimum=0, maximum=16)
    neighbours: int = option(100, "Neighbours kept for each item.", minimum=1)
    engine: Literal["duckdb", "spark"] = option("duckdb", "Where pairs are counted: duckdb, or spark.")
    history: int = option(10, "Most recent items of a session that propose others.", minimum=1, maximum=10_000)
    recency: float = option(
        0.5, "Weight of an item relative to that of the next one of the session.", above=0, maximum=2
    )
    locale_weight: float = option(
        0.0, "Raise a score by up to this factor for the locale's share of the item.", minimum=0, maximum=10_000
    )
    hop_weight: float = option(
        0.0, "Weight of neighbours' neighbours, for sessions short of k; 0 for none.", minimum=0, maximum=10_000
    )
    hop_items: int = option(50, "Best neighbours whose own neighbours are looked up.", minimum=1, maximum=10_000)


SettingsT = TypeVar("SettingsT", bound=CovisitSettings)


def refuse_no_weight(settings: CovisitSettings, name: str) -> None:
    """Refuse settings that count nothing; ``name`` is the ranker's.

    Raises:
        ConfigError: they do.
    """
    if not any((*settings.forward, *settings.backward)):
        raise ConfigError(f"{name}: 'forward' and 'backward' hold no weight above 0; nothing would be counted")


class PairRanker(CountingRanker[SettingsT], Generic[SettingsT]):
    """A ranker that reads each item's neighbours, made of sums over pairs that it keeps for later sessions."""

    fades = True

    def _count(self, training: CodedSessions) -> None:
        self._learn(self._sums_in(training), training)

    def _count_touched(self, earlier: Self, training: CodedSessions, start: int, places: Ints) -> bool:
        if not (counts := earlier.known_sessions().counts):
            return False
        later, part = later_sessions(training, start)
        known = sums_of_arrays(counts, len(earlier.catalogue.vocabulary)).moved(places, len(self.catalogue.vocabulary))
        self._learn(added(known, self._sums_in(later), part), training)
        return True

    def check_counts(self, counts: Arrays) -> None:
        """Refuse arrays that are no sums over pairs, as `Remembers.check_counts`."""
        sums_of_arrays(counts, len(self.catalogue.vocabulary))

    def _learn(self, sums: WeightedRows, training: CodedSessions) -> None:
        settings = self.settings
        best = best_of_each(sums, settings.source_power, settings.target_power, settings.neighbours)
        self._take(best, training)
        self.kept_counts = arrays_of(sums)

    @abstractmethod
    def _take(self, neighbours: WeightedRows, training: CodedSessions) -> None:
        """Learn from each item's neighbours, of weights in float32, and what else the sessions tell."""

    def _sums_in(self, training: CodedSessions) -> WeightedRows:
        settings = self.settings
        refuse_no_weight(settings, self.name)

        def neighbours(events: ir.Table) -> ir.Table:
            return neighbour_weights(
                events, settings.forward, settings.backward, settings.labelled_weight, settings.repeats
            ).order_by("source", "target")

        table = self._counted(training, neighbours)
        rows = WeightedRows.of(table, "source", "target", len(self.catalogue.vocabulary))
        return replace(rows, weights=table["weight"].to_numpy())


class Covisit(PairRanker[CovisitSettings]):
    """Sum, over a session's recent items, of the weights with which others were seen near them."""

    name = "covisit"
    settings_class = CovisitSettings
    _neighbours: WeightedRows
    _totals: Floats  # (N,); sum of an item's neighbours' weights, 1 where it has none
    # (L + 1, N): share of an item's occurrences that a locale has, 0 for an unknown one; (0, 0) where it has no weight
    _shares: Floats

    def _take(self, neighbours: WeightedRows, training: CodedSessions) -> None:
        self._set(neighbours, self._locale_shares(training))

    @property
    def neighbours(self) -> WeightedRows:
        """Each item's neighbours and their weights."""
        return self._neighbours

    def _locale_shares(self, training: CodedSessions) -> Floats:
        if not self.settings.locale_weight:
            return np.zeros((0, 0), dtype=np.float32)
        held = training.weighed_counts(len(self.catalogue.locales), len(self.catalogue.vocabulary))
        shares: Floats = (held / np.maximum(held.sum(axis=0), 1)).astype(np.float32)
        return shares

    def _set(self, neighbours: WeightedRows, shares: Floats) -> None:
        self._neighbours, self._shares = neighbours, shares
        sums = np.concatenate([[0.0], np.cumsum(neighbours.weights, dtype=np.float64)])
        totals = sums[neighbours.offsets[1:]] - sums[neighbours.offsets[:-1]]
        self._totals = np.where(totals > 0, totals, 1).astype(np.float32)

    def _rank_coded(self, sessions: CodedSessions, k: int, seen: Seen) -> tuple[Ints, Floats]:
        recent = sessions.last(self.settings.history)
        found = self._proposed(recent.rows, recent.items, np.power(self.settings.recency, recent.ages))
        if self.settings.hop_weight:
            usable = self._allowed(found[0], found[1], sessions, seen)
            short = np.bincount(found[0][usable], minlength=len(sessions)) < k
            found = self._with_second_hop(found, short) if short.any() else found
        rows, codes, scores = found
        if self.settings.locale_weight:
            scores = scores * (1 + self.settings.locale_weight * self._shares[sessions.locales[rows], codes])
        return self._best_candidates(rows, codes, scores, sessions, k, seen)

    def _proposed(self, rows: Ints, items: Ints, weights: Doubles) -> Candidates:
        """Neighbours of some sessions' items, each with its weight times the item's, added up."""
        lengths, places = self._neighbours.places(items)
        values = self._neighbours.weights[places] * np.repeat(weights, lengths)
        codes = self._neighbours.values[places].astype(np.int64)
        return sum_candidates(np.repeat(rows, lengths), codes, values, len(self.catalogue.vocabulary))

    def _with_second_hop(self, found: Candidates, short: NDArray[np.bool_]) -> Candidates:
        """Candidates and, for the short sessions, the neighbours of their best ones, as shares of these' totals."""
        rows, codes, scores = found
        chosen = short[rows]
        best, values = top_k_candidates(
            rows[chosen], codes[chosen], scores[chosen], len(short), self.settings.hop_items
        )
        row, place = np.nonzero(best >= 0)
        middle = best[row, place]
        weights = values[row, place].astype(np.float64) * self.settings.hop_weight / self._totals[middle]
        added = self._proposed(row, middle, weights)
        together = [np.concatenate(pair) for pair in zip(found, added, strict=True)]
        return sum_candidates(together[0], together[1], together[2], len(self.catalogue.vocabulary))

    def _state(self) -> Mapping[str, NDArray[Any]]:
        return {**self._neighbours.arrays("neighbours"), "shares": self._shares}

    def _restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        num_items = len(self.catalogue.vocabulary)
        shape = (len(self.catalogue.locales) + 1, num_items) if self.settings.locale_weight else (0, 0)
        shares = checked(arrays, "shares", "float32", shape, least=0, most=1)
        self._set(WeightedRows.from_arrays(arrays, "neighbours", num_items, num_items), shares)
