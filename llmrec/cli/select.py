"""``llmrec select``: titles chosen, not generated."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmrec.cli.flags import assignments
from llmrec.console import out as out_console

__all__ = ["select"]


def select(
    data: Annotated[Path | None, typer.Option(help="Store made by `llmrec data import`.")] = None,
    split: Annotated[str, typer.Option(help="Split to choose for: test, validation, test_task3_phase2 …")] = "test",
    out: Annotated[Path | None, typer.Option(help="Run to write (Parquet).")] = None,
    candidates: Annotated[
        list[Path] | None, typer.Option(help="Runs of the split, titles or lists of ids, to choose from too.")
    ] = None,
    train: Annotated[list[Path] | None, typer.Option(help="Without --data: labelled sessions; several files.")] = None,
    sessions: Annotated[Path | None, typer.Option(help="Without --data: sessions to choose for.")] = None,
    products: Annotated[Path | None, typer.Option(help="Without --data: products with their titles.")] = None,
    last_title: Annotated[Path | None, typer.Option(help="Write the last titles as a run, to compare with.")] = None,
    transductive: Annotated[
        bool, typer.Option("--transductive/--inductive", help="Learn from the sessions' own prefixes too.")
    ] = False,
    cold: Annotated[
        bool, typer.Option("--cold/--warm", help="Choose for targets that no training session holds, as in Task 3.")
    ] = False,
    save: Annotated[Path | None, typer.Option(help="Keep the selector in this folder.")] = None,
    load: Annotated[Path | None, typer.Option(help="A kept selector; nothing is learnt.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Recipe by name or file; `select` if not given.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the recipe, as name=value; may be repeated.")
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option(help="Switch off: own, cut, likely, given, or a ranker; may be repeated.")
    ] = None,
    ablate: Annotated[
        list[str] | None,
        typer.Option(help="Write nothing: learn again without this kind or ranker, and print what BLEU loses."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what a killed run left beside RUN.")] = False,
    allow_overlap: Annotated[
        bool,
        typer.Option("--allow-overlap", help="Let training rows repeat a session with its label."),
    ] = False,
    limit: Annotated[int | None, typer.Option(help="Only the first sessions; the run is stamped partial.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of folds, draws and trees; the recipe's, or 0.")] = None,
) -> None:
    """Choose the next title of every session among its own, those of likely products, and those of given runs.

    Example: llmrec select --data STORE --split test --out runs/titles.parquet
    """
    from llmrec.reporting.ablation import render_ablation
    from llmrec.selection.select_titles import SelectJob, run_ablation_job, run_select_job

    settings = assignments(changes or [])
    job = SelectJob(
        data=data,
        split=split,
        train=train or (),
        sessions=sessions,
        products=products,
        out=out,
        last_title=last_title,
        candidates=candidates or (),
        recipe=recipe,
        settings=settings | ({"without": list(without)} if without else {}),
        transductive=transductive,
        cold=cold,
        save=save,
        load=load,
        resume=resume,
        limit=limit,
        seed=seed,
        allow_overlap=allow_overlap,
    )
    if ablate:
        out_console.print(render_ablation(run_ablation_job(job, ablate)), markup=False)
    else:
        run_select_job(job)
