"""``llmrec blend`` and ``explain``: runs in one; why a product is listed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from llmrec.console import notice

__all__ = ["blend", "explain"]


def blend(
    runs: Annotated[list[Path], typer.Argument(help="Runs of ranked lists of one split, two or more.")],
    out: Annotated[Path, typer.Option(help="Run to write (Parquet).")],
    weight: Annotated[list[float] | None, typer.Option(help="Weight of each run, in order; all alike if none.")] = None,
    damping: Annotated[float, typer.Option(help="A rank is worth 1 / (this + rank).")] = 10.0,
    k: Annotated[int, typer.Option(help="Most items of a list.")] = 100,
) -> None:
    """Blend runs of the same sessions by their ranks.

    Example: llmrec blend runs/covisit.parquet runs/gru4rec.parquet --out runs/blend.parquet
    """
    from llmrec.evaluation.blend import blend_runs
    from llmrec.evaluation.provenance import collect_provenance

    started = time.monotonic()
    blend_runs(runs, out, weight, damping, k, lambda: collect_provenance(None, None, None, started))
    notice(f"{len(runs)} runs in one: {out}; score it: llmrec evaluate {out} --targets FILE")


def explain(
    model: Annotated[Path, typer.Argument(help="Folder of a fused ranker, as `llmrec rank fusion --save` leaves it.")],
    sessions: Annotated[Path, typer.Option(help="Sessions to explain the lists of: Parquet or CSV.")],
    out: Annotated[Path, typer.Option(help="JSON file to write.")],
    k: Annotated[int, typer.Option(help="Products explained of each list.")] = 10,
    limit: Annotated[int, typer.Option(help="Only the first sessions.")] = 100,
) -> None:
    """Say why products are where they are: their ranks at the sources, and what each feature adds to the score.

    Example: llmrec explain models/fusion --sessions test.parquet --out why.json
    """
    from llmrec.rankers.fusion.explain import explain_file

    explain_file(model, sessions, out, k, limit)
    notice(f"explained in {out}")
