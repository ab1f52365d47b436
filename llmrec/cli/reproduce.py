"""``llmrec reproduce``: the paper's tables and figures; ``llmrec last-title``: its baseline of Task 3."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmrec.console import notice
from llmrec.console import out as out_console

__all__ = ["last_title", "reproduce"]


def reproduce(
    tables: Annotated[
        list[str] | None,
        typer.Argument(help="table1 … table12, figure2 … figure5, all; public and industrial: ours.", metavar="TABLE"),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="A store, or a folder of public files; without it the paper's numbers alone.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for runs, models, records and pages; runs/reproduce-DATA if not given.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Let what has finished there stand, and go on.")] = False,
    only: Annotated[
        list[str] | None, typer.Option(help="A cell: ROW, or ROW/COLUMN, with * and ?; may be repeated.")
    ] = None,
    launch: Annotated[
        Path | None,
        typer.Option(help="An accelerate configuration for trainings, of accelerate_configs/ for instance."),
    ] = None,
    recorded: Annotated[
        Path | None, typer.Option(help="Earlier measurements to hold against; those of the package if not given.")
    ] = None,
    record: Annotated[bool, typer.Option("--record", help="Keep the new measurements among these.")] = False,
    write_docs: Annotated[
        Path | None, typer.Option(help="Write the page of the recorded measurements (docs/reproduction.md).")
    ] = None,
) -> None:
    """Measure the paper's tables and figures beside what it says: paper, ours, difference, what differs.

    Every cell is OK, NEAR or FAIL; NEW where there is nothing to hold it against. One that fails ends in status 1.

    Example: llmrec reproduce table10 --data ../shared/data/amazon-m2 --resume

    Example: llmrec reproduce all --data stores/m2 --launch accelerate_configs/a6000x8.yaml --resume
    """
    from llmrec.errors import ConfigError
    from llmrec.paper.reproduction.docs import write_docs_page
    from llmrec.paper.reproduction.records import RECORDED
    from llmrec.paper.reproduction.report import reproduce_and_report
    from llmrec.paper.reproduction.reproduce import ReproduceJob

    if not tables and write_docs is None:
        raise ConfigError("nothing to reproduce: name a table, for instance table10, or all")
    measured = recorded or RECORDED
    failed = False
    if tables:
        job = ReproduceJob(
            tables=tables,
            data=data,
            out=out,
            resume=resume,
            only=only or (),
            recorded=measured,
            record=record,
            launch=launch,
        )
        text, failed, page = reproduce_and_report(job)
        out_console.print(text, markup=False)
        if page is not None:
            notice(f"the same as a page: {page}")
    if write_docs is not None:
        write_docs_page(write_docs, measured)
        notice(f"wrote {write_docs}")
    if failed:
        raise typer.Exit(1)


def last_title(
    store: Annotated[Path, typer.Argument(help="Store made by `llmrec data import`.")],
    out: Annotated[Path, typer.Option(help="Run to write (Parquet).")],
    split: Annotated[str, typer.Option(help="validation, test, test_task3_phase2 …")] = "validation",
) -> None:
    """Write the title of each session's last product, the paper's baseline of Task 3, as a run.

    Example: llmrec last-title stores/m2 --split test_task3_phase1 --out runs/last_title.parquet
    """
    from llmrec.data.store import Store
    from llmrec.titles.last_title import write_last_titles

    number = write_last_titles(Store.load(store), split, out)
    notice(f"{number:,} titles in {out}; score them: llmrec evaluate {out} --targets FILE --products FILE")
