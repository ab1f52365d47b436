"""Metrics of some of the sessions with their intervals, and beside another run with what chance could have done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmrec.evaluation.bleu import bleu_from_stats, bleu_of
from llmrec.evaluation.bootstrap import interval_of, resampled_means, resampled_sums
from llmrec.evaluation.metrics import metric_by_rank
from llmrec.evaluation.results import Part
from llmrec.evaluation.significance import randomisation_p_bleu, randomisation_p_mean

__all__ = ["ALL_SESSIONS", "MEAN_OF_LOCALES", "break_down", "ranking_part", "title_part"]

ALL_SESSIONS: Final = "all sessions"
MEAN_OF_LOCALES: Final = "mean of locales"

Rows = NDArray[np.int64]
Draws = NDArray[np.float64]
PartOf = Callable[[Rows, int], tuple[Part, Mapping[str, Draws], Mapping[str, Draws]]]


def ranking_part(ranks: Rows, other: Rows | None, metrics: Sequence[str], samples: int) -> PartOf:
    """What gives the part of some rows of ranked lists, with the draws behind its intervals.

    Args:
        ranks: Shape ``(S,)``; rank of each target, 0 where it is absent.
        other: The same of the baseline, or None.
        metrics: ``mrr@100`` …
        samples: Resampled test sets.
    """
    tables = {metric: metric_by_rank(metric) for metric in metrics}

    def part(rows: Rows, seed: int) -> tuple[Part, Mapping[str, Draws], Mapping[str, Draws]]:
        values = {metric: table[ranks[rows]] for metric, table in tables.items()}
        own = {metric: resampled_means(value, samples, seed) for metric, value in values.items()}
        means = {metric: float(value.mean()) for metric, value in values.items()}
        if other is None:
            return _part(len(rows), means, own, {}, {}, {}), own, {}
        theirs = {metric: table[other[rows]] for metric, table in tables.items()}
        gains = {metric: resampled_means(values[metric] - theirs[metric], samples, seed) for metric in tables}
        observed = {metric: float((values[metric] - theirs[metric]).mean()) for metric in tables}
        p_values = {metric: randomisation_p_mean(values[metric], theirs[metric], samples, seed) for metric in tables}
        return _part(len(rows), means, own, observed, gains, p_values), own, gains

    return part


def title_part(stats: Rows, other: Rows | None, samples: int) -> PartOf:
    """What gives the part of some rows of titles: corpus BLEU.

    Args:
        stats: Shape ``(S, 10)``, from `llmrec.evaluation.bleu.bleu_stats`.
        other: The same of the baseline, or None.
        samples: Resampled test sets.
    """

    def part(rows: Rows, seed: int) -> tuple[Part, Mapping[str, Draws], Mapping[str, Draws]]:
        both = stats[rows] if other is None else np.hstack([stats[rows], other[rows]])
        sums = resampled_sums(both.astype(np.float64), samples, seed)
        width = stats.shape[1]
        own = {"bleu": bleu_from_stats(sums[:, :width])}
        score = {"bleu": bleu_of(stats[rows].sum(axis=0)).score}
        if other is None:
            return _part(len(rows), score, own, {}, {}, {}), own, {}
        gains = {"bleu": own["bleu"] - bleu_from_stats(sums[:, width:])}
        observed = {"bleu": score["bleu"] - bleu_of(other[rows].sum(axis=0)).score}
        p_values = {"bleu": randomisation_p_bleu(stats[rows], other[rows], samples, seed)}
        return _part(len(rows), score, own, observed, gains, p_values), own, gains

    return part


def break_down(
    groupings: Mapping[str, Mapping[str, NDArray[np.bool_]]], num_rows: int, part_of: PartOf, seed: int
) -> dict[str, dict[str, Part]]:
    """Parts of every group of every grouping, then all sessions; ``locale`` ends with the mean of its locales.

    Args:
        groupings: Grouping to its groups, each a mask of shape ``(S,)``.
        num_rows: ``S``.
        part_of: From `ranking_part` or `title_part`.
        seed: Seed of the draws.
    """
    if not groupings:
        return {}
    everything, _, _ = part_of(np.arange(num_rows), seed)
    found: dict[str, dict[str, Part]] = {}
    for grouping, masks in groupings.items():
        # every group has draws of its own, so that the mean of the locales adds up independent ones
        drawn = {name: part_of(np.flatnonzero(mask), seed + place) for place, (name, mask) in enumerate(masks.items())}
        found[grouping] = {name: part for name, (part, _, _) in drawn.items()} | {ALL_SESSIONS: everything}
        if grouping == "locale":
            found[grouping][MEAN_OF_LOCALES] = _macro(list(drawn.values()))
    return found


def _macro(drawn: Sequence[tuple[Part, Mapping[str, Draws], Mapping[str, Draws]]]) -> Part:
    """Plain mean over locales, each resampled within itself (no p: that is of sessions, not of locales)."""
    parts = [part for part, _, _ in drawn]
    metrics = {metric: float(np.mean([part.metrics[metric] for part in parts])) for metric in parts[0].metrics}
    own = {metric: np.mean([draws[metric] for _, draws, _ in drawn], axis=0) for metric in metrics}
    observed = {
        metric: float(np.mean([part.differences[metric].difference for part in parts]))
        for metric in parts[0].differences
    }
    gains = {metric: np.mean([draws[metric] for _, _, draws in drawn], axis=0) for metric in observed}
    return _part(sum(part.num_sessions for part in parts), metrics, own, observed, gains, {})


def _part(
    num_sessions: int,
    metrics: Mapping[str, float],
    own: Mapping[str, Draws],
    observed: Mapping[str, float],
    gains: Mapping[str, Draws],
    p_values: Mapping[str, float],
) -> Part:
    return Part(
        num_sessions,
        metrics,
        {metric: interval_of(metrics[metric], draws) for metric, draws in own.items()},
        {metric: interval_of(observed[metric], draws) for metric, draws in gains.items()},
        p_values,
    )
