"""``llmrec reproduce``: the paper's tables and figures, measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llmrec.cli.document import tell_result
from llmrec.console import notice
from llmrec.console import out as out_console
from llmrec.errors import ConfigError
from llmrec.paper.reproduction.job import ReproduceJob
from llmrec.settings import option

__all__ = ["Reproduce", "reproduce"]


@dataclass(frozen=True, kw_only=True)
class Reproduce(ReproduceJob):
    """What to measure, and which page to write.

    Each cell is OK, NEAR or FAIL, or NEW without a value to compare with. A FAIL ends in status 1.

    Example: llmrec reproduce table10 --data ../shared/data/amazon-m2 --resume

    Example: llmrec reproduce all --data stores/m2 --plan

    Example: llmrec reproduce all --data stores/m2 --launch accelerate_configs/a6000x8.yaml --resume
    """

    plan: bool = option(False, "Estimate time and memory of each row, and run nothing.")
    write_docs: Path | None = option(
        None, "Write the page of recorded measurements (docs/reproduction.md).", output="text"
    )


def reproduce(job: Reproduce) -> None:
    """Print the tables, and write the pages.

    Raises:
        LlmrecError: as `llmrec.paper.reproduction.reproduce.reproduce`.
        SystemExit: a cell failed; status 1.
    """
    from llmrec.paper.reproduction.docs import write_docs_page
    from llmrec.paper.reproduction.report import cells_of, render_tables, reproduce_and_report
    from llmrec.paper.reproduction.reproduce import TableOutcome

    if not job.tables and job.write_docs is None:
        raise ConfigError("nothing to reproduce: name a table, for instance table10, or all")
    outcomes: list[TableOutcome] = []
    if job.plan:
        from llmrec.paper.reproduction.plan import make_plan, plan_as_json, render_plan

        plan = make_plan(job)
        out_console.print(render_plan(plan))
        tell_result(plan_as_json(plan))
        return
    if job.tables:
        outcomes, page = reproduce_and_report(job)
        out_console.print(render_tables(outcomes))
        if page is not None:
            notice(f"the same as a page: {page}")
    if job.write_docs is not None:
        write_docs_page(job.write_docs, job.records)
        notice(f"wrote {job.write_docs}")
    tell_result(cells_of(outcomes))
    if any(outcome.failed for outcome in outcomes):
        raise SystemExit(1)
