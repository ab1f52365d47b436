"""Test sets drawn with replacement from the sessions, and the percentile intervals that come of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmrec.console import progress_bar
from llmrec.errors import ConfigError, DataError
from llmrec.records import Count

__all__ = ["CONFIDENCE", "Interval", "check_drawn", "interval_of", "resampled_means", "resampled_sums"]

CONFIDENCE: Final = 0.95
_WEIGHTS_BYTES: Final = 64 << 20  # resampling weights held at once


@dataclass(frozen=True)
class Interval:
    """Difference of two runs on the same sessions, with its percentile interval.

    Attributes:
        difference: First run minus second run, on the sessions as they are.
        low: Lower end of the `CONFIDENCE` interval.
        high: Upper end.
        samples: Number of resampled test sets.
    """

    difference: float
    low: float
    high: float
    samples: Count

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"an interval from {self.low:g} to {self.high:g}")


def resampled_sums(stats: NDArray[np.float64], samples: int, seed: int) -> NDArray[np.float64]:
    """Sum per-session statistics over test sets drawn with replacement.

    Args:
        stats: Shape ``(S, M)``.
        samples: Number of test sets, each of ``S`` sessions.
        seed: The same seed draws the same sessions for every ``stats`` of the same ``S``.

    Returns:
        Shape ``(samples, M)``. Memory beside it stays flat in ``samples``.

    Raises:
        ConfigError: ``samples`` is below 1.
        DataError: there are no sessions.
    """
    num_sessions = len(stats)
    check_drawn(samples, num_sessions)
    generator = np.random.default_rng(seed)
    sums = np.empty((samples, stats.shape[1]))
    rows = max(1, min(samples, _WEIGHTS_BYTES // (8 * num_sessions)))
    with progress_bar() as bar:
        task = bar.add_task("bootstrap", total=samples, note="")
        for start in range(0, samples, rows):
            count = min(rows, samples - start)
            weights = np.empty((count, num_sessions))
            for row in weights:
                row[:] = np.bincount(generator.integers(num_sessions, size=num_sessions), minlength=num_sessions)
            sums[start : start + count] = weights @ stats
            bar.advance(task, count)
    return sums


def check_drawn(samples: int, num_sessions: int) -> None:
    """Refuse to draw nothing, or from nothing.

    Raises:
        ConfigError: ``samples`` is below 1.
        DataError: there are no sessions.
    """
    if samples < 1:
        raise ConfigError(f"the number of samples must be at least 1; got {samples}")
    if num_sessions == 0:
        raise DataError("no session has a target, so there is nothing to compare; check the targets file")


def interval_of(observed: float, differences: NDArray[np.float64]) -> Interval:
    """Percentile interval of resampled differences, shape ``(samples,)``."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(differences, [tail, 1 - tail])
    return Interval(float(observed), float(low), float(high), len(differences))


def resampled_means(values: NDArray[np.float64], samples: int, seed: int) -> NDArray[np.float64]:
    """Means over test sets drawn with replacement, shape ``(samples,)``.

    Args:
        values: Shape ``(S,)``; what each session adds.
        samples: Number of test sets.
        seed: Seed of the draws.

    Raises:
        ConfigError: ``samples`` is below 1.
        DataError: there are no sessions.
    """
    check_drawn(samples, len(values))
    # sessions of equal value are alike to a mean: to draw how many come of each value is the same draw, and far
    # cheaper, for two ranks of at most 100 make at most some thousand gains
    distinct, counts = np.unique(values, return_counts=True)
    generator = np.random.default_rng(seed)
    sums = np.empty(samples)
    rows = max(1, _WEIGHTS_BYTES // (8 * len(distinct)))
    for start in range(0, samples, rows):
        size = min(rows, samples - start)
        sums[start : start + size] = generator.multinomial(len(values), counts / len(values), size=size) @ distinct
    return sums / len(values)
