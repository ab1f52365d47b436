"""``llmrec rank``: products in order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmrec.console import out as out_console
from llmrec.rankers.settings import RankJob
from llmrec.settings import option

__all__ = ["Rank", "rank"]


@dataclass(frozen=True, kw_only=True)
class Rank(RankJob):
    """What to rank, or to do with the same files instead.

    Example: llmrec rank covisit --train train.parquet --sessions test.parquet --out runs/covisit.parquet
    """

    atomic: Path | None = option(
        None, "Write the sessions as RecBole's atomic files here; nothing is learnt.", output="folder"
    )
    ablate: bool = option(False, "Of fusion: print what each source and feature group is worth, no more.")


def rank(job: Rank) -> Any:
    """Rank, ablate or export; errors are those of `llmrec.rankers.rank.run_rank_job`."""
    from llmrec.rankers.rank import export_job, run_rank_job

    if job.ablate:
        from llmrec.rankers.fusion.ablation import ablate_job
        from llmrec.reporting.ablation import render_ablation

        found = ablate_job(job)
        out_console.print(render_ablation(found))
        return found
    if job.atomic is not None:
        export_job(job, job.atomic)
    else:
        run_rank_job(job)
    return None
