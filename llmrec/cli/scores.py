"""``llmrec evaluate`` and ``results``: score a run; results of several runs in one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llmrec.console import out as out_console
from llmrec.settings import option

__all__ = ["EvaluateJob", "ResultsJob", "evaluate", "results"]


@dataclass(frozen=True, kw_only=True)
class EvaluateJob:
    """A run and what to score it by.

    With --compare, differences have a paired bootstrap interval and a p by approximate randomisation.

    Example: llmrec evaluate runs/demo/titles_validation.parquet --targets STORE/sessions_validation.parquet
    """

    run: Path = option(..., "Run file: ranked lists or titles.", argument=True)
    targets: Path = option(..., "Targets of its split: Parquet or CSV.")
    products: Path | None = option(None, "Titles of the targets; products.parquet beside them if not given.")
    json: Path | None = option(None, "Write the result here as well.")
    compare: Path | None = option(None, "Another run; adds the difference and its interval.")
    train: Sequence[Path] = option(
        (), "What the ranker learnt from: tells warm from cold targets; several files.", several=True
    )
    hits: Sequence[int] = option((), "More cutoffs K for Hit@K; several.", several=True)
    by: Sequence[str] = option(
        (),
        "Score apart, with intervals: locale, length, repeats, popularity, novelty (warm, cold); several.",
        several=True,
    )
    sessions: Path | None = option(
        None, "prev_items for --by length and repeats; TARGETS or its neighbour if not given."
    )
    samples: int = option(1000, "Resampled test sets of intervals, swaps of p.", minimum=1)


def evaluate(job: EvaluateJob) -> None:
    """Score a run and print the result.

    Raises:
        LlmrecError: as `llmrec.evaluation.evaluate.evaluate_run`.
    """
    from llmrec.evaluation.evaluate import evaluate_run
    from llmrec.evaluation.results import write_result
    from llmrec.reporting.tables import render_markdown

    result = evaluate_run(**{name: value for name, value in vars(job).items() if name != "json"})
    if job.json is not None:
        write_result(job.json, result)
    out_console.print(render_markdown(result), markup=False)


@dataclass(frozen=True, kw_only=True)
class ResultsJob:
    """Results to set beside each other.

    Example: llmrec results runs/covisit1.json runs/covisit2.json CORE=runs/core1.json --metrics mrr@100
    """

    files: Sequence[str] = option(
        ..., "RESULT.json of llmrec evaluate, or METHOD=RESULT.json.", argument=True, metavar="RESULT..."
    )
    metrics: Sequence[str] = option(
        (), "mrr@100, recall@100, ndcg@100, hit@10, bleu; several; all if not given.", several=True
    )
    out: Path | None = option(None, "Write the Markdown here as well.")


def results(job: ResultsJob) -> None:
    """Print results as Markdown tables.

    Raises:
        LlmrecError: as `llmrec.reporting.standings.read_entry`.
    """
    from llmrec.files import write_text
    from llmrec.reporting.blocks import to_markdown
    from llmrec.reporting.standings import read_entry, standings

    text = to_markdown(standings([read_entry(file) for file in job.files], job.metrics))
    if job.out is not None:
        write_text(job.out, text)
    out_console.print(text, markup=False)
