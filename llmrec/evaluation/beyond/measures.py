"""Ranked lists beyond accuracy: what each measure is of, and its value with an interval for each set of sessions.

Means over sessions and what is made of their sums have bootstrap intervals; what is of all lists together has those of
`exposure`. `docs/beyond.md` has every formula with its source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmrec.arrays import Bools, Ints
from llmrec.errors import ConfigError
from llmrec.evaluation.beyond.exposure import Exposures
from llmrec.evaluation.beyond.title_diversity import diversity, title_vectors
from llmrec.evaluation.beyond.training import GROUPS, Training, dense_ranks, popularity_groups
from llmrec.evaluation.bootstrap import Interval, interval_of, resampled_sums
from llmrec.evaluation.metrics import MAX_RANKED
from llmrec.evaluation.results import Part
from llmrec.ragged import Ragged, list_lengths, offsets_of
from llmrec.vocabulary import UNKNOWN, Vocabulary

__all__ = ["BEYOND", "Lists", "beyond_accuracy", "check_beyond"]

MEANS: Final = ("novelty", "popularity", "serendipity", "diversity", "in_locale")
BEYOND: Final = ("coverage", "gini", "entropy", *MEANS, "popreo", "calibration")
_MIXED: Final = 0.01  # α of Steck's calibration: how much of the wanted shares is mixed in, so that none is 0
_CHUNK: Final = 20_000  # sessions looked at at once


def check_beyond(cutoffs: Sequence[int], has_training: bool) -> None:
    """Refuse cutoffs that no list has, and measures without what they count.

    Raises:
        ConfigError: a cutoff is not in 1 to `MAX_RANKED`, or there are no training files.
    """
    for cutoff in cutoffs:
        if not 1 <= cutoff <= MAX_RANKED:
            raise ConfigError(f"--beyond must be 1 to {MAX_RANKED}; got {cutoff}")
    if cutoffs and not has_training:
        raise ConfigError("--beyond counts items in what the run learnt from; add --train FILE")


@dataclass(frozen=True)
class Lists:
    """What was listed for whom, and what came.

    Attributes:
        ranked: ``S`` Arrow lists of ids, best first.
        targets: ``S`` Arrow strings, none null.
        locales: Locale of each session, shape ``(S,)``.
        training: What the run learnt from.
        products: Arrow table of ``locale``, ``id``, ``title``, or None.
        baseline: ``S`` lists of another run for the same sessions, or None.
    """

    ranked: Any
    targets: Any
    locales: NDArray[np.str_]
    training: Training
    products: Any = None
    baseline: Any = None


def beyond_accuracy(
    lists: Lists, sets: Mapping[str, Ints], cutoffs: Sequence[int], samples: int = 1000, seed: int = 0
) -> dict[str, Part]:
    """`BEYOND` at each cutoff for some sets of sessions.

    Args:
        lists: ``S`` of them.
        sets: Name to rows; a locale's name for its sessions, another for a set of several locales.
        cutoffs: Lengths that lists are cut to.
        samples: Resampled test sets of an interval.
        seed: Of the resampling.

    Returns:
        For each set its measures as ``novelty@10``, less the baseline's beside where there is one; those that need
        products are left out without them.
    """
    shop, other = _Shop.of(lists, max(cutoffs))
    intervals: dict[str, dict[str, Interval]] = {name: {} for name in sets}
    differences: dict[str, dict[str, Interval]] = {name: {} for name in sets}
    for cutoff in sorted({*cutoffs}):
        stats, other_stats = shop.stats(cutoff), None if other is None else other.stats(cutoff)
        for name, rows in sets.items():
            exposed, drawn = shop.exposures(name, rows, cutoff, seed), _Drawn.of(stats[rows], samples, seed)
            _put(intervals[name], exposed.intervals() | drawn.intervals(), cutoff)
            if other is not None and other_stats is not None:
                less = exposed.less(other.exposures(name, rows, cutoff, seed))
                less |= drawn.less(_Drawn.of(other_stats[rows], samples, seed))
                _put(differences[name], less, cutoff)
    return {
        name: Part(len(sets[name]), {one: value.difference for one, value in each.items()}, each, differences[name])
        for name, each in intervals.items()
    }


def _put(into: dict[str, Interval], found: Mapping[str, Interval], cutoff: int) -> None:
    into |= {f"{one}@{cutoff}": found[one] for one in BEYOND if one in found}


@dataclass(frozen=True)
class _Shop:
    """Items as codes, and what is known of each.

    Attributes:
        codes: Shape ``(S, K)``, int32; listed items, -1 beyond the end of a list.
        targets: Shape ``(S,)``.
        locales: Locale of each session.
        information: Shape ``(N,)``; -log2 of the share of training sessions that hold the item.
        counts: Shape ``(N,)``; training sessions that hold it.
        groups: Shape ``(N,)``; its place in `GROUPS`.
        sold: Locale to what it sells, shape ``(N,)``: by the products, or without them by its training sessions.
        titles: Locale to `title_vectors` and each item's row there; empty without products.
    """

    codes: NDArray[np.int32]
    targets: Ints
    locales: NDArray[np.str_]
    information: NDArray[np.float64]
    counts: Ints
    groups: NDArray[np.int8]
    sold: Mapping[str, Bools]
    titles: Mapping[str, tuple[Any, Ints]]

    @classmethod
    def of(cls, lists: Lists, most: int) -> tuple[_Shop, _Shop | None]:
        """What is known of the items, with the lists of the run and with those of its baseline."""
        runs = [pc.list_slice(one, 0, most) for one in (lists.ranked, lists.baseline) if one is not None]
        flat, training, products = [pc.list_flatten(one) for one in runs], lists.training, lists.products
        ids, names = (
            (training.ids, training.locales)
            if products is None
            else (_column(products, "id"), _column(products, "locale"))
        )
        vocabulary = Vocabulary.of(training.ids, ids, *flat, lists.targets)
        codes = [
            Ragged(offsets_of(list_lengths(ranked)), vocabulary.encode(ids).astype(np.int32)).padded()
            for ranked, ids in zip(runs, flat, strict=True)
        ]
        counts = training.counts(vocabulary)
        sold, titles, places = {}, {}, vocabulary.encode(ids)
        for locale in np.unique(lists.locales).tolist():
            here = pc.fill_null(pc.equal(names, locale), False).to_numpy(zero_copy_only=False)
            sold[locale] = np.zeros(len(vocabulary), dtype=np.bool_)
            sold[locale][places[here]] = True
            if products is not None and here.any():
                rows = np.full(len(vocabulary), UNKNOWN)
                rows[places[here]] = np.arange(here.sum())
                titles[locale] = title_vectors(_column(products, "title").filter(pa.array(here))), rows
        shop = cls(
            codes=codes[0],
            targets=vocabulary.encode(lists.targets),
            locales=lists.locales,
            information=-np.log2(np.maximum(counts, 1) / training.num_sessions),
            counts=counts,
            groups=popularity_groups(counts),
            sold=sold,
            titles=titles,
        )
        return shop, replace(shop, codes=codes[1]) if len(codes) > 1 else None

    def exposures(self, name: str, rows: Ints, cutoff: int, seed: int) -> Exposures:
        """How the lists of a set share attention among its catalogue."""
        return Exposures.of(self.codes[rows, :cutoff], self.size(name, rows, cutoff), seed)

    def size(self, name: str, rows: Ints, cutoff: int) -> int:
        """Items of a locale's catalogue, or of all, and those that its lists hold."""
        known = self.sold[name].copy() if name in self.sold else np.any(list(self.sold.values()), axis=0)
        listed = self.codes[rows, :cutoff]
        known[listed[listed >= 0]] = True
        return int(known.sum())

    def stats(self, cutoff: int) -> NDArray[np.float64]:
        """What each session adds, shape ``(S, C)``: a value and 1 for each of `MEANS`, then three counts a group."""
        means = np.full((len(self.codes), len(MEANS)), np.nan)
        shares = np.zeros((len(self.codes), len(GROUPS)))
        hits = np.zeros(len(self.codes), dtype=np.bool_)
        ranks = np.where(self.counts > 0, dense_ranks(self.counts), np.iinfo(np.int64).max)
        size = self.size("", np.arange(len(self.codes)), cutoff)
        for start in range(0, len(self.codes), _CHUNK):
            part = slice(start, start + _CHUNK)
            codes = self.codes[part, :cutoff]
            there, number = codes >= 0, (codes >= 0).sum(axis=1)
            at = np.where(there, codes, 0)
            met = there & (codes == self.targets[part, None])
            hits[part] = met.any(axis=1)
            # the rank that popularity alone would give, less the rank here, as a share of the catalogue
            ahead = np.minimum(ranks[at], size + 1) - (np.arange(codes.shape[1]) + 1)
            found = np.stack(
                [
                    (self.information[at] * there).sum(axis=1),
                    (self.counts[at] * there).sum(axis=1),
                    (np.maximum(ahead, 0) / size * met).sum(axis=1),
                ],
                axis=1,
            )
            with np.errstate(invalid="ignore", divide="ignore"):
                means[part, :3] = found / number[:, None]
            for place in range(len(GROUPS)):
                shares[part, place] = ((self.groups[at] == place) & there).sum(axis=1) / np.maximum(number, 1)
        for locale, (vectors, places) in self.titles.items():
            rows = np.flatnonzero(self.locales == locale)
            codes = self.codes[rows, :cutoff]
            means[rows, 3] = diversity(codes, vectors, places)
            there = codes >= 0
            with np.errstate(invalid="ignore"):
                means[rows, 4] = (self.sold[locale][np.where(there, codes, 0)] & there).sum(axis=1) / there.sum(axis=1)
        target = np.eye(len(GROUPS))[self.groups[self.targets]]
        pairs = np.stack([np.nan_to_num(means), ~np.isnan(means)], axis=2).reshape(len(means), -1)
        return np.hstack([pairs, target * hits[:, None], target, shares])


def _column(table: Any, name: str) -> Any:
    values = table[name].cast(pa.string())
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


@dataclass(frozen=True)
class _Drawn:
    """Measures that sums over sessions give: of the sessions as they are, and of each resampled test set, ``(B,)``."""

    observed: Mapping[str, float]
    drawn: Mapping[str, NDArray[np.float64]]

    @classmethod
    def of(cls, stats: NDArray[np.float64], samples: int, seed: int) -> _Drawn:
        """Of `_Shop.stats` ``(S, C)``; measures of no session are left out."""
        observed = {name: float(value[0]) for name, value in _measured(stats.sum(axis=0)[None]).items()}
        drawn = _measured(resampled_sums(stats, samples, seed))
        there = {name: value for name, value in observed.items() if not np.isnan(value)}
        return cls(there, {name: np.where(np.isnan(drawn[name]), value, drawn[name]) for name, value in there.items()})

    def intervals(self) -> dict[str, Interval]:
        """Each value with its 95 % interval."""
        return {name: interval_of(value, self.drawn[name]) for name, value in self.observed.items()}

    def less(self, other: _Drawn) -> dict[str, Interval]:
        """These less another run's on the same sessions, drawn alike."""
        return {
            name: interval_of(value - other.observed[name], self.drawn[name] - other.drawn[name])
            for name, value in self.observed.items()
            if name in other.observed
        }


def _measured(sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Measures of sums ``(B, C)`` of `_Shop.stats`, each ``(B,)``; NaN where no session counts."""
    pairs, groups = sums[:, : 2 * len(MEANS)], sums[:, 2 * len(MEANS) :]
    hits, targets, shares = np.split(groups, 3, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = pairs[:, ::2] / np.where(pairs[:, 1::2] > 0, pairs[:, 1::2], np.nan)
        # how much the hit rates of the groups differ: their standard deviation over their mean
        there = targets > 0
        rates = np.where(there, hits / np.where(there, targets, 1), 0)
        mean = rates.sum(axis=1) / there.sum(axis=1)
        spread = np.sqrt((np.where(there, rates - mean[:, None], 0) ** 2).sum(axis=1) / there.sum(axis=1))
        wanted, given = (one / one.sum(axis=1, keepdims=True) for one in (targets, shares))
        given = (1 - _MIXED) * given + _MIXED * wanted
        parts = np.where(wanted > 0, wanted * np.log(wanted / given), 0)
    found = dict(zip(MEANS, means.T, strict=True))
    found["popreo"] = np.where(mean > 0, spread / np.where(mean > 0, mean, 1), 0)
    found["calibration"] = np.maximum(parts.sum(axis=1), 0)
    return found
