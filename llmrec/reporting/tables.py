"""A result as a table: the same cells in Markdown and in the HTML report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from llmrec.evaluation.bootstrap import Interval
from llmrec.evaluation.results import Part, Result
from llmrec.evaluation.scoring import OVERALL

__all__ = ["breakdown_tables", "label_of", "markdown_table", "notes_of", "number", "render_markdown", "result_table"]

LABELS: Final = {
    "bleu": "BLEU",
    "brevity_penalty": "brevity penalty",
    "length_ratio": "length ratio",
    "exact_match": "exact titles",
    "mrr@100": "MRR@100",
    "recall@100": "Recall@100",
    "ndcg@100": "NDCG@100",
}
_NO_VALUE: Final = "–"
_GROUPINGS: Final = {
    "locale": "locale",
    "length": "session length",
    "repeats": "repeated visits",
    "popularity": "target in training",
    "novelty": "target",
}


def label_of(metric: str) -> str:
    """How a metric is written in a table: ``mrr@100`` as MRR@100, ``hit@10`` as Hit@10."""
    name, _, tokenize = metric.partition("_")
    return f"BLEU ({tokenize})" if name == "bleu" and tokenize else LABELS.get(metric, metric.capitalize())


def _order(metric: str) -> tuple[int, int]:
    """The paper's metrics first, then Hit@K by its K."""
    names = list(LABELS)
    known = "bleu" if metric.startswith("bleu") else metric
    beside = int(metric != known)  # BLEU of a locale's own tokenizer follows the paper's
    return (names.index(known), beside) if known in names else (len(names), int(metric.partition("@")[2] or 0))


def result_table(result: Result) -> tuple[list[str], list[list[str]]]:
    """Header and rows: one row a locale, then all sessions (micro), then the mean of the locales (macro)."""
    used = {metric for scores in result.locales.values() for metric in scores.metrics}
    metrics = sorted(used, key=_order)
    header = ["locale", "sessions", *(label_of(metric) for metric in metrics)]
    sets = [(name, name, scores) for name, scores in result.locales.items()]
    rows = [
        [label, f"{scores.num_sessions:,}", *_cells(metrics, scores.metrics), *_comparison_cells(result, key)]
        for key, label, scores in [*sets, (OVERALL, "all sessions", result.overall)]
    ]
    if result.comparison is not None:
        told = "difference [95 %], p" if result.comparison.p_values else "difference [95 %]"
        header += [f"{label_of(result.comparison.metric)} of {result.comparison.baseline}", told]
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
    return [number(metric, values[metric]) if metric in values else _NO_VALUE for metric in metrics]


def number(metric: str, value: float, sign: str = "") -> str:
    """A metric's value as tables show it: BLEU with two digits, fractions with four."""
    return f"{value:{sign}.2f}" if metric.startswith("bleu") else f"{value:{sign}.4f}"


def _comparison_cells(result: Result, key: str) -> list[str]:
    if result.comparison is None:
        return []
    metric, interval = result.comparison.metric, result.comparison.intervals[key]
    return [
        number(metric, result.comparison.scores[key]),
        _difference(metric, interval, result.comparison.p_values.get(key)),
    ]


def _difference(metric: str, interval: Interval, p_value: float | None) -> str:
    low, high = number(metric, interval.low, "+"), number(metric, interval.high, "+")
    chance = "" if p_value is None else f", {p_value:.3f}"
    return f"{number(metric, interval.difference, '+')} [{low}, {high}]{chance}"


def breakdown_tables(result: Result) -> list[tuple[str, list[str], list[list[str]]]]:
    """Title, header and rows of each grouping: a group a row, metrics with their 95 % intervals."""
    return [_breakdown(result, grouping, groups) for grouping, groups in result.breakdowns.items()]


def _breakdown(result: Result, grouping: str, groups: Mapping[str, Part]) -> tuple[str, list[str], list[list[str]]]:
    metrics = sorted({metric for part in groups.values() for metric in part.metrics}, key=_order)
    what = _GROUPINGS.get(grouping, grouping)
    header = [what, "sessions", *(f"{label_of(metric)} [95 %]" for metric in metrics)]
    if result.comparison is not None:
        header.append(f"{label_of(metrics[0])} less {result.comparison.baseline} [95 %], p")
    rows = []
    for name, part in groups.items():
        cells = [name, f"{part.num_sessions:,}"]
        for metric in metrics:
            one = part.intervals[metric]
            cells.append(
                f"{number(metric, part.metrics[metric])} [{number(metric, one.low)}, {number(metric, one.high)}]"
            )
        if result.comparison is not None:
            cells.append(_difference(metrics[0], part.differences[metrics[0]], part.p_values.get(metrics[0])))
        rows.append(cells)
    return f"By {what}", header, rows


def notes_of(result: Result) -> list[str]:
    """What a reader must know beside the table, one sentence each."""
    notes = []
    if result.partial:
        notes.append(f"PARTIAL: only the first {result.n_sessions + result.n_without_target:,} sessions of the split.")
    if overlap := result.provenance.get("overlap"):
        repeated = f"{overlap['sessions']:,} of these sessions"
        notes.append(f"OVERLAP: training rows repeat {repeated}, labels included (--allow-overlap).")
    if result.n_without_target:
        notes.append(f"{result.n_without_target:,} sessions without a known target were left out.")
    if result.parts:
        notes.append("Cold targets stand in no training session; intervals: 95 % over resampled sessions.")
        notes += [_part_note(name, part) for name, part in result.parts.items() if part.num_sessions]
    notes += [f"{label_of(metric)}: 0-100, {signature}" for metric, signature in result.signatures.items()]
    if result.comparison is not None:
        samples = result.comparison.intervals[OVERALL].samples
        notes.append(f"Intervals: 95 % percentile interval of a paired bootstrap, {samples:,} samples of the sessions.")
        if result.comparison.p_values:
            notes.append(f"p: two-sided, approximate randomisation, {samples:,} times swapped session by session.")
    return notes


def _part_note(name: str, part: Part) -> str:
    told = [
        f"{label_of(metric)} {interval.difference:.4f} [{interval.low:.4f}, {interval.high:.4f}]"
        for metric, interval in part.intervals.items()
    ]
    return f"{name} ({part.num_sessions:,}): {', '.join(told)}"


def render_markdown(result: Result) -> str:
    """Render a result as a Markdown section with its table and notes."""
    header, rows = result_table(result)
    lines = [f"## {_escaped(result.run)}", "", *markdown_table(header, rows)]
    for title, named, cells in breakdown_tables(result):
        lines += ["", f"### {title}", "", *markdown_table(named, cells)]
    lines += ["", *(f"- {_escaped(note)}" for note in notes_of(result))]
    return "\n".join(lines).rstrip() + "\n"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table: the first column to the left, the others to the right."""
    return [_line(header), "|---|" + "---:|" * (len(header) - 1), *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_escaped, cells))} |"


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
