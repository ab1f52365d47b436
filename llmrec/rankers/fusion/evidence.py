"""What is counted in training sessions for the features: pairs of items in both directions, and items by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from llmrec.rankers.sessions import CodedSessions

__all__ = ["ITEM_COUNTS", "PAIR_COUNTS", "Evidence", "count_evidence"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

# What is known of a pair (a, b). A label is the next_item of a labelled session; pairs that end in one stand apart, for
# they are what is to be predicted.
PAIR_COUNTS: Final = ("next", "after", "label_next", "label_after", "before", "label_before")
ITEM_COUNTS: Final = ("count", "label", "end", "first", "followers")


@dataclass(frozen=True)
class Evidence:
    """Counts over training sessions of ``N`` items in ``L`` locales.

    Attributes:
        keys: Shape ``(P,)``, ascending; ``a * N + b`` of each pair that stood together, in both orders.
        pairs: Shape ``(P, len(PAIR_COUNTS))``.
        totals: Shape ``(N, len(PAIR_COUNTS))``; sums over ``b``.
        items: Shape ``(N, len(ITEM_COUNTS))``.
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
        """Counts of some pairs, shape ``(C, len(PAIR_COUNTS))``; quickest where equal sources stand together."""
        if not len(self.keys):
            return np.zeros((len(sources), len(PAIR_COUNTS)), dtype=np.float32)
        wanted = sources * len(self.items) + targets
        places = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        found = self.keys[places] == wanted
        values = np.zeros((len(sources), len(PAIR_COUNTS)), dtype=np.float32)
        values[found] = self.pairs[places[found]]
        return values

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Its arrays by name, for a file; sums are counted again."""
        return {f"evidence.{name}": value for name, value in vars(self).items() if name != "totals"}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], num_items: int, num_locales: int) -> Evidence:
        """What `arrays` gave.

        Raises:
            KeyError: an array is missing.
            ValueError: they do not fit together.
        """
        keys, pairs = arrays["evidence.keys"], arrays["evidence.pairs"]
        held = [arrays[f"evidence.{name}"] for name in ("items", "by_locale", "labels_by_locale")]
        shapes = [(num_items, len(ITEM_COUNTS)), *[(num_locales + 1, num_items)] * 2]
        fits = [array.shape for array in held] == shapes and pairs.shape == (len(keys), len(PAIR_COUNTS))
        if not fits or (len(keys) and not 0 <= keys.min() <= keys.max() < num_items**2):
            raise ValueError("the counts of the features do not fit together")
        return cls(keys, pairs, _totals(keys, pairs, num_items), *held)


def count_evidence(sessions: CodedSessions, num_items: int, num_locales: int, window: int, decay: float) -> Evidence:
    """Count pairs and items in training sessions.

    Args:
        sessions: Training sessions of known items.
        num_items: ``N``.
        num_locales: ``L``.
        window: Farthest distance of two items that counts.
        decay: A pair at distance ``d`` adds ``decay ** (d - 1)``.
    """
    keys, pairs = _count_pairs(sessions, num_items, window, decay)
    lengths = sessions.lengths
    filled = np.flatnonzero(lengths > 0)
    labelled = np.zeros(len(sessions), np.bool_) if sessions.labelled is None else sessions.labelled
    lasts = sessions.items[sessions.offsets[1:][filled] - 1]
    label = lasts[labelled[filled]]
    # where a prefix ends: the last item, or the last but one where a label follows
    ended = filled[lengths[filled] > labelled[filled]]
    ends = sessions.items[sessions.offsets[1:][ended] - 1 - labelled[ended]]
    first = sessions.items[sessions.offsets[:-1][filled]]
    locales = np.repeat(sessions.locales, lengths)
    counts = [np.bincount(part, minlength=num_items) for part in (sessions.items, label, ends, first)]
    followers = np.bincount(keys[pairs[:, 1] > 0] // num_items, minlength=num_items)
    return Evidence(
        keys,
        pairs,
        _totals(keys, pairs, num_items),
        np.stack([*counts, followers], axis=1).astype(np.float32),
        _per_locale(locales, sessions.items, num_locales, num_items),
        _per_locale(sessions.locales[filled][labelled[filled]], label, num_locales, num_items),
    )


def _count_pairs(sessions: CodedSessions, num_items: int, window: int, decay: float) -> tuple[Ints, Floats]:
    items, rows = sessions.items, sessions.rows
    is_label = np.zeros(len(items), dtype=np.bool_)
    if sessions.labelled is not None:
        is_label[sessions.offsets[1:][sessions.labelled & (sessions.lengths > 0)] - 1] = True
    keys, kinds, weights = [], [], []
    for distance in range(1, window + 1):
        together = (rows[distance:] == rows[:-distance]) & (items[distance:] != items[:-distance])
        left, right = items[:-distance][together], items[distance:][together]
        label = is_label[distance:][together].astype(np.int64)
        weight = np.full(len(left), decay ** (distance - 1))
        parts = [(left, right, 1 + 2 * label, weight), (right, left, 4 + label, weight)]
        if distance == 1:
            parts.append((left, right, 2 * label, weight))
        for one, other, kind, value in parts:
            keys.append(one * num_items + other)
            kinds.append(kind)
            weights.append(value)
    flat = np.concatenate(keys)
    distinct, places = np.unique(flat, return_inverse=True)
    width = len(PAIR_COUNTS)
    cells = places * width + np.concatenate(kinds)
    sums = np.bincount(cells, weights=np.concatenate(weights), minlength=len(distinct) * width)
    return distinct, sums.reshape(-1, width).astype(np.float32)


def _totals(keys: Ints, pairs: Floats, num_items: int) -> Floats:
    sources = keys // num_items
    sums = [np.bincount(sources, weights=column, minlength=num_items) for column in pairs.T]
    return np.stack(sums, axis=1).astype(np.float32)


def _per_locale(locales: Ints, items: Ints, num_locales: int, num_items: int) -> Floats:
    held = np.bincount(locales * num_items + items, minlength=(num_locales + 1) * num_items)
    return held.reshape(num_locales + 1, num_items).astype(np.float32)
