"""``llmrec results``: results of several runs in one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmrec.console import out as out_console

__all__ = ["results"]


def results(
    files: Annotated[
        list[str], typer.Argument(metavar="RESULT...", help="RESULT.json of llmrec evaluate, or METHOD=RESULT.json.")
    ],
    metrics: Annotated[
        list[str] | None, typer.Option(help="mrr@100, recall@100, ndcg@100, hit@10, bleu; several; all if not given.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the Markdown here as well.")] = None,
) -> None:
    """Set results beside each other: a method a row; locales, overall and macro of phase 1 and phase 2 as columns.

    Example: llmrec results runs/covisit1.json runs/covisit2.json CORE=runs/core1.json --metrics mrr@100
    """
    from llmrec.files import write_text
    from llmrec.reporting.standings import read_entry, standings
    from llmrec.reporting.tables import markdown_table

    lines: list[str] = []
    for title, header, rows in standings([read_entry(file) for file in files], metrics or ()):
        lines += [f"## {title}", "", *markdown_table(header, rows), ""]
    text = "\n".join(lines).rstrip() + "\n"
    if out is not None:
        write_text(out, text)
    out_console.print(text, markup=False)
