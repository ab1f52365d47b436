"""What is counted in training sessions for the features: pairs of items in both directions, and items by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Floats, Ints, checked
from llmrec.ragged import UNKNOWN
from llmrec.rankers.sessions import CodedSessions, counts_by_locale
from llmrec.within import places_among

__all__ = ["FeatureCounts", "ItemCount", "PairCount", "count_features"]

PART: Final = 1 << 17  # places in sessions whose pairs are counted at once


class PairCount(IntEnum):
    """What is counted of a pair (a, b), a column each.

    A label is the ``next_item`` of a labelled session; pairs that end in one stand apart, for they are what is to be
    predicted.
    """

    NEXT = 0
    AFTER = 1
    LABEL_NEXT = 2
    LABEL_AFTER = 3
    BEFORE = 4
    LABEL_BEFORE = 5


class ItemCount(IntEnum):
    """What is counted of an item, a column each."""

    COUNT = 0
    LABEL = 1
    END = 2
    FIRST = 3
    FOLLOWERS = 4


@dataclass(frozen=True)
class FeatureCounts:
    """Counts over training sessions of ``N`` items in ``L`` locales.

    Attributes:
        keys: Shape ``(P,)``, ascending; ``a * N + b`` of each pair that stood together, in both orders.
        pairs: Shape ``(P, len(PairCount))``.
        totals: Shape ``(N, len(PairCount))``; sums over ``b``.
        items: Shape ``(N, len(ItemCount))``.
        by_locale: Shape ``(L + 1, N)``; how often a locale's sessions hold an item, 0 for an unknown locale.
        labels_by_locale: The same for labels.
    """

    keys: Ints
    pairs: Floats
    totals: Floats
    items: Floats
    by_locale: Floats
    labels_by_locale: Floats

    def lookup(self, sources: Ints, targets: Ints) -> Floats:
        """Counts of some pairs, shape ``(C, len(PairCount))``."""
        places = places_among(self.keys, sources * len(self.items) + targets)
        values = np.zeros((len(sources), len(PairCount)), dtype=np.float32)
        values[places != UNKNOWN] = self.pairs[places[places != UNKNOWN]]
        return values

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Its arrays by name, for a file; sums are counted again."""
        return {f"evidence.{name}": value for name, value in vars(self).items() if name != "totals"}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], num_items: int, num_locales: int) -> FeatureCounts:
        """What `arrays` gave.

        Raises:
            KeyError: an array is missing.
            ValueError: they do not fit together.
        """
        keys = checked(arrays, "evidence.keys", "int64", (None,), least=0, most=num_items**2 - 1, rising="strictly")
        shapes = {
            "pairs": (len(keys), len(PairCount)),
            "items": (num_items, len(ItemCount)),
            "by_locale": (num_locales + 1, num_items),
            "labels_by_locale": (num_locales + 1, num_items),
        }
        pairs, *held = (checked(arrays, f"evidence.{name}", "float32", shape) for name, shape in shapes.items())
        return cls(keys, pairs, _totals(keys, pairs, num_items)[0], *held)


def count_features(
    sessions: CodedSessions, num_items: int, num_locales: int, window: int, decay: float
) -> FeatureCounts:
    """Count pairs and items in training sessions.

    Args:
        sessions: Training sessions of known items.
        num_items: ``N``.
        num_locales: ``L``.
        window: Farthest distance of two items that counts.
        decay: A pair at distance ``d`` adds ``decay ** (d - 1)``.
    """
    keys, pairs = _count_pairs(sessions, num_items, window, decay)
    filled = sessions.lengths > 0
    taught = filled & sessions.with_label
    prefixes = sessions.without_last(sessions.with_label)
    parts = {
        ItemCount.COUNT: sessions.items,
        ItemCount.LABEL: sessions.ends[taught],
        ItemCount.END: prefixes.ends[prefixes.lengths > 0],
        ItemCount.FIRST: sessions.items[sessions.offsets[:-1][filled]],
    }
    totals, followers = _totals(keys, pairs, num_items)
    counted = {one: np.bincount(items, minlength=num_items).astype(np.float32) for one, items in parts.items()}
    counted[ItemCount.FOLLOWERS] = followers
    return FeatureCounts(
        keys,
        pairs,
        totals,
        np.stack([counted[one] for one in ItemCount], axis=1),
        sessions.counts(num_locales, num_items).astype(np.float32),
        counts_by_locale(sessions.locales[taught], parts[ItemCount.LABEL], num_locales, num_items).astype(np.float32),
    )


def _count_pairs(sessions: CodedSessions, num_items: int, window: int, decay: float) -> tuple[Ints, Floats]:
    """`FeatureCounts.keys` and `FeatureCounts.pairs`; some items at a time, so that what is sorted stays small."""
    ages = sessions.ages
    is_label = np.repeat(sessions.with_label, sessions.lengths) & (ages == 0)
    before = np.repeat(sessions.lengths, sessions.lengths) - 1 - ages
    order = np.argsort(sessions.items, kind="stable")
    ends = np.cumsum(np.bincount(sessions.items, minlength=num_items))
    cuts = np.unique(np.searchsorted(ends, np.arange(0, len(order), PART), side="right"))
    keys, pairs = np.zeros(0, dtype=np.int64), np.zeros((0, len(PairCount)), dtype=np.float32)
    for first, last in pairwise([0, *ends[cuts[:-1]].tolist(), len(order)] if len(order) else []):
        own = order[first:last]
        found: list[tuple[Ints, Ints, Ints, float]] = []
        for distance in range(1, window + 1):
            weight = decay ** (distance - 1)
            left = own[ages[own] >= distance]
            found.append((left, left + distance, PairCount.AFTER + 2 * is_label[left + distance], weight))
            right = own[before[own] >= distance]
            found.append((right, right - distance, PairCount.BEFORE + is_label[right], weight))
            if distance == 1:
                found.append((left, left + 1, PairCount.NEXT + 2 * is_label[left + 1], weight))
        distinct, sums = _sums(sessions.items, found, num_items)
        for whole, part in ((keys, distinct), (pairs, sums)):
            number = len(whole)
            whole.resize((number + len(part), *part.shape[1:]), refcheck=False)  # moves pages, copies nothing
            whole[number:] = part
    return keys, pairs


def _sums(items: Ints, found: list[tuple[Ints, Ints, Ints, float]], num_items: int) -> tuple[Ints, Floats]:
    """Keys, and sums by kind, of pairs: the places of both items, the kind of each pair, and what one weighs."""
    keys, kinds, weights = [], [], []
    for one, other, kind, weight in found:
        sources, targets = items[one], items[other]
        apart = sources != targets
        keys.append(sources[apart] * num_items + targets[apart])
        kinds.append(kind[apart])
        weights.append(np.full(len(kinds[-1]), weight))
    distinct, places = np.unique(np.concatenate(keys), return_inverse=True)
    width = len(PairCount)
    cells = places * width + np.concatenate(kinds)
    sums = np.bincount(cells, weights=np.concatenate(weights), minlength=len(distinct) * width)
    return distinct, sums.reshape(-1, width).astype(np.float32)


def _totals(keys: Ints, pairs: Floats, num_items: int) -> tuple[Floats, Floats]:
    """`FeatureCounts.totals`, and how many items ever come after each, ``(N,)``; some pairs at a time."""
    totals = np.zeros((num_items, len(PairCount) + 1))
    for start in range(0, len(keys), PART):
        sources, part = keys[start : start + PART] // num_items, pairs[start : start + PART]
        least = sources[0]
        for place, column in enumerate([*part.T, part[:, PairCount.AFTER] > 0]):
            sums = np.bincount(sources - least, weights=column)
            totals[least : least + len(sums), place] += sums
    return totals[:, :-1].astype(np.float32), totals[:, -1].astype(np.float32)
