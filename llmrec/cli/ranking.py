"""``llmrec rank``, ``tune``, ``blend``, ``explain``: order products, search settings, runs in one, reasons."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from llmrec.cli.flags import assignments, choice
from llmrec.console import notice
from llmrec.console import out as out_console
from llmrec.settings import option

__all__ = ["BlendJob", "ExplainJob", "blend", "explain", "rank", "tune"]


def rank(
    ranker: Annotated[str, typer.Argument(help="popularity, covisit, gru4rec … (an unknown name lists them all).")],
    train: Annotated[
        list[Path] | None, typer.Option(help="Sessions to learn from, labelled or bare; several files may follow.")
    ] = None,
    sessions: Annotated[Path | None, typer.Option(help="Sessions to rank for: Parquet or CSV.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run to write (Parquet).")] = None,
    products: Annotated[Path | None, typer.Option(help="Products: lists hold what the locale sells.")] = None,
    k: Annotated[int, typer.Option(help="Most items of a list.")] = 100,
    seen: Annotated[str, typer.Option(help="drop or keep the session's own items.")] = "drop",
    transductive: Annotated[
        bool, typer.Option("--transductive/--inductive", help="Learn from the sessions' own prefixes too.")
    ] = False,
    save: Annotated[Path | None, typer.Option(help="Keep the ranker in this folder.")] = None,
    load: Annotated[Path | None, typer.Option(help="A kept ranker; with --train it goes on learning.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Recipe by name or file; RANKER's own if not given.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of a ranker that draws; the recipe's, or 0.")] = None,
    pretrain: Annotated[
        list[Path] | None, typer.Option(help="Sessions to learn from before --train (Task 2); several files.")
    ] = None,
    per_locale: Annotated[bool, typer.Option("--per-locale/--joint", help="One ranker a locale, or one.")] = False,
    engine: Annotated[str | None, typer.Option(help="duckdb or spark: where the counting runs.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the recipe, as name=value; may be repeated.")
    ] = None,
    checkpoints: Annotated[Path | None, typer.Option(help="Folder for checkpoints and logs.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from what a killed training left there.")] = False,
    limit: Annotated[int | None, typer.Option(help="Only the first sessions; the run is stamped partial.")] = None,
    allow_overlap: Annotated[
        bool,
        typer.Option("--allow-overlap", help="Let training rows repeat a session with its label."),
    ] = False,
    atomic: Annotated[
        Path | None, typer.Option(help="Write the sessions as RecBole's atomic files here; nothing is learnt.")
    ] = None,
    ablate: Annotated[
        bool, typer.Option("--ablate", help="Of fusion: print what each source and feature group is worth, no more.")
    ] = False,
) -> None:
    """Rank the next products of sessions: learn from files, or load a kept ranker.

    Example: llmrec rank covisit --train train.parquet --sessions test.parquet --out runs/covisit.parquet
    """
    from llmrec.rankers.rank import RankJob, export_job, run_rank_job

    job = RankJob(
        ranker=ranker,
        train=train or (),
        pretrain=pretrain or (),
        sessions=sessions,
        out=out,
        products=products,
        k=k,
        seen=choice(seen, "--seen", ("drop", "keep")),
        transductive=transductive,
        per_locale=per_locale,
        save=save,
        load=load,
        recipe=recipe,
        settings=assignments(changes or []) | ({"engine": engine} if engine else {}),
        seed=seed,
        folder=checkpoints,
        resume=resume,
        limit=limit,
        allow_overlap=allow_overlap,
    )
    if ablate:
        from llmrec.rankers.fusion.ablation import ablate_job
        from llmrec.reporting.ablation import render_ablation

        out_console.print(render_ablation(ablate_job(job)), markup=False)
    elif atomic is not None:
        export_job(job, atomic)
    else:
        run_rank_job(job)


def tune(
    ranker: Annotated[str, typer.Argument(help="Ranker to search settings for.")],
    train: Annotated[list[Path], typer.Option(help="Labelled sessions; a part of them is validated on.")],
    out: Annotated[Path, typer.Option(help="Recipe to write (.yaml).")],
    bare: Annotated[list[Path] | None, typer.Option(help="Sessions that are only learnt from.")] = None,
    products: Annotated[Path | None, typer.Option(help="Products.")] = None,
    space: Annotated[str | None, typer.Option(help="Search space by name or file; the paper's if not given.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Recipe for the settings that are not searched.")] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", help="A fixed setting, as name=value.")] = None,
    trials: Annotated[int, typer.Option(help="Most trials; those of a stopped search count.")] = 20,
    storage: Annotated[Path | None, typer.Option(help="Folder of the search; OUT.search if not given.")] = None,
    validation_share: Annotated[float, typer.Option(help="Share of the labelled sessions to validate on.")] = 0.1,
    transductive: Annotated[
        bool, typer.Option("--transductive/--inductive", help="Learn from the validation prefixes too.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Draws the validation part and the trials.")] = 0,
    allow_overlap: Annotated[
        bool,
        typer.Option("--allow-overlap", help="Let training rows repeat a session with its label."),
    ] = False,
) -> None:
    """Search a ranker's settings (the ranges of the paper's Appendix A) and write the best ones as a recipe.

    A search that was stopped goes on: give the same command again.

    Example: llmrec tune gru4rec --train train.parquet --recipe gru4rec_stock --out runs/gru4rec_tuned.yaml
    """
    from llmrec.rankers.tune import TuneJob, run_tune_job

    run_tune_job(
        TuneJob(
            ranker=ranker,
            train=train,
            out=out,
            bare=bare or (),
            products=products,
            space=space,
            recipe=recipe,
            settings=assignments(changes or []),
            trials=trials,
            storage=storage,
            validation_share=validation_share,
            transductive=transductive,
            seed=seed,
            allow_overlap=allow_overlap,
        )
    )


@dataclass(frozen=True, kw_only=True)
class BlendJob:
    """Runs and what each counts.

    Example: llmrec blend runs/covisit.parquet runs/gru4rec.parquet --out runs/blend.parquet
    """

    runs: Sequence[Path] = option(..., "Runs of ranked lists of one split, two or more.", argument=True)
    out: Path = option(..., "Run to write (Parquet).")
    weights: Sequence[float] | None = option(None, "Weight of each run, in order; all alike if none.", flag="--weight")
    damping: float = option(10.0, "A rank is worth 1 / (this + rank).")
    k: int = option(100, "Most items of a list.")


def blend(job: BlendJob) -> None:
    """Blend runs by their ranks and write the run.

    Raises:
        LlmrecError: as `llmrec.evaluation.blend.blend_runs`.
    """
    from llmrec.evaluation.blend import blend_runs
    from llmrec.evaluation.provenance import collect_provenance

    started = time.monotonic()
    blend_runs(**vars(job), provenance=lambda: collect_provenance(None, None, None, started))
    notice(f"{len(job.runs)} runs in one: {job.out}; score it: llmrec evaluate {job.out} --targets FILE")


@dataclass(frozen=True, kw_only=True)
class ExplainJob:
    """Lists to explain.

    Example: llmrec explain models/fusion --sessions test.parquet --out why.json
    """

    model: Path = option(..., "Folder of a fused ranker, as `llmrec rank fusion --save` leaves it.", argument=True)
    sessions: Path = option(..., "Sessions to explain the lists of: Parquet or CSV.")
    out: Path = option(..., "JSON file to write.")
    k: int = option(10, "Products explained of each list.", minimum=1)
    limit: int = option(100, "Only the first sessions.", minimum=1)


def explain(job: ExplainJob) -> None:
    """Explain the lists of a file's first sessions and write them.

    Raises:
        LlmrecError: as `llmrec.rankers.fusion.explain.explain_file`.
    """
    from llmrec.rankers.fusion.explain import explain_file

    explain_file(**vars(job))
    notice(f"explained in {job.out}")
