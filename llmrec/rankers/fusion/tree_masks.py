"""Trees as masks: many candidates pass all splits of a tree side by side, without a jump (QuickScorer, vectorised).

Each split names the leaves that a candidate cannot reach if it goes right. What is left once all splits are asked is
the candidate's leaf: the lowest bit (Lucchese et al. 2015, 2016). Scores are LightGBM's, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Floats, Ints
from llmrec.processes import machine_code
from llmrec.ragged import offsets_of

__all__ = ["TreeMasks"]

Doubles = NDArray[np.float64]
Masks = NDArray[np.uint32]

LEAVES: Final = 32  # of a tree at most: a bit each
BLOCK: Final = 64  # candidates side by side: their features stay in a processor's first cache
ALL: Final = np.uint32((1 << 32) - 1)
TURNED: Final = np.uint32(0x077CB531)  # times a lone bit, the upper five bits of the product tell which one it is
DOWN: Final = np.uint32(27)
MISSING_LEFT: Final = 2  # bits of LightGBM's decision_type: where what is missing goes, and whether 0 or NaN is
MISSING_ZERO: Final = 4
MISSING_NAN: Final = 8


@dataclass(frozen=True, eq=False)
class TreeMasks:
    """``T`` trees of one model with ``M`` splits.

    Attributes:
        starts: Shape ``(T + 1,)``; where the splits of each tree start. Those that send NaN right come first,
        turns: Shape ``(T,)``; and those that send it left start here.
        features: Shape ``(M,)``; column that a split reads.
        thresholds: Shape ``(M,)``; what is not larger goes left.
        masks: Shape ``(M,)``; leaves that are left to what goes right.
        leaves: Shape ``(T, LEAVES)``; values, each where the kernel looks for its bit.
    """

    starts: Ints
    turns: Ints
    features: Ints
    thresholds: Floats
    masks: Masks
    leaves: Doubles

    @classmethod
    def of(cls, text: str) -> Self | None:
        """Masks of LightGBM's text form; None where a tree has more leaves, or treats zeros as missing."""
        trees = [_lines(tree) for tree in text.split("\nend of trees")[0].split("\nTree=")[1:]]
        if any(int(tree["num_leaves"]) > LEAVES or _missing_zeros(tree) for tree in trees):
            return None
        splits, turns, leaves = zip(*map(_masked, trees), strict=True)
        lengths = [len(features) for features, _, _ in splits]
        starts = offsets_of(lengths)
        features, thresholds, masks = (np.concatenate(column) for column in zip(*splits, strict=True))
        return cls(starts, starts[:-1] + turns, features, thresholds, masks, np.stack(leaves))

    def __len__(self) -> int:
        return len(self.turns)

    def scores(self, columns: Floats, number: int) -> Doubles:
        """Sum of the first ``number`` trees' values for candidates whose features are ``columns``, ``(F, C)``."""
        sums = np.zeros(columns.shape[1])
        parts = (self.starts, self.turns[:number], self.features, self.thresholds, self.masks, self.leaves)
        _add_up(columns, *parts, sums)
        return sums


def _lines(tree: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in tree.split("\n") if "=" in line)


def _numbers(tree: dict[str, str], name: str, kind: Any = np.int64) -> NDArray[Any]:
    return np.array(tree[name].split(), dtype=kind)


def _missing_zeros(tree: dict[str, str]) -> bool:
    return bool((_numbers(tree, "decision_type") & MISSING_ZERO).any())


def _masked(tree: dict[str, str]) -> tuple[tuple[Ints, Floats, Masks], int, Doubles]:
    """A tree's splits, those that send NaN right first; how many these are; and its leaves."""
    number = int(tree["num_leaves"])
    left, right = ([] if number == 1 else _numbers(tree, name).tolist() for name in ("left_child", "right_child"))
    places, masks = _leaves_from_the_left(left, right)
    values = np.zeros(LEAVES)
    bits = np.left_shift(np.uint64(1), places.astype(np.uint64)).astype(np.uint32)
    values[(bits * TURNED) >> DOWN] = _numbers(tree, "leaf_value", np.float64)
    if number == 1:
        return (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32), masks), 0, values
    thresholds, kinds = _numbers(tree, "threshold", np.float64), _numbers(tree, "decision_type")
    goes_left = np.where(kinds & MISSING_NAN, (kinds & MISSING_LEFT) > 0, thresholds >= 0)  # else NaN counts as 0
    order = np.argsort(goes_left, kind="stable")
    splits = (_numbers(tree, "split_feature")[order], _largest_within(thresholds)[order], masks[order])
    return splits, int((~goes_left).sum()), values


def _leaves_from_the_left(left: list[int], right: list[int]) -> tuple[Ints, Masks]:
    """Bit of each leaf, and the bits of all leaves but those that lie left of each split; ``~leaf`` is a child too."""
    sizes = [1] * len(left)  # leaves below each split, which stands before its children
    for node in range(len(left) - 1, -1, -1):
        sizes[node] = sum(1 if child < 0 else sizes[child] for child in (left[node], right[node]))
    first, places = [0] * len(left), np.zeros(len(left) + 1, dtype=np.int64)
    masks = np.zeros(len(left), dtype=np.uint32)
    for node in range(len(left)):
        below = 1 if left[node] < 0 else sizes[left[node]]
        masks[node] = int(ALL) ^ (((1 << below) - 1) << first[node])
        for child, start in ((left[node], first[node]), (right[node], first[node] + below)):
            if child < 0:
                places[~child] = start
            else:
                first[child] = start
    return places, masks


def _largest_within(thresholds: Doubles) -> Floats:
    """The largest float32 that is no larger: a float32 is above the one where it is above the other."""
    with np.errstate(over="ignore"):
        near = thresholds.astype(np.float32)
    return np.where(near > thresholds, np.nextafter(near, np.float32(-np.inf)), near)


@machine_code
def _add_up(
    columns: Floats,
    starts: Ints,
    turns: Ints,
    features: Ints,
    thresholds: Floats,
    masks: Masks,
    leaves: Doubles,
    sums: Doubles,
) -> None:
    """Add the trees' values to ``sums``, ``(C,)``; loops over a block are what a compiler makes vectors of."""
    block = np.empty((columns.shape[0], BLOCK), dtype=np.float32)
    left = np.empty(BLOCK, dtype=np.uint32)
    for first in range(0, columns.shape[1], BLOCK):
        size = min(BLOCK, columns.shape[1] - first)
        for feature in range(len(columns)):
            for place in range(size):
                block[feature, place] = columns[feature, first + place]
        for tree in range(len(turns)):
            for place in range(BLOCK):
                left[place] = ALL
            for split in range(starts[tree], turns[tree]):
                own, threshold, mask = block[features[split]], thresholds[split], masks[split]
                for place in range(BLOCK):
                    left[place] &= ALL if own[place] <= threshold else mask
            for split in range(turns[tree], starts[tree + 1]):
                own, threshold, mask = block[features[split]], thresholds[split], masks[split]
                for place in range(BLOCK):
                    left[place] &= mask if own[place] > threshold else ALL
            for place in range(size):
                rest = left[place]
                lowest = np.uint32(rest ^ (rest & (rest - np.uint32(1))))
                sums[first + place] += leaves[tree, np.uint32(lowest * TURNED) >> DOWN]
