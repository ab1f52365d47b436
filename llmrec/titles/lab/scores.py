"""What a comparison found: BLEU, intervals and cost of every cell, as records, rows of tables and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from llmrec.evaluation.results import Comparison, Result
from llmrec.evaluation.scoring import OVERALL, score_titles
from llmrec.output import atomic_file, write_text
from llmrec.reporting.blocks import Table
from llmrec.reporting.tables import with_interval
from llmrec.titles.decoding.title_in_answer import clean_title
from llmrec.titles.lab.answers import Answer, Written
from llmrec.titles.lab.sample import SampledSession
from llmrec.titles.lab.settings import Cell

__all__ = [
    "BASELINE",
    "CellScore",
    "Cost",
    "bleu_table",
    "cost_of",
    "cost_table",
    "locale_table",
    "score_cells",
    "short_labels",
    "write_answers",
    "write_scores",
]

BASELINE: Final = "Last Product Title"  # paper §4.3
VERSION: Final = 1
_NO_VALUE: Final = "–"


@dataclass(frozen=True)
class Cost:
    """What the answers of a cell cost when they were written, however often they were read from the cache since.

    Attributes:
        prompt_tokens: Tokens read; None where a server did not count them.
        completion_tokens: Tokens written; None where a server did not count them.
        seconds: Sum of the waits for every answer, whether side by side or one after another.
        num_empty: Answers without a title in them; they are scored as empty titles.
        num_cut: Prompts that lost their oldest titles to the model's length.
    """

    prompt_tokens: int | None
    completion_tokens: int | None
    seconds: float
    num_empty: int
    num_cut: int


@dataclass(frozen=True)
class CellScore:
    """A cell with its answers and scores.

    Attributes:
        cell: The combination.
        answers: What the model said, one a session.
        titles: The titles in it.
        result: Scores, overall and per locale, beside `BASELINE`.
        against_first: The same titles beside those of the first cell; None for the first cell.
        cost: What it cost.
    """

    cell: Cell
    answers: Sequence[Answer]
    titles: Sequence[str]
    result: Result
    against_first: Comparison | None
    cost: Cost


def score_cells(
    sample: Sequence[SampledSession], answered: Sequence[tuple[Cell, Written]], seed: int
) -> list[CellScore]:
    """Score every cell on the same sessions with paired bootstrap intervals.

    Args:
        sample: ``S`` sessions.
        answered: Each cell with its ``S`` answers.
        seed: Of the bootstrap.
    """
    locales = [session.locale for session in sample]
    targets = [session.target for session in sample]
    last = [session.last_title for session in sample]
    scored: list[CellScore] = []
    for cell, written in answered:
        titles = [clean_title(answer.text) for answer in written.answers]

        def beside(name: str, others: Sequence[str], label: str = cell.label, ours: Sequence[str] = titles) -> Result:
            return score_titles(label, locales, ours, targets, baseline=(name, others), partial=True, seed=seed)

        first = beside(scored[0].cell.label, scored[0].titles).comparison if scored else None
        cost = cost_of(written, titles)
        scored.append(CellScore(cell, written.answers, titles, beside(BASELINE, last), first, cost))
    return scored


def cost_of(written: Written, titles: Sequence[str]) -> Cost:
    """Add up the cost of a cell's answers, and count the titles that are empty."""
    answers = written.answers
    return Cost(
        prompt_tokens=_sum([answer.prompt_tokens for answer in answers]),
        completion_tokens=_sum([answer.completion_tokens for answer in answers]),
        seconds=round(sum(answer.seconds for answer in answers), 3),
        num_empty=sum(not title for title in titles),
        num_cut=written.num_cut,
    )


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def short_labels(cells: Sequence[Cell]) -> list[str]:
    """What tells the cells apart: the prompt, and model, K and number of examples where these are not all the same."""
    parts = [
        (cell.model_label, cell.prompt_label, f"K={cell.k}", "" if cell.shots is None else f"{cell.shots} shots")
        for cell in cells
    ]
    kept = [place for place in range(4) if place == 1 or len({part[place] for part in parts}) > 1]
    return [", ".join(part[place] for place in kept if part[place]) for part in parts]


def bleu_table(scores: Sequence[CellScore]) -> Table:
    """Scores: every cell, then Last Product Title."""
    labels = short_labels([score.cell for score in scores])
    rows = [
        [
            label,
            f"{score.result.overall.metrics['bleu']:.2f}",
            _difference(score.result.comparison),
            _difference(score.against_first),
        ]
        for label, score in zip(labels, scores, strict=True)
    ]
    last = scores[0].result.comparison
    rows.append([BASELINE, f"{last.scores[OVERALL]:.2f}" if last else _NO_VALUE, _NO_VALUE, _NO_VALUE])
    return Table(("", "BLEU", "to last title [95 %]", "to first row [95 %]"), rows, "Prompts compared")


def cost_table(scores: Sequence[CellScore]) -> Table:
    """What every cell cost."""
    labels = short_labels([score.cell for score in scores])
    rows = [
        [
            label,
            _count(score.cost.prompt_tokens),
            _count(score.cost.completion_tokens),
            f"{score.cost.seconds / len(score.titles):.3g}",
            f"{score.cost.num_cut:,}",
            f"{score.cost.num_empty:,}",
        ]
        for label, score in zip(labels, scores, strict=True)
    ]
    return Table(("", "tokens read", "written", "s / title", "cut", "empty"), rows, "Cost")


def locale_table(sample: Sequence[SampledSession], scores: Sequence[CellScore]) -> Table:
    """Scores by locale, BLEU of a locale's own tokenizer beside 13a where it has another."""
    locales = [session.locale for session in sample]
    last = [session.last_title for session in sample]
    baseline = score_titles(BASELINE, locales, last, [session.target for session in sample])
    columns = [
        (locale, metric)
        for locale, part in baseline.locales.items()
        for metric in part.metrics
        if metric.startswith("bleu")
    ]
    labels = [*short_labels([score.cell for score in scores]), BASELINE]
    rows = [
        [label, *(f"{result.locales[locale].metrics[metric]:.2f}" for locale, metric in columns)]
        for label, result in zip(labels, [*(score.result for score in scores), baseline], strict=True)
    ]
    rows.append(["sessions", *(f"{baseline.locales[locale].num_sessions:,}" for locale, _ in columns)])
    names = [f"{locale} {metric.removeprefix('bleu').lstrip('_')}".rstrip() for locale, metric in columns]
    return Table(["", *names], rows, "BLEU by locale")


def _difference(comparison: Comparison | None) -> str:
    return _NO_VALUE if comparison is None else with_interval("bleu", comparison.intervals[OVERALL], "+")


def _count(number: int | None) -> str:
    return _NO_VALUE if number is None else f"{number:,}"


def write_scores(path: Path, scores: Sequence[CellScore], provenance: Mapping[str, Any]) -> None:
    """Write all scores and costs as JSON.

    Raises:
        DiskError: the place cannot be written.
    """
    cells = [
        {
            "model": score.cell.model_label,
            "prompt": score.cell.prompt_label,
            "prompt_hash": score.cell.prompt.hash,
            "k": score.cell.k,
            "shots": score.cell.shots,
            "scores": {key: value for key, value in asdict(score.result).items() if key not in ("provenance", "parts")},
            "against_first": None if score.against_first is None else asdict(score.against_first),
            "cost": asdict(score.cost),
        }
        for score in scores
    ]
    record = {"version": VERSION, "cells": cells, "provenance": provenance}
    write_text(path, json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def write_answers(path: Path, sample: Sequence[SampledSession], scores: Sequence[CellScore]) -> None:
    """Write every answer as Parquet, a row for each cell and session.

    Raises:
        DiskError: the place cannot be written.
    """
    rows = [
        {
            "model": score.cell.model_label,
            "prompt": score.cell.prompt_label,
            "k": score.cell.k,
            "shots": score.cell.shots or 0,
            "session_id": session.session_id,
            "locale": session.locale,
            "title": title,
            "answer": answer.text,
            "last_title": session.last_title,
            "target_title": session.target,
        }
        for score in scores
        for session, title, answer in zip(sample, score.titles, score.answers, strict=True)
    ]
    with atomic_file(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows), temporary)
        temporary.chmod(0o600)  # what sessions held is its owner's
