"""How lists share attention among items: coverage, Gini and entropy, with jackknife intervals.

A test set drawn with replacement holds sessions twice, and so covers fewer items than the sessions as they are: a
bootstrap interval would lie beside the value. The jackknife leaves sessions out, a group at a time, instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Ints
from llmrec.evaluation.bootstrap import CONFIDENCE, Interval

__all__ = ["EXPOSURE", "Exposures", "exposure"]

EXPOSURE: Final = ("coverage", "gini", "entropy")
_PARTS: Final = 50  # groups of sessions that are left out in turn
_Z: Final = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


def exposure(counts: Ints, num_items: int) -> NDArray[np.float64]:
    """Coverage, Gini index and Shannon entropy in bits of how often items are listed.

    Coverage is the share of the catalogue that is listed at all. The Gini index of the ``N`` items' exposures, rising,
    is ``sum((2 i - N - 1) x_i) / (N sum(x))``: 0 where all are listed as often, towards 1 where one item has it all.
    Entropy is ``-sum(p log2 p)`` of the items' shares.

    Args:
        counts: Shape ``(M,)``; how often each item is listed, 0 allowed.
        num_items: ``N``, at least the number of items listed.
    """
    listed = np.sort(counts[counts > 0]).astype(np.float64)
    total = listed.sum()
    if not total:
        return np.zeros(len(EXPOSURE))
    places = np.arange(num_items - len(listed) + 1, num_items + 1)
    gini = ((2 * places - num_items - 1) * listed).sum() / (num_items * total)
    shares = listed / total
    return np.array([len(listed) / num_items, max(0.0, gini), max(0.0, -(shares * np.log2(shares)).sum())])


@dataclass(frozen=True)
class Exposures:
    """`exposure` of ranked lists, and of the lists that are left without each group of sessions in turn.

    Attributes:
        whole: Shape ``(3,)``.
        left: Shape ``(G, 3)``; empty where there is one session.
        num_items: Size of the catalogue.
    """

    whole: NDArray[np.float64]
    left: NDArray[np.float64]
    num_items: int

    @classmethod
    def of(cls, codes: NDArray[Any], num_items: int, seed: int) -> Exposures:
        """Of ranked lists.

        Args:
            codes: Shape ``(S, K)``; listed items, below 0 beyond the end of a list.
            num_items: Size of the catalogue.
            seed: Of the groups that sessions are drawn into; the same for all lists of as many sessions.
        """
        rows, _ = np.nonzero(codes >= 0)
        items, places = np.unique(codes[codes >= 0], return_inverse=True)
        counts = np.bincount(places, minlength=len(items))
        size = max(num_items, len(items))
        number = min(_PARTS, len(codes))
        if number < 2:
            return cls(exposure(counts, size), np.zeros((0, len(EXPOSURE))), size)
        group = np.random.default_rng(seed).permutation(len(codes)) % number
        order = np.argsort(group[rows], kind="stable")
        ends = np.cumsum(np.bincount(group[rows], minlength=number))
        parts = np.split(places[order], ends[:-1])
        left = [exposure(counts - np.bincount(part, minlength=len(items)), size) for part in parts]
        return cls(exposure(counts, size), np.array(left), size)

    def intervals(self) -> dict[str, Interval]:
        """Each value with its 95 % interval."""
        limits = (1.0, 1.0, float(np.log2(max(self.num_items, 2))))
        return {
            name: Interval(one.difference, max(0.0, one.low), max(one.difference, min(most, one.high)), one.samples)
            for most, (name, one) in zip(limits, _jackknifed(self.whole, self.left).items(), strict=True)
        }

    def less(self, other: Exposures) -> dict[str, Interval]:
        """These less another run's of the same sessions, with 95 % intervals: both leave the same sessions out."""
        return _jackknifed(self.whole - other.whole, self.left - other.left)


def _jackknifed(whole: NDArray[np.float64], left: NDArray[np.float64]) -> dict[str, Interval]:
    number = max(1, len(left))
    error = np.sqrt((number - 1) * np.var(left, axis=0)) if len(left) else np.zeros(len(EXPOSURE))
    return {
        name: Interval(value, value - reach, value + reach, number)
        for name, value, reach in zip(EXPOSURE, whole.tolist(), (_Z * error).tolist(), strict=True)
    }
