"""Two runs on the same sessions: their difference, its paired bootstrap interval, and whether it could be chance.

A run comes here as what each session adds to a metric: shape ``(S,)`` where the metric is a mean over sessions (MRR),
shape ``(S, 10)`` where it is the corpus BLEU of the sums (`llmrec.evaluation.bleu.bleu_stats`). The interval resamples
sessions (Koehn 2004, for BLEU); p swaps the answers of the runs session by session and asks how often that alone gives
a difference as large as the observed one (Noreen 1989; Riezler and Maxwell 2005, for BLEU).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from llmrec.errors import DataError
from llmrec.evaluation.bleu import bleu_from_stats
from llmrec.evaluation.bootstrap import Interval, check_drawn, interval_of, resampled_means, resampled_sums

__all__ = [
    "Added",
    "difference_of",
    "randomisation_p",
    "resampled_differences",
    "resampled_scores",
    "score_of",
]

Added = NDArray[Any]
"""What each session adds to a metric, shape ``(S,)`` or ``(S, 10)``."""

_SWAP_BYTES: Final = 64 << 20
_EQUAL: Final = 1e-9  # two sums of the same terms in another order


def score_of(added: Added) -> float:
    """The metric of all these sessions: a mean, or corpus BLEU (0-100)."""
    return float(added.mean() if added.ndim == 1 else bleu_from_stats(added.sum(axis=0)))


def resampled_scores(added: Added, samples: int, seed: int) -> NDArray[np.float64]:
    """The metric of test sets drawn with replacement, shape ``(samples,)``.

    Raises:
        ConfigError: ``samples`` is below 1.
        DataError: there are no sessions.
    """
    if added.ndim == 1:
        return resampled_means(added.astype(np.float64), samples, seed)
    return bleu_from_stats(resampled_sums(added.astype(np.float64), samples, seed))


def resampled_differences(ours: Added, theirs: Added, samples: int, seed: int) -> NDArray[np.float64]:
    """First run minus second on test sets drawn with replacement, the same for both, shape ``(samples,)``.

    Raises:
        ConfigError: ``samples`` is below 1.
        DataError: the runs differ in their number of sessions, or there are none.
    """
    _check_paired(ours, theirs, samples)
    if ours.ndim == 1:
        return resampled_means((ours - theirs).astype(np.float64), samples, seed)
    sums = resampled_sums(np.hstack([ours, theirs]).astype(np.float64), samples, seed)
    width = ours.shape[1]
    return bleu_from_stats(sums[:, :width]) - bleu_from_stats(sums[:, width:])


def difference_of(ours: Added, theirs: Added, samples: int = 1000, seed: int = 0) -> Interval:
    """First run minus second, with its 95 % interval by the paired bootstrap.

    Args:
        ours: Of the first run.
        theirs: Of the second run, on the same sessions.
        samples: Number of resampled test sets.
        seed: Seed of the draws.

    Raises:
        ConfigError: ``samples`` is below 1.
        DataError: the runs differ in their number of sessions, or there are none.
    """
    draws = resampled_differences(ours, theirs, samples, seed)
    return interval_of(score_of(ours - theirs) if ours.ndim == 1 else score_of(ours) - score_of(theirs), draws)


def randomisation_p(ours: Added, theirs: Added, samples: int = 1000, seed: int = 0) -> float:
    """Two-sided p of a difference over the same sessions, by approximate randomisation.

    Args:
        ours: Of the first run.
        theirs: Of the second run.
        samples: Swapped pairs of runs; the smallest p that can come out is ``1 / (samples + 1)``.
        seed: Seed of the swaps.

    Raises:
        ConfigError: ``samples`` is below 1.
        DataError: the runs differ in their number of sessions, or there are none.
    """
    _check_paired(ours, theirs, samples)
    observed, drawn = (_swapped_means if ours.ndim == 1 else _swapped_bleu)(ours, theirs, samples, seed)
    return float((1 + (np.abs(drawn) >= abs(observed) - _EQUAL).sum()) / (1 + samples))


def _check_paired(ours: Added, theirs: Added, samples: int) -> None:
    if len(ours) != len(theirs):
        raise DataError(f"a paired comparison needs the same sessions in both runs; got {len(ours)} and {len(theirs)}")
    check_drawn(samples, len(ours))


def _swapped_means(ours: Added, theirs: Added, samples: int, seed: int) -> tuple[float, NDArray[np.float64]]:
    """Observed sum of the gains, and the sums after random swaps."""
    gains = (ours - theirs).astype(np.float64)
    # to swap a session is to turn its gain round; sessions of one size of gain are alike, so how many of them are
    # turned is a binomial draw
    sizes, counts = np.unique(np.abs(gains), return_counts=True)
    generator = np.random.default_rng(seed)
    turned = np.empty(samples)
    for rows in _blocks(samples, len(sizes)):
        kept = generator.binomial(counts, 0.5, size=(rows.stop - rows.start, len(sizes)))
        turned[rows] = (2 * kept - counts) @ sizes
    return float(gains.sum()), turned


def _swapped_bleu(ours: Added, theirs: Added, samples: int, seed: int) -> tuple[float, NDArray[np.float64]]:
    """Observed difference in BLEU, and the differences after random swaps."""
    gains = (theirs - ours).astype(np.float64)
    whole, other = (stats.sum(axis=0).astype(np.float64) for stats in (ours, theirs))
    generator = np.random.default_rng(seed)
    drawn = np.empty(samples)
    for rows in _blocks(samples, len(gains)):
        moved = generator.integers(2, size=(rows.stop - rows.start, len(gains))).astype(np.float64) @ gains
        drawn[rows] = bleu_from_stats(whole + moved) - bleu_from_stats(other - moved)
    return float(bleu_from_stats(whole) - bleu_from_stats(other)), drawn


def _blocks(samples: int, width: int) -> list[slice]:
    """Samples in blocks whose draws, ``width`` a sample, fit the memory that swaps may take."""
    size = max(1, _SWAP_BYTES // (8 * width))
    return [slice(start, min(start + size, samples)) for start in range(0, samples, size)]
