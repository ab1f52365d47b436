"""What is counted in training sessions for the features: pairs of items in both directions, and items by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Floats, Ints, checked
from llmrec.ragged import UNKNOWN
from llmrec.rankers.sessions import CodedSessions, counts_by_locale
from llmrec.within import places_among

__all__ = ["FeatureCounts", "ItemCount", "PairCount", "count_features"]


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
        """Counts of some pairs, shape ``(C, len(PairCount))``; quickest where equal sources stand together."""
        places = places_among(self.keys, sources * len(self.items) + targets)
        found = places != UNKNOWN
        values = np.zeros((len(sources), len(PairCount)), dtype=np.float32)
        values[found] = self.pairs[places[found]]
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
        return cls(keys, pairs, _totals(keys, pairs, num_items), *held)


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
        ItemCount.FOLLOWERS: keys[pairs[:, PairCount.AFTER] > 0] // num_items,
    }
    return FeatureCounts(
        keys,
        pairs,
        _totals(keys, pairs, num_items),
        np.stack([np.bincount(parts[one], minlength=num_items) for one in ItemCount], axis=1).astype(np.float32),
        sessions.counts(num_locales, num_items).astype(np.float32),
        counts_by_locale(sessions.locales[taught], parts[ItemCount.LABEL], num_locales, num_items).astype(np.float32),
    )


def _count_pairs(sessions: CodedSessions, num_items: int, window: int, decay: float) -> tuple[Ints, Floats]:
    is_label = sessions.with_label[sessions.rows] & (sessions.ages == 0)
    keys, kinds, weights = [], [], []
    for distance in range(1, window + 1):
        first, other = sessions.apart(distance)
        together = sessions.items[first] != sessions.items[other]
        first, other = first[together], other[together]
        left, right, label = sessions.items[first], sessions.items[other], is_label[other]
        weight = np.full(len(left), decay ** (distance - 1))
        parts = [
            (left, right, np.where(label, PairCount.LABEL_AFTER, PairCount.AFTER), weight),
            (right, left, np.where(label, PairCount.LABEL_BEFORE, PairCount.BEFORE), weight),
        ]
        if distance == 1:
            parts.append((left, right, np.where(label, PairCount.LABEL_NEXT, PairCount.NEXT), weight))
        for one, other, kind, value in parts:
            keys.append(one * num_items + other)
            kinds.append(kind)
            weights.append(value)
    flat = np.concatenate(keys)
    distinct, places = np.unique(flat, return_inverse=True)
    width = len(PairCount)
    cells = places * width + np.concatenate(kinds)
    sums = np.bincount(cells, weights=np.concatenate(weights), minlength=len(distinct) * width)
    return distinct, sums.reshape(-1, width).astype(np.float32)


def _totals(keys: Ints, pairs: Floats, num_items: int) -> Floats:
    sources = keys // num_items
    sums = [np.bincount(sources, weights=column, minlength=num_items) for column in pairs.T]
    return np.stack(sums, axis=1).astype(np.float32)
