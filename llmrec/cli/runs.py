"""``llmrec evaluate``, ``results``, ``blend``, ``explain``: what is done with runs and their results."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from llmrec.console import notice, stderr
from llmrec.console import out as out_console
from llmrec.settings import option

if TYPE_CHECKING:
    from llmrec.evaluation.results import Result

__all__ = ["BlendJob", "EvaluateJob", "ExplainJob", "ResultsJob", "blend", "evaluate", "explain", "results"]


@dataclass(frozen=True, kw_only=True)
class EvaluateJob:
    """A run and what to score it by.

    With --compare, differences have a paired bootstrap interval and a p-value.

    Example: llmrec evaluate runs/mt5_small_k3/titles_validation.parquet --targets STORE/sessions_validation.parquet
    """

    HELP_PANELS: ClassVar[Mapping[str, str]] = {
        "Input": "targets products sessions train",
        "What to score": "compare hits cutoffs beyond by samples",
    }

    run: Path = option(..., "Run: ranked lists or titles.", argument=True)
    targets: Path = option(..., "Targets of the run's split: CSV or Parquet.")
    products: Path | None = option(
        None, "Products, to look up titles, and for --beyond. Default: products.parquet beside the targets."
    )
    json: Path | None = option(None, "Write the result to this file as well; - is standard output.", output="text")
    compare: Path | None = option(None, "Another run of the same sessions. Adds the difference with its interval.")
    train: Sequence[Path] = option(
        (),
        "Sessions that the ranker learnt from, to tell warm from cold targets. Several files can follow.",
        several=True,
    )
    hits: Sequence[int] = option((), "More cutoffs K for Hit@K. Several can follow.", several=True)
    cutoffs: Sequence[int] = option((), "More cutoffs K for MRR, Recall and NDCG. Several can follow.", several=True)
    beyond: Sequence[int] = option(
        (),
        "Cutoffs K for measures beyond accuracy: coverage, novelty, diversity and others. Several can follow.",
        several=True,
    )
    by: Sequence[str] = option(
        (),
        "Score groups apart: locale, length, repeats, popularity, novelty, time. Several can follow.",
        several=True,
    )
    sessions: Path | None = option(
        None, "Sessions, for --by length, repeats and time. Default: the targets file or its neighbour."
    )
    samples: int = option(1000, "Resamplings for intervals and p-values.", minimum=1, maximum=100_000)


def evaluate(job: EvaluateJob) -> Result:
    """Score a run and print the result.

    Raises:
        LlmrecError: as `llmrec.evaluation.evaluate.evaluate_run`.
    """
    from llmrec.evaluation.evaluate import evaluate_run
    from llmrec.evaluation.results import write_result
    from llmrec.output import is_stdout
    from llmrec.reporting.tables import render_markdown

    result = evaluate_run(**{name: value for name, value in vars(job).items() if name != "json"})
    if job.json is not None:
        write_result(job.json, result)
    console = stderr if is_stdout(job.json) else out_console
    console.print(render_markdown(result))
    return result


@dataclass(frozen=True, kw_only=True)
class ResultsJob:
    """Results to set beside each other.

    Example: llmrec results runs/covisit1.json runs/covisit2.json CORE=runs/core1.json --metrics mrr@100
    """

    files: Sequence[str] = option(
        ..., "Results of `llmrec evaluate --json`, or METHOD=RESULT.json.", argument=True, metavar="RESULT..."
    )
    metrics: Sequence[str] = option(
        (), "Metrics to show: mrr@100, recall@100, hit@10, bleu … Several can follow. Default: all.", several=True
    )
    out: Path | None = option(None, "Write the table to this file as well (Markdown).", output="text")
    plot: Path | None = option(
        None, "Draw MRR@100 against what `evaluate --beyond` measured, to this file (.png or .svg).", output="file"
    )


def results(job: ResultsJob) -> str:
    """Print results as Markdown tables.

    Raises:
        LlmrecError: as `llmrec.reporting.standings.read_entry`.
    """
    from llmrec.output import is_stdout, write_text
    from llmrec.reporting.blocks import to_markdown
    from llmrec.reporting.standings import read_entry, standings

    entries = [read_entry(file) for file in job.files]
    text = to_markdown(standings(entries, job.metrics))
    if job.plot is not None:
        from llmrec.reporting.plots import save_figure
        from llmrec.reporting.trade_offs import plot_trade_offs

        save_figure(plot_trade_offs(entries, job.metrics), job.plot)
        notice(f"trade-offs drawn in {job.plot}")
    if job.out is not None:
        write_text(job.out, text)
    if not is_stdout(job.out):
        out_console.print(text)
    return text


@dataclass(frozen=True, kw_only=True)
class BlendJob:
    """Runs and what each counts.

    Example: llmrec blend runs/covisit.parquet runs/gru4rec.parquet --out runs/blend.parquet
    """

    runs: Sequence[Path] = option(..., "Two or more runs of ranked lists of the same split.", argument=True)
    out: Path = option(..., "Run to write (Parquet).", output="run")
    weights: Sequence[float] | None = option(
        None, "Weight of each run, in order. Default: equal weights.", flag="--weight"
    )
    damping: float = option(10.0, "Damping d: an item at rank r is worth 1 / (d + r).")
    k: int = option(100, "Length of a list.")


def blend(job: BlendJob) -> None:
    """Blend runs by their ranks and write the run.

    Raises:
        LlmrecError: as `llmrec.evaluation.blend.blend_runs`.
    """
    from llmrec.evaluation.blend import blend_runs
    from llmrec.evaluation.provenance import collect_provenance

    started = time.monotonic()
    blend_runs(**vars(job), provenance=lambda: collect_provenance(None, None, None, started))
    notice(f"{len(job.runs)} runs in one: {job.out}; score it: llmrec evaluate {job.out} --targets FILE")


@dataclass(frozen=True, kw_only=True)
class ExplainJob:
    """Lists to explain.

    Example: llmrec explain models/fusion --sessions test.parquet --out why.json
    """

    model: Path = option(..., "Folder of a fused ranker: `llmrec rank fusion --save`.", argument=True)
    sessions: Path = option(..., "Sessions to explain: CSV or Parquet.")
    out: Path = option(..., "JSON file to write.", output="text")
    k: int = option(10, "Products to explain in each list.", minimum=1)
    limit: int = option(100, "Explain only the first sessions.", minimum=1)


def explain(job: ExplainJob) -> None:
    """Explain the lists of a file's first sessions and write them.

    Raises:
        LlmrecError: as `llmrec.rankers.fusion.explain.explain_file`.
    """
    from llmrec.rankers.fusion.explain import explain_file

    explain_file(**vars(job))
    notice(f"explained in {job.out}")
