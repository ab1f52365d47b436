"""Sets of sessions scored with their intervals, and beside another run with what chance could have done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from llmrec.evaluation.bootstrap import Interval, interval_of
from llmrec.evaluation.differences import (
    Added,
    difference_of,
    randomisation_p,
    resampled_differences,
    resampled_scores,
    score_of,
)
from llmrec.evaluation.results import Comparison, Part

__all__ = ["ALL_SESSIONS", "MEAN_OF_LOCALES", "PartScorer"]

ALL_SESSIONS: Final = "all sessions"
MEAN_OF_LOCALES: Final = "mean of locales"

Rows = NDArray[np.int64]
Masks = Mapping[str, NDArray[np.bool_]]
T = TypeVar("T")


class PartScorer:
    """Scores sets of sessions of one run, and of a baseline beside it.

    What is drawn for a set of sessions is drawn once: a locale, a group and a whole split that hold the same sessions
    have the same interval and the same p, in whichever table they are printed.
    """

    def __init__(
        self, ours: Mapping[str, Added], theirs: Mapping[str, Added] | None, samples: int = 1000, seed: int = 0
    ) -> None:
        """Take both runs in.

        Args:
            ours: By metric, what each of the ``S`` sessions adds to it, see `llmrec.evaluation.differences`.
            theirs: The same of the baseline, or None.
            samples: Resampled test sets of an interval, and swaps of a p.
            seed: Seed of the draws.
        """
        self.ours, self.theirs, self.samples, self.seed = ours, theirs or {}, samples, seed
        self._drawn: dict[tuple[str, bytes], Any] = {}

    def comparison(self, baseline: str, metric: str, sets: Mapping[str, Rows]) -> Comparison:
        """The run beside its baseline on some sets of sessions."""
        differences = {name: self._difference(metric, rows, self.seed) for name, rows in sets.items()}
        return Comparison(
            baseline,
            metric,
            {name: score_of(self.theirs[metric][rows]) for name, rows in sets.items()},
            {name: interval for name, (interval, _) in differences.items()},
            {name: p_value for name, (_, p_value) in differences.items()},
        )

    def part(self, rows: Rows, place: int = 0) -> Part:
        """Metrics, intervals and differences of some sessions; sets of another ``place`` have draws of their own."""
        if not len(rows):
            return Part(0, {}, {})
        seed = self.seed + place
        differences = {metric: self._difference(metric, rows, seed) for metric in self.theirs}
        return Part(
            len(rows),
            {metric: score_of(added[rows]) for metric, added in self.ours.items()},
            {metric: self._interval(metric, rows, seed) for metric in self.ours},
            {metric: interval for metric, (interval, _) in differences.items()},
            {metric: p_value for metric, (_, p_value) in differences.items()},
        )

    def break_down(self, groupings: Mapping[str, Masks]) -> dict[str, dict[str, Part]]:
        """Parts of every group of every grouping, then all sessions; ``locale`` ends with the mean of its locales.

        Args:
            groupings: Grouping to its groups, each a mask of shape ``(S,)``.
        """
        found: dict[str, dict[str, Part]] = {}
        for grouping, masks in groupings.items():
            sets = [np.flatnonzero(mask) for mask in masks.values()]
            # every group has draws of its own, so that the mean of the locales adds up independent ones
            parts = [self.part(rows, place) for place, rows in enumerate(sets)]
            found[grouping] = dict(zip(masks, parts, strict=True))
            found[grouping][ALL_SESSIONS] = self.part(np.arange(len(next(iter(self.ours.values())))))
            if grouping == "locale":
                found[grouping][MEAN_OF_LOCALES] = self._mean_of(sets)
        return found

    def _mean_of(self, sets: list[Rows]) -> Part:
        """Plain mean over locales, each resampled within itself (no p: that is of sessions, not of locales)."""
        drawn = [(rows, self.seed + place) for place, rows in enumerate(sets)]
        intervals, differences = {}, {}
        for metric, added in self.ours.items():
            draws = np.mean([self._scores(metric, rows, seed) for rows, seed in drawn], axis=0)
            intervals[metric] = interval_of(float(np.mean([score_of(added[rows]) for rows in sets])), draws)
        for metric, added in self.theirs.items():
            pairs = [(self.ours[metric][rows], added[rows], self.samples, seed) for rows, seed in drawn]
            draws = np.mean([resampled_differences(*pair) for pair in pairs], axis=0)
            observed = [self._difference(metric, rows, seed)[0].difference for rows, seed in drawn]
            differences[metric] = interval_of(float(np.mean(observed)), draws)
        metrics = {metric: interval.difference for metric, interval in intervals.items()}
        return Part(sum(map(len, sets)), metrics, intervals, differences)

    def _interval(self, metric: str, rows: Rows, seed: int) -> Interval:
        return self._once(
            f"{metric} interval",
            rows,
            lambda: interval_of(score_of(self.ours[metric][rows]), self._scores(metric, rows, seed)),
        )

    def _scores(self, metric: str, rows: Rows, seed: int) -> NDArray[np.float64]:
        return self._once(
            f"{metric} {seed}", rows, lambda: resampled_scores(self.ours[metric][rows], self.samples, seed)
        )

    def _difference(self, metric: str, rows: Rows, seed: int) -> tuple[Interval, float]:
        def draw() -> tuple[Interval, float]:
            pair = self.ours[metric][rows], self.theirs[metric][rows]
            return difference_of(*pair, self.samples, seed), randomisation_p(*pair, self.samples, seed)

        return self._once(f"{metric} difference", rows, draw)

    def _once(self, what: str, rows: Rows, draw: Callable[[], T]) -> T:
        key = (what, sha256(rows.tobytes()).digest())
        if key not in self._drawn:
            self._drawn[key] = draw()
        found: T = self._drawn[key]
        return found
