"""The paper's figures of a whole data set."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench.measure import RUNS, Size, app, measure, show, store_of

__all__ = ["stats"]


def _statistics(store: Path, out: Path, sknn_sample: int) -> None:
    from llmrec.paper.statistics.describe import run_statistics_job
    from llmrec.paper.statistics.job import StatisticsJob

    run_statistics_job(StatisticsJob(data=store, out=out, sknn_sample=sknn_sample))


@app.command()
def stats(size: Size = "full", sknn_sample: int = 10_000) -> None:
    """Count Tables 1-2 and Figures 2, 4 and 5, and write them; without and with the SKNN scores of a sample."""
    store, out = store_of(size), RUNS / f"stats-{size}"
    rows = []
    for sample, what in ((0, "tables and figures short of 2f"), (sknn_sample, f"the same with 2f, {sknn_sample:,}")):
        shutil.rmtree(out, ignore_errors=True)
        rows.append((f"{size}: {what}", measure(_statistics, store, out, sample), ""))
    show("stats", rows)
