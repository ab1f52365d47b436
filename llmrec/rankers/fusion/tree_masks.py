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
SPLITS: Final = 4  # at once; those of a tree are a multiple
BLOCK: Final = 256  # candidates side by side: their features stay in a processor's second cache
LARGEST: Final = np.finfo(np.float32).max  # infinity counts as it, and as a threshold parts it from what is missing
ALL: Final = np.uint32((1 << 32) - 1)
TURNED: Final = np.uint32(0x077CB531)  # times a lone bit, the upper five bits of the product tell which one it is
DOWN: Final = np.uint32(27)
MISSING_LEFT: Final = 2  # bits of LightGBM's decision_type: where what is missing goes, and whether 0 or NaN is
MISSING_ZERO: Final = 4
MISSING_NAN: Final = 8


@dataclass(frozen=True, eq=False)
class TreeMasks:
    """``T`` trees of one model with ``M`` splits, those that do nothing among them.

    Attributes:
        starts: Shape ``(T + 1,)``; where the splits of each tree start.
        reads: Shape ``(K,)``; features that splits read, once for each way that NaN goes.
        fills: Shape ``(K,)``; what NaN counts as there.
        columns: Shape ``(M,)``; which of these a split reads.
        thresholds: Shape ``(M,)``; what is not larger goes left.
        masks: Shape ``(M,)``; leaves that are left to what goes right.
        leaves: Shape ``(T, LEAVES)``; values, each where the kernel looks for its bit.
    """

    starts: Ints
    reads: Ints
    fills: Floats
    columns: Ints
    thresholds: Floats
    masks: Masks
    leaves: Doubles

    @classmethod
    def of(cls, text: str) -> Self | None:
        """Masks of LightGBM's text form; None where a tree has more leaves, or treats zeros as missing."""
        trees = [_lines(tree) for tree in text.split("\nend of trees")[0].split("\nTree=")[1:]]
        if any(int(tree["num_leaves"]) > LEAVES or _is_other(tree) for tree in trees):
            return None
        splits, leaves = zip(*map(_masked, trees), strict=True)
        features, goes_left, thresholds, masks = (np.concatenate(column) for column in zip(*splits, strict=True))
        held, columns = np.unique(2 * features + goes_left, return_inverse=True)
        fills = np.where(held % 2, -np.inf, np.inf).astype(np.float32)
        starts = offsets_of([len(own) for own, *_ in splits])
        return cls(starts, held // 2, fills, columns, thresholds, masks, np.stack(leaves))

    def __len__(self) -> int:
        return len(self.leaves)

    def scores(self, features: Floats, number: int) -> Doubles:
        """Sum of the first ``number`` trees' values for candidates whose features are the rows ``(F, C)``."""
        sums = np.zeros(features.shape[1])
        splits = (self.columns, self.thresholds, self.masks)
        _add_up(features, (self.reads, self.fills), self.starts, splits, self.leaves[:number], sums)
        return sums


def _lines(tree: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in tree.split("\n") if "=" in line)


def _numbers(tree: dict[str, str], name: str, kind: Any = np.int64) -> NDArray[Any]:
    return np.array(tree.get(name, "").split(), dtype=kind)


def _is_other(tree: dict[str, str]) -> bool:
    """Whether zeros are missing in some split."""
    return bool((_numbers(tree, "decision_type") & MISSING_ZERO).any())


def _masked(tree: dict[str, str]) -> tuple[tuple[Ints, Ints, Floats, Masks], Doubles]:
    """A tree's splits: features, whether NaN goes left, thresholds and masks; and its leaves."""
    names = ("split_feature", "left_child", "right_child", "decision_type")
    features, left, right, kinds = (_numbers(tree, name) for name in names)
    thresholds = _numbers(tree, "threshold", np.float64)
    places, masks = _leaves_from_the_left(left.tolist(), right.tolist())
    values = np.zeros(LEAVES)
    bits = np.left_shift(np.uint64(1), places.astype(np.uint64)).astype(np.uint32)
    values[(bits * TURNED) >> DOWN] = _numbers(tree, "leaf_value", np.float64)
    goes_left = np.where(kinds & MISSING_NAN, (kinds & MISSING_LEFT) > 0, thresholds >= 0)  # else NaN counts as 0
    idle = -len(features) % SPLITS
    splits = (np.pad(one, (0, idle)) for one in (features, goes_left.astype(np.int64), _largest_within(thresholds)))
    features, ways, bars = splits
    return (features, ways, bars, np.pad(masks, (0, idle), constant_values=ALL)), values


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
    return np.minimum(np.where(near > thresholds, np.nextafter(near, np.float32(-np.inf)), near), LARGEST)


@machine_code()
def _add_up(features: Floats, read: Any, starts: Ints, splits: Any, leaves: Doubles, sums: Doubles) -> None:
    """Add the trees' values to ``sums``, ``(C,)``; loops over a block are what a compiler makes vectors of."""
    reads, fills = read
    columns, thresholds, masks = splits
    block = np.empty((len(reads), BLOCK), dtype=np.float32)
    left = np.empty(BLOCK, dtype=np.uint32)
    for first in range(0, features.shape[1], BLOCK):
        size = min(BLOCK, features.shape[1] - first)
        for column in range(len(reads)):
            for place in range(size):
                value = features[reads[column], first + place]
                block[column, place] = min(value, LARGEST) if value == value else fills[column]
        for tree in range(len(leaves)):
            for place in range(size):
                left[place] = ALL
            for split in range(starts[tree], starts[tree + 1], SPLITS):
                one, two, three, four = (columns[split], columns[split + 1], columns[split + 2], columns[split + 3])
                bar, bar2, bar3, bar4 = (
                    thresholds[split],
                    thresholds[split + 1],
                    thresholds[split + 2],
                    thresholds[split + 3],
                )
                mask, mask2, mask3, mask4 = masks[split], masks[split + 1], masks[split + 2], masks[split + 3]
                for place in range(size):
                    here = ALL if block[one, place] <= bar else mask
                    here &= ALL if block[two, place] <= bar2 else mask2
                    here &= ALL if block[three, place] <= bar3 else mask3
                    here &= ALL if block[four, place] <= bar4 else mask4
                    left[place] &= here
            for place in range(size):
                rest = left[place]
                lowest = np.uint32(rest ^ (rest & (rest - np.uint32(1))))
                sums[first + place] += leaves[tree, np.uint32(lowest * TURNED) >> DOWN]
