"""Titles that a model wrote, then chosen among those and others: what ``scripts/gen.py`` runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from llmrec import titles
from llmrec.titles.settings import GenerateConfig

if TYPE_CHECKING:
    from llmrec.evaluation.results import Result
    from llmrec.titles.setup import Job

__all__ = ["GenerateConfig", "generate_titles"]


def generate_titles(config: GenerateConfig) -> Result | None:
    """`llmrec.titles.generate_titles`; with ``config.select`` a run of chosen titles is written and scored beside."""
    return titles.generate_titles(config, _select)


def _select(job: Job, run: Path, baseline: Path) -> None:
    from llmrec.selection.select_titles import SelectJob, run_select_job  # needs the `rank` extra
    from llmrec.titles.publish import score

    chosen = job.folder / f"selected_{job.split}.parquet"
    run_select_job(
        SelectJob(data=job.store.path, split=job.split, candidates=[run], out=chosen, limit=job.config.limit)
    )
    score(job, chosen, baseline)
