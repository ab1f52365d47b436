"""``llmrec rank``: products in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from llmrec.console import out as out_console
from llmrec.files import uri_of
from llmrec.rankers.settings import RankJob
from llmrec.settings import option

__all__ = ["Rank", "rank"]


@dataclass(frozen=True, kw_only=True)
class Rank(RankJob):
    """What to rank, or to do with the same files instead.

    It learns from --train, or uses a ranker that --save kept. No target of the ranked sessions is read.

    Example: llmrec rank covisit --train train.parquet --sessions test.parquet --out runs/covisit.parquet
    """

    HELP_PANELS: ClassVar[Mapping[str, str]] = {
        "Instead of ranking": "atomic ablate",
    }

    atomic: Path | None = option(
        None, "Only write the sessions as RecBole atomic files to this folder.", output="folder"
    )
    ablate: bool = option(False, "Only print what each source and feature group of fusion is worth.")


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
    elif job.engine == "spark" and job.load is not None and not job.train:
        from llmrec.cluster.rank_on_executors import rank_on_executors

        rank_on_executors(job)
    elif job.engine == "spark" and any(map(uri_of, job.train)):
        from llmrec.cluster.count_on_executors import count_on_executors

        count_on_executors(job)
    else:
        run_rank_job(job)
    return None
