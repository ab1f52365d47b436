"""A result as blocks: its table, its groups, and what a reader must know beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from llmrec.data.store import TimeSplit
from llmrec.evaluation.bootstrap import Interval
from llmrec.evaluation.results import Part, Result
from llmrec.evaluation.scoring import OVERALL
from llmrec.reporting.blocks import Block, Heading, Notes, Plot, Table, to_markdown

__all__ = ["BEYOND", "comparison_plot", "label_of", "number", "render_markdown", "result_blocks", "with_interval"]

LABELS: Final = {
    "bleu": "BLEU",
    "brevity_penalty": "brevity penalty",
    "length_ratio": "length ratio",
    "exact_match": "exact titles",
    "mrr@100": "MRR@100",
    "recall@100": "Recall@100",
    "ndcg@100": "NDCG@100",
}
BEYOND: Final = {
    "coverage": "catalogue coverage",
    "gini": "Gini index",
    "entropy": "entropy",
    "novelty": "novelty",
    "popularity": "average popularity",
    "serendipity": "serendipity",
    "diversity": "diversity of titles",
    "in_locale": "sold in the locale",
    "popreo": "PopREO",
    "calibration": "miscalibration",
}
_NO_VALUE: Final = "–"
_GROUPINGS: Final = {
    "locale": "locale",
    "length": "session length",
    "repeats": "repeated visits",
    "popularity": "target in training",
    "novelty": "target",
    "time": "time",
}


def label_of(metric: str) -> str:
    """How a metric is written in a table: ``mrr@10`` as MRR@10, ``hit@10`` as Hit@10."""
    name, _, tokenize = metric.partition("_")
    if name == "bleu" and tokenize:
        return f"BLEU ({tokenize})"
    kind, _, cutoff = metric.partition("@")
    if kind in BEYOND:
        return f"{BEYOND[kind]}@{cutoff}"
    known = LABELS.get(metric) or LABELS.get(f"{kind}@100", "").replace("100", cutoff)
    return known or metric.capitalize()


def number(metric: str, value: float, sign: str = "") -> str:
    """A metric's value as tables show it: BLEU with two digits, fractions with four."""
    return f"{value:{sign}.2f}" if metric.startswith(("bleu", "popularity@")) else f"{value:{sign}.4f}"


def with_interval(metric: str, interval: Interval, sign: str = "") -> str:
    """A value or, with ``sign="+"``, a difference, and its interval: ``+0.0120 [+0.0034, +0.0201]``."""
    value, low, high = (number(metric, one, sign) for one in (interval.difference, interval.low, interval.high))
    return f"{value} [{low}, {high}]"


def render_markdown(result: Result) -> str:
    """A result as a Markdown section."""
    return to_markdown(result_blocks(result))


def result_blocks(result: Result) -> list[Block]:
    """Section of one result: its table, a table for each grouping, notes."""
    blocks: list[Block] = [Heading(result.run), _locale_table(result)]
    for grouping, groups in result.breakdowns.items():
        what = _GROUPINGS.get(grouping, grouping)
        blocks += [Heading(f"By {what}", 3), _group_table(result, what, groups)]
    if result.beyond:
        blocks += [Heading("Beyond accuracy", 3), _beyond_table(result)]
        if result.comparison is not None:
            blocks += [Heading(f"Beyond accuracy, less {result.comparison.baseline}", 3), _beyond_table(result, "+")]
    return [*blocks, Notes(_notes_of(result))]


def comparison_plot(result: Result) -> list[Plot]:
    """The plot of BLEU by locale where a baseline stands beside; nothing otherwise."""
    compared = result.comparison
    if compared is None or compared.metric != "bleu":
        return []
    from llmrec.reporting.plots import plot_bleu_by_locale

    scores = {name: scores.metrics["bleu"] for name, scores in result.locales.items()}
    scores[OVERALL] = result.overall.metrics["bleu"]
    names = (result.run, compared.baseline)
    shown = ", ".join(f"{name}: {score:.1f} against {compared.scores[name]:.1f}" for name, score in scores.items())
    plot = plot_bleu_by_locale(scores, compared.scores, compared.intervals, names)
    return [Plot(plot, f"BLEU of {names[0]} and {names[1]}. {shown}")]


def _order(metric: str) -> tuple[int, int]:
    """The paper's metrics first, then Hit@K by its K."""
    names = list(LABELS)
    known = "bleu" if metric.startswith("bleu") else metric
    beside = int(metric != known)  # BLEU of a locale's own tokenizer follows the paper's
    return (names.index(known), beside) if known in names else (len(names), int(metric.partition("@")[2] or 0))


def _locale_table(result: Result) -> Table:
    """A locale a row, then all sessions (micro), warm and cold ones, and the mean of the locales (macro)."""
    metrics = sorted({metric for scores in result.locales.values() for metric in scores.metrics}, key=_order)
    columns = ["locale", "sessions", *(label_of(metric) for metric in metrics)]
    if result.comparison is not None:
        shown = "difference [95 %], p" if result.comparison.p_values else "difference [95 %]"
        columns += [f"{label_of(result.comparison.metric)} of {result.comparison.baseline}", shown]
    sets = [(name, name, scores.num_sessions, scores.metrics) for name, scores in result.locales.items()]
    sets += [("all sessions", OVERALL, result.overall.num_sessions, result.overall.metrics)]
    sets += [
        (f"{name} targets", name, part.num_sessions, part.metrics)
        for name, part in result.parts.items()
        if name in ("warm", "cold")
    ]
    sets += [("mean of locales", "", len(result.locales), result.macro)]
    rows = [
        [label, f"{count:,}", *_cells(metrics, values), *_beside(result, key)] for label, key, count, values in sets
    ]
    return Table(columns, rows)


def _cells(metrics: Sequence[str], values: Mapping[str, float]) -> list[str]:
    return [number(metric, values[metric]) if metric in values else _NO_VALUE for metric in metrics]


def _beside(result: Result, key: str) -> list[str]:
    """The baseline's score of some sessions, and the difference from it."""
    compared = result.comparison
    if compared is None:
        return []
    if key not in compared.intervals:
        return [_NO_VALUE, _NO_VALUE]
    difference = _difference(compared.metric, compared.intervals[key], compared.p_values.get(key))
    return [number(compared.metric, compared.scores[key]), difference]


def _difference(metric: str, interval: Interval, p_value: float | None) -> str:
    return with_interval(metric, interval, "+") + ("" if p_value is None else f", {p_value:.3f}")


def _group_table(result: Result, what: str, groups: Mapping[str, Part]) -> Table:
    """A group a row, metrics with their 95 % intervals."""
    metrics = sorted({metric for part in groups.values() for metric in part.metrics}, key=_order)
    columns = [what, "sessions", *(f"{label_of(metric)} [95 %]" for metric in metrics)]
    if result.comparison is not None:
        columns.append(f"{label_of(metrics[0])} less {result.comparison.baseline} [95 %], p")
    rows = []
    for name, part in groups.items():
        cells = [name, f"{part.num_sessions:,}"]
        cells += [with_interval(metric, part.intervals[metric]) for metric in metrics]
        if result.comparison is not None:
            cells.append(_difference(metrics[0], part.differences[metrics[0]], part.p_values.get(metrics[0])))
        rows.append(cells)
    return Table(columns, rows)


def _beyond_table(result: Result, sign: str = "") -> Table:
    """A measure a row, all sessions and each locale a column; with ``sign="+"`` the differences from the baseline."""
    columns = ["measure", *(f"{'all' if name == OVERALL else name} [95 %]" for name in result.beyond)]
    shown = [part.differences if sign else part.intervals for part in result.beyond.values()]
    rows = []
    for metric in dict.fromkeys(metric for found in shown for metric in found):
        cells = [_NO_VALUE if metric not in found else with_interval(metric, found[metric], sign) for found in shown]
        rows.append([label_of(metric), *cells])
    return Table(columns, rows)


def _time_split(result: Result) -> TimeSplit | None:
    with suppress(msgspec.ValidationError):  # what another program wrote there is no cut of ours
        return msgspec.convert(result.provenance.get("time_split"), TimeSplit | None)
    return None


def _notes_of(result: Result) -> list[str]:
    """What a reader must know beside the table, one sentence each."""
    notes = []
    if result.partial:
        notes.append(f"PARTIAL: only the first {result.n_sessions + result.n_without_target:,} sessions of the split.")
    if overlap := result.provenance.get("overlap"):
        repeated = f"{overlap['sessions']:,} of these sessions"
        notes.append(f"OVERLAP: training rows repeat {repeated}, labels included (--allow-overlap).")
    if split := _time_split(result):
        notes.append(f"Time: the log was {split.told()}.")
    if result.n_without_target:
        notes.append(f"{result.n_without_target:,} sessions without a known target were left out.")
    if result.parts:
        notes.append("Cold targets stand in no training session; intervals: 95 % over resampled sessions.")
        notes += [_part_note(name, part) for name, part in result.parts.items() if part.num_sessions]
    notes += [f"{label_of(metric)}: 0-100, {signature}" for metric, signature in result.signatures.items()]
    if result.beyond:
        notes.append(
            "Beyond accuracy: docs/beyond.md has each formula. Lower is less popular, less unequal, better calibrated."
        )
    if result.comparison is not None:
        samples = result.comparison.intervals[OVERALL].samples
        notes.append(f"Intervals: 95 % percentile interval of a paired bootstrap, {samples:,} samples of the sessions.")
        if result.comparison.p_values:
            notes.append(f"p: two-sided, approximate randomisation, {samples:,} times swapped session by session.")
    return notes


def _part_note(name: str, part: Part) -> str:
    shown = [f"{label_of(metric)} {with_interval(metric, interval)}" for metric, interval in part.intervals.items()]
    return f"{name} ({part.num_sessions:,}): {', '.join(shown)}"
