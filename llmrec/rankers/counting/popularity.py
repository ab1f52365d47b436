"""What sells most: after the last item (the paper's Popularity), or in the whole locale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import ibis.expr.types as ir
import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Floats, Ints, checked
from llmrec.artefact import Arrays
from llmrec.errors import ModelError
from llmrec.ragged import offsets_of
from llmrec.rankers.base import Ranker, Seen
from llmrec.rankers.counting.base import CountingRanker, later_sessions
from llmrec.rankers.counting.counts import UNIT, followers, steps_of
from llmrec.rankers.counting.engine import counted
from llmrec.rankers.counting.rows import WeightedRows
from llmrec.rankers.sessions import CodedSessions
from llmrec.settings import Decides, option
from llmrec.vocabulary import UNKNOWN
from llmrec.within import fill_up, first_k

__all__ = ["GlobalPopularity", "GlobalPopularitySettings", "Popularity", "PopularitySettings"]


@dataclass(frozen=True, kw_only=True)
class PopularitySettings:
    """Settings of `Popularity`; the defaults are the authors'."""

    DECIDES: ClassVar[Decides] = "lists"

    padding: int = option(200, "Most frequent followers of all items that a short list is padded from.", minimum=1)
    engine: Literal["duckdb", "spark"] = option("duckdb", "Where pairs are counted: duckdb, or spark.")


class Popularity(CountingRanker[PopularitySettings]):
    """The paper's Popularity, clause by clause as its authors' ``popular.py``.

    * Followers are counted over consecutive pairs of the training sessions, the pair that ends with ``next_item``
      included, an item that follows itself too; bare sessions (transductive use) count alike. No locale is looked at.
    * The list is the last item's followers, most frequent first. With ``seen="keep"``, the authors' form, the session's
      own items stay; ``drop`` passes them over.
    * A shorter list is padded from the items that follow most often at all, without those in the list or the session.
    * After a last item that nothing followed in training, known or not, or where there is none, the list is the most
      frequent followers from the first, as they are.

    Of equal counts the pair seen first comes first, in the order of the training files, as in the authors' counters.
    Each session is padded by itself, where the authors' script pads the stored list, so that later sessions with the
    same last item meet it padded. Where products are given, items that the locale does not sell are left out, which the
    authors do not do.
    """

    name = "popularity"
    settings_class = PopularitySettings
    fills_up = False  # it pads by its own rule
    fades = True
    _followers: WeightedRows  # falling by weight
    _padding: Ints  # (P,)
    _unread = False  # whether the followers are a file's that nothing was ranked by yet

    def _count(self, training: CodedSessions) -> None:
        self._learn(*self._followers_in(training), training)

    def _count_touched(self, earlier: Self, training: CodedSessions, start: int, places: Ints) -> bool:
        if not (counts := earlier.known_sessions().counts):
            return False
        later, part = later_sessions(training, start)
        known = earlier._followers.moved(places, len(self.catalogue.vocabulary))
        if part != 1:
            known = replace(known, weights=np.round(known.weights * (part / UNIT)) * UNIT)
        found, seen_first = self._followers_in(later)
        fresh = known, counts["first"]
        self._learn(*_added(fresh, (found, seen_first + training.offsets[start])), training)
        return True

    def check_counts(self, counts: Arrays) -> None:
        """Refuse an array that does not say where each follower was seen first, as `Remembers.check_counts`."""
        checked(counts, "first", "int64", (len(self._followers.values),), least=0)

    def _learn(self, found: WeightedRows, first: Ints, training: CodedSessions) -> None:
        self._followers, self.kept_counts = found, {"first": first}
        self._padding = self._most_followed(training)

    def _followers_in(self, training: CodedSessions) -> tuple[WeightedRows, Ints]:
        """Followers of each item, falling, and where each was seen first."""

        def sorted_followers(steps: ir.Table) -> ir.Table:
            pairs = followers(steps)
            return pairs.order_by(pairs.source, pairs.weight.desc(), pairs.first)

        table = counted(self.settings.engine, steps_of(training), sorted_followers)
        found = WeightedRows.of(table, "source", "target", len(self.catalogue.vocabulary), "weight")
        return found, table["first"].to_numpy()

    def _most_followed(self, training: CodedSessions) -> Ints:
        """Most frequent followers of all items; without any session of two items, what there is most often."""
        num_items, (every, rows) = len(self.catalogue.vocabulary), _followed(training)
        if not len(every):
            every, rows = training.values, training.rows
        counts = np.bincount(every, None if training.weights is None else training.weights[rows], num_items)
        first = np.zeros(num_items, dtype=np.int64)
        first[every[::-1]] = np.arange(len(every))[::-1]  # of equal places the last that is written stays
        names = np.flatnonzero(counts)
        return names[np.lexsort((first[names], -counts[names]))][: self.settings.padding]

    @property
    def followers(self) -> WeightedRows:
        """What directly followed each item, and how often, the most frequent first."""
        return self._followers

    def _rank_coded(self, sessions: CodedSessions, k: int, seen: Seen) -> tuple[Ints, Floats]:
        self._refuse_odd_followers()
        last = sessions.ends
        known = np.flatnonzero(last != UNKNOWN)
        lengths, places = self._followers.places(last[known])
        rows = np.repeat(known, lengths)
        codes = self._followers.values[places].astype(np.int64)
        weights = self._followers.weights[places]
        usable = self._allowed(rows, codes, sessions, seen)
        ranked, scores = first_k(rows[usable], codes[usable], weights[usable], len(sessions), k)
        unseen = np.ones(len(sessions), dtype=np.bool_)
        unseen[rows] = False
        self._pad(ranked, scores, sessions, unseen, seen)
        return ranked, scores

    def _refuse_odd_followers(self) -> None:
        """Refuse followers from a file that name an item twice or rise; a sort, which is left to the first ranking."""
        if not self._unread:
            return
        rows, weights = self._followers.rows, self._followers.weights
        keys = np.sort(rows * len(self.catalogue.vocabulary) + self._followers.values)
        if (keys[1:] == keys[:-1]).any() or ((weights[1:] > weights[:-1]) & (rows[1:] == rows[:-1])).any():
            raise ModelError("popularity: damaged ranker (an item's followers are out of order); fit it again")
        self._unread = False

    def _pad(
        self, ranked: Ints, scores: Floats, sessions: CodedSessions, unseen: NDArray[np.bool_], seen: Seen
    ) -> None:
        """Append the padding to short lists, in place."""
        short = np.flatnonzero(ranked[:, -1] == UNKNOWN)
        if not len(short):
            return
        excluded = sessions.take(short).padded()
        if seen == "keep":
            excluded[unseen[short]] = UNKNOWN
        locales = sessions.locales[short]
        fillers = self.catalogue.sold_or_unknown(
            np.broadcast_to(self._padding, (len(short), len(self._padding))), locales
        )
        lists, values = ranked[short], scores[short]
        fill_up(lists, values, fillers, excluded)
        ranked[short], scores[short] = lists, values

    def _state(self) -> Mapping[str, NDArray[Any]]:
        return {**self._followers.arrays("followers"), "padding": self._padding}

    def _restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        num_items = len(self.catalogue.vocabulary)
        self._followers, self._unread = WeightedRows.from_arrays(arrays, "followers", num_items, num_items), True
        self._padding = checked(arrays, "padding", "int64", (None,), least=0, most=num_items - 1)
        if len(np.unique(self._padding)) != len(self._padding):
            raise ValueError("padding holds an item twice")


def _added(before: tuple[WeightedRows, Ints], later: tuple[WeightedRows, Ints]) -> tuple[WeightedRows, Ints]:
    """Followers in earlier and later sessions and where each was seen first; only rows that the later ones have are
    put in order anew.
    """
    (known, seen), (found, first) = before, later
    size, touched = len(known), found.lengths > 0
    mine = touched[known.rows]
    rows = np.concatenate([known.rows[mine], found.rows])
    keys = rows * size + np.concatenate([known.values[mine], found.values])
    pairs, places, pair = np.unique(keys, return_index=True, return_inverse=True)
    weights = np.bincount(pair, np.concatenate([known.weights[mine], found.weights]))
    first = np.concatenate([seen[mine], first])[places]  # of equal ones the earlier
    order = np.lexsort((first, -weights, pairs // size))
    lengths = np.bincount(pairs // size, minlength=size)
    merged = WeightedRows(
        offsets_of(lengths), (pairs % size).astype(np.int32)[order], weights[order].astype(np.float32)
    )
    together = known.with_rows(touched, merged)
    return together, replace(known, weights=seen).with_rows(touched, replace(merged, weights=first[order])).weights


def _followed(training: CodedSessions) -> tuple[Ints, Ints]:
    """The later of each two consecutive items ``(P,)``, and the session of each."""
    first, second = training.apart(1)
    return training.items[second], training.rows[first]


@dataclass(frozen=True, kw_only=True)
class GlobalPopularitySettings:
    """`GlobalPopularity` has nothing to set."""


class GlobalPopularity(Ranker[GlobalPopularitySettings]):
    """The items that stand most often in a locale's training sessions; in all of them, for an unknown locale.

    It holds `llmrec.rankers.catalogue.NUM_POPULAR` items a locale, so lists are no longer than that.
    """

    name = "global_popularity"
    settings_class = GlobalPopularitySettings
    fills_up = False  # the fillers are its list
    fades = True
    _counts: NDArray[np.int32]  # as catalogue.popular

    def _fit(self, training: CodedSessions, products: Any, folder: Path | None, resume: bool) -> None:  # noqa: ARG002
        popular = self.catalogue.popular
        counts = training.counts(len(self.catalogue.locales), len(self.catalogue.vocabulary))
        counts[-1] = counts.sum(axis=0)
        self._counts = np.where(popular == UNKNOWN, 0, np.take_along_axis(counts, popular, axis=1)).astype(np.int32)

    def _rank_coded(self, sessions: CodedSessions, k: int, seen: Seen) -> tuple[Ints, Floats]:
        codes = self.catalogue.popular[sessions.locales]
        rows, places = np.nonzero(codes != UNKNOWN)
        items, counts = codes[rows, places], self._counts[sessions.locales[rows], places]
        allowed = self._allowed(rows, items, sessions, seen)
        rows, items, counts = rows[allowed], items[allowed], counts[allowed]
        return first_k(rows, items, counts.astype(np.float32), len(sessions), k)

    def counted(self, locale: int) -> dict[int, int]:
        """How often a locale's sessions hold each of its most frequent items."""
        codes, counts = self.catalogue.popular[locale], self._counts[locale]
        return dict(zip(codes[codes != UNKNOWN].tolist(), counts[codes != UNKNOWN].tolist(), strict=True))

    def _state(self) -> Mapping[str, NDArray[Any]]:
        return {"counts": self._counts}

    def _restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._counts = checked(arrays, "counts", "int32", self.catalogue.popular.shape, least=0)
