"""How lists share attention among items: coverage, Gini and entropy, with jackknife intervals.

A test set drawn with replacement holds sessions twice, and so covers fewer items than the sessions as they are: a
bootstrap interval would lie beside the value. The jackknife leaves sessions out, a group at a time, instead.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Ints
from llmrec.evaluation.bootstrap import CONFIDENCE, Interval

__all__ = ["EXPOSURE", "exposure", "exposure_intervals"]

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


def exposure_intervals(codes: NDArray[Any], num_items: int, seed: int) -> dict[str, Interval]:
    """`exposure` of ranked lists with 95 % intervals.

    Args:
        codes: Shape ``(S, K)``; listed items, below 0 beyond the end of a list.
        num_items: Size of the catalogue.
        seed: Of the groups that sessions are drawn into.
    """
    rows, _ = np.nonzero(codes >= 0)
    items, places = np.unique(codes[codes >= 0], return_inverse=True)
    counts = np.bincount(places, minlength=len(items))
    whole = exposure(counts, max(num_items, len(items)))
    number = min(_PARTS, len(codes))
    error = np.zeros(len(EXPOSURE))
    if number > 1:
        group = np.random.default_rng(seed).permutation(len(codes)) % number
        order = np.argsort(group[rows], kind="stable")
        ends = np.cumsum(np.bincount(group[rows], minlength=number))
        left = [
            exposure(counts - np.bincount(part, minlength=len(items)), max(num_items, len(items)))
            for part in np.split(places[order], ends[:-1])
        ]
        error = np.sqrt((number - 1) * np.var(left, axis=0))
    limits = 1.0, 1.0, np.log2(max(num_items, 2))
    return {
        name: Interval(value, max(0.0, value - reach), max(value, min(most, value + reach)), number)
        for name, value, reach, most in zip(EXPOSURE, whole.tolist(), (_Z * error).tolist(), limits, strict=True)
    }
