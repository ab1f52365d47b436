"""``llmrec stats``: the paper's Tables 1-2 and Figures 2, 4 and 5 of any sessions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmrec.console import notice
from llmrec.console import out as out_console

__all__ = ["stats"]


def stats(
    store: Annotated[Path, typer.Argument(help="Store, folder of raw files, or one file of sessions.")],
    out: Annotated[Path | None, typer.Option(help="Folder for report.html, and CSV, PNG and SVG of each.")] = None,
    split: Annotated[
        str | None, typer.Option(help="Split that the figures count; training, or all where there is none.")
    ] = None,
    sknn_sample: Annotated[int, typer.Option(help="Sessions scored for Figure 2f; 0 leaves it out.", min=0)] = 10_000,
    seed: Annotated[int, typer.Option(help="Draws them.")] = 0,
) -> None:
    """Count what the paper's Tables 1-2 and Figures 2, 4 and 5 show: sizes, long tails, overlap, repeats, neighbours.

    Example: llmrec stats stores/m2 --out runs/stats
    """
    from llmrec.paper.statistics.describe import StatisticsJob, next_command, render_numbers, run_statistics_job

    job = StatisticsJob(data=store, out=out, split=split, sknn_sample=sknn_sample, seed=seed)
    numbers = run_statistics_job(job)
    out_console.print(render_numbers(job, numbers))
    if out is not None:
        notice(f"report: {out / 'report.html'}")
    notice(next_command(job, numbers))
