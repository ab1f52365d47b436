"""``llmrec blend``, ``explain``, ``ablate``: runs in one; why a product is listed; what each source is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmrec.console import notice
from llmrec.console import out as out_console
from llmrec.flags import assignments

__all__ = ["ablate", "blend", "explain"]


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

    blend_runs(runs, out, weight, damping, k)
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


def ablate(
    train: Annotated[list[Path], typer.Option(help="Sessions to learn from, labelled or bare; several files.")],
    products: Annotated[Path | None, typer.Option(help="Products.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Recipe by name or file; `fusion` if not given.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the recipe, as name=value; may be repeated.")
    ] = None,
    transductive: Annotated[
        bool, typer.Option("--transductive/--inductive", help="Whether sessions to rank for will be in the counts.")
    ] = True,
) -> None:
    """Switch each source and each feature group of `fusion` off, and say what MRR and recall lose on a held-out fold.

    Example: llmrec ablate --train train.parquet --train bare.parquet
    """
    from llmrec.rankers.fusion.ablation import ablate_files, render_ablation

    settings = assignments(changes or []) | {"transductive": transductive}
    out_console.print(render_ablation(ablate_files(train, products, recipe, settings)), markup=False)
