"""``llmrec select``: titles chosen, not generated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llmrec.console import out as out_console
from llmrec.selection.settings import SelectJob
from llmrec.settings import option

__all__ = ["Select", "select"]


@dataclass(frozen=True, kw_only=True)
class Select(SelectJob):
    """What to choose titles for, or what to switch off and judge.

    Candidates are titles of the session, of likely products, and of given runs.

    Example: llmrec select --data STORE --split test --out runs/titles.parquet
    """

    ablate: Sequence[str] = option(
        (), "Write no run: learn again without this kind or ranker, and print what BLEU loses."
    )


def select(job: Select) -> Any:
    """Choose, or ablate; errors are those of `llmrec.selection.select_titles.run_select_job`."""
    if job.engine == "spark":
        from llmrec.cluster.titles_on_executors import select_on_executors

        select_on_executors(job)
        return None
    from llmrec.reporting.ablation import render_ablation
    from llmrec.selection.select_titles import run_ablation_job, run_select_job

    if job.ablate:
        found = run_ablation_job(job, job.ablate)
        out_console.print(render_ablation(found))
        return found
    run_select_job(job)
    return None
