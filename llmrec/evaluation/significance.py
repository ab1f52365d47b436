"""Could two runs be the same? Approximate randomisation: swap their answers session by session and see how often chance
alone gives a difference as large as the observed one (Noreen 1989; Riezler and Maxwell 2005 for BLEU).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmrec.errors import ConfigError, DataError
from llmrec.evaluation.bleu import bleu_from_stats
from llmrec.evaluation.bootstrap import check_paired

__all__ = ["randomisation_p_bleu", "randomisation_p_mean"]

_SWAP_BYTES: Final = 64 << 20
_EQUAL: Final = 1e-9  # two sums of the same terms in another order


def randomisation_p_mean(
    values_a: NDArray[np.float64], values_b: NDArray[np.float64], samples: int = 1000, seed: int = 0
) -> float:
    """Two-sided p of a difference of means over the same sessions.

    Args:
        values_a: Shape ``(S,)``; a metric of each session in the first run.
        values_b: The same for the second run.
        samples: Swapped pairs of runs; the smallest p that can come out is ``1 / (samples + 1)``.
        seed: Seed of the swaps.

    Raises:
        ConfigError: ``samples`` is below 1.
        DataError: the runs differ in their number of sessions, or there are none.
    """
    _check(len(values_a), len(values_b), samples)
    gains = (values_a - values_b).astype(np.float64)
    # to swap a session is to turn its gain round; sessions of one size of gain are alike, so how many of them are
    # turned is a binomial draw
    sizes, counts = np.unique(np.abs(gains), return_counts=True)
    generator = np.random.default_rng(seed)
    turned = np.empty(samples)
    rows = max(1, _SWAP_BYTES // (8 * len(sizes)))
    for start in range(0, samples, rows):
        height = min(rows, samples - start)
        kept = generator.binomial(counts, 0.5, size=(height, len(sizes)))
        turned[start : start + height] = (2 * kept - counts) @ sizes
    return _share(abs(float(gains.sum())), np.abs(turned))


def randomisation_p_bleu(
    stats_a: NDArray[np.int64], stats_b: NDArray[np.int64], samples: int = 1000, seed: int = 0
) -> float:
    """Two-sided p of a difference in corpus BLEU on the same sessions.

    Args:
        stats_a: Shape ``(S, 10)``, from `llmrec.evaluation.bleu.bleu_stats`.
        stats_b: The same for the second run.
        samples: Swapped pairs of runs.
        seed: Seed of the swaps.

    Raises:
        ConfigError: ``samples`` is below 1.
        DataError: the runs differ in their number of sessions, or there are none.
    """
    _check(len(stats_a), len(stats_b), samples)
    gains = (stats_b - stats_a).astype(np.float64)
    whole_a, whole_b = stats_a.sum(axis=0).astype(np.float64), stats_b.sum(axis=0).astype(np.float64)
    generator = np.random.default_rng(seed)
    differences = np.empty(samples)
    rows = max(1, min(samples, _SWAP_BYTES // (8 * len(gains))))
    for start in range(0, samples, rows):
        height = min(rows, samples - start)
        moved = generator.integers(2, size=(height, len(gains))).astype(np.float64) @ gains
        differences[start : start + height] = bleu_from_stats(whole_a + moved) - bleu_from_stats(whole_b - moved)
    observed = abs(float(bleu_from_stats(whole_a) - bleu_from_stats(whole_b)))
    return _share(observed, np.abs(differences))


def _check(size_a: int, size_b: int, samples: int) -> None:
    check_paired(size_a, size_b)
    if samples < 1:
        raise ConfigError(f"the number of randomisation samples must be at least 1; got {samples}")
    if size_a == 0:
        raise DataError("no session has a target, so there is nothing to compare; check the targets file")


def _share(observed: float, drawn: NDArray[np.float64]) -> float:
    """Share of the draws at least as large, the observed one counted among them."""
    return float((1 + (drawn >= observed - _EQUAL).sum()) / (1 + len(drawn)))
