"""A result as a table: the same cells in Markdown and in the HTML report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from llmrec.evaluation.bootstrap import Interval
from llmrec.evaluation.results import Part, Result
from llmrec.evaluation.scoring import OVERALL

__all__ = ["notes_of", "render_markdown", "result_table"]

LABELS: Final = {
    "bleu": "BLEU",
    "bleu_char": "BLEU (char)",
    "brevity_penalty": "brevity penalty",
    "length_ratio": "length ratio",
    "exact_match": "exact titles",
    "mrr@100": "MRR@100",
    "recall@100": "Recall@100",
    "ndcg@100": "NDCG@100",
}
_NO_VALUE: Final = "–"


def result_table(result: Result) -> tuple[list[str], list[list[str]]]:
    """Header and rows: one row a locale, then all sessions (micro), then the mean of the locales (macro)."""
    used = {metric for scores in result.locales.values() for metric in scores.metrics}
    metrics = [metric for metric in LABELS if metric in used]
    header = ["locale", "sessions", *(LABELS[metric] for metric in metrics)]
    sets = [(name, name, scores) for name, scores in result.locales.items()]
    rows = [
        [label, f"{scores.num_sessions:,}", *_cells(metrics, scores.metrics), *_comparison_cells(result, key)]
        for key, label, scores in [*sets, (OVERALL, "all sessions", result.overall)]
    ]
    if result.comparison is not None:
        header += [f"{LABELS[result.comparison.metric]} of {result.comparison.baseline}", "difference [95 %]"]
    blank = [_NO_VALUE] * len(_comparison_cells(result, OVERALL))
    for part in ("warm", "cold"):
        if part in result.parts:
            rows.append([f"{part} targets", *_part_cells(result, part, metrics)])
    rows.append(["mean of locales", str(len(result.locales)), *_cells(metrics, result.macro), *blank])
    return header, rows


def _part_cells(result: Result, part: str, metrics: Sequence[str]) -> list[str]:
    scores = result.parts[part]
    cells = [f"{scores.num_sessions:,}", *_cells(metrics, scores.metrics)]
    if result.comparison is not None and scores.num_sessions:
        return cells + _comparison_cells(result, part)
    return cells + [_NO_VALUE] * len(_comparison_cells(result, OVERALL))


def _cells(metrics: Sequence[str], values: Mapping[str, float]) -> list[str]:
    return [_number(metric, values[metric]) if metric in values else _NO_VALUE for metric in metrics]


def _number(metric: str, value: float, sign: str = "") -> str:
    return f"{value:{sign}.2f}" if metric.startswith("bleu") else f"{value:{sign}.4f}"


def _comparison_cells(result: Result, key: str) -> list[str]:
    if result.comparison is None:
        return []
    metric, interval = result.comparison.metric, result.comparison.intervals[key]
    return [_number(metric, result.comparison.scores[key]), _difference(metric, interval)]


def _difference(metric: str, interval: Interval) -> str:
    low, high = _number(metric, interval.low, "+"), _number(metric, interval.high, "+")
    return f"{_number(metric, interval.difference, '+')} [{low}, {high}]"


def notes_of(result: Result) -> list[str]:
    """What a reader must know beside the table, one sentence each."""
    notes = []
    if result.partial:
        notes.append(f"PARTIAL: only the first {result.n_sessions + result.n_without_target:,} sessions of the split.")
    if result.n_without_target:
        notes.append(f"{result.n_without_target:,} sessions without a known target were left out.")
    if result.parts:
        notes.append("Cold targets stand in no training session; intervals: 95 % over resampled sessions.")
        notes += [_part_note(name, part) for name, part in result.parts.items() if part.num_sessions]
    notes += [f"{LABELS[metric]}: 0-100, {signature}" for metric, signature in result.signatures.items()]
    if result.comparison is not None:
        samples = result.comparison.intervals[OVERALL].samples
        notes.append(f"Intervals: 95 % percentile interval of a paired bootstrap, {samples:,} samples of the sessions.")
    return notes


def _part_note(name: str, part: Part) -> str:
    told = [
        f"{LABELS[metric]} {interval.difference:.4f} [{interval.low:.4f}, {interval.high:.4f}]"
        for metric, interval in part.intervals.items()
        if metric in LABELS
    ]
    return f"{name} ({part.num_sessions:,}): {', '.join(told)}"


def render_markdown(result: Result) -> str:
    """Render a result as a Markdown section with its table and notes."""
    header, rows = result_table(result)
    lines = [f"## {_escaped(result.run)}", "", _line(header), "|---|" + "---:|" * (len(header) - 1)]
    lines += [_line(row) for row in rows]
    lines += ["", *(f"- {_escaped(note)}" for note in notes_of(result))]
    return "\n".join(lines).rstrip() + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_escaped, cells))} |"


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
