"""The command line: thin verbs over the library; the scripts call `run`."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from llmrec import __version__
from llmrec.console import notice, stderr
from llmrec.console import out as out_console
from llmrec.errors import LlmrecError, require
from llmrec.flags import as_command, assignments, choice, spread

__all__ = ["app", "main", "run"]

C = TypeVar("C")

app = typer.Typer(
    name="llmrec",
    help="Multilingual shopping sessions in; the next product and its title out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

data_app = typer.Typer(no_args_is_help=True, help="Raw files to a checked store; synthetic data.")
prompts_app = typer.Typer(no_args_is_help=True, help="Prompts: list, render, build a dataset of them.")
app.add_typer(data_app, name="data")
app.add_typer(prompts_app, name="prompts")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"llmrec {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)] = False,
) -> None:
    """Multilingual shopping sessions in; the next product and its title out."""


@data_app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="Folder with the raw files, or the authors' repository.")],
    out: Annotated[Path, typer.Argument(help="The store to write; an older store there is replaced at the end.")],
    seed: Annotated[int, typer.Option(help="Draws the validation sessions.")] = 0,
    validation_share: Annotated[float, typer.Option(help="Share of training sessions kept for validation.")] = 0.1,
) -> None:
    """Read the official CSVs, the authors' repository or plain Parquet into a checked store.

    Example: llmrec data import ~/amazon-m2 stores/m2
    """
    from llmrec.data.importing import import_dataset
    from llmrec.data.summary import render_summary

    out_console.print(render_summary(import_dataset(source, out, seed=seed, validation_share=validation_share)))
    notice(f"next: accelerate launch scripts/gen.py --data {out} --k 3")


@data_app.command()
def synth(
    out: Annotated[Path, typer.Argument(help="Folder for the official CSV layout.")],
    size: Annotated[str, typer.Option(help="tiny, small (1/50) or full (3.6 M sessions).")] = "tiny",
    seed: Annotated[int, typer.Option(help="The same seed and size give the same bytes.")] = 0,
    report: Annotated[bool, typer.Option("--report", help="Set its figures beside the paper's.")] = False,
) -> None:
    """Write synthetic Amazon-M2 sessions and products, in six languages.

    Example: llmrec data synth raw/small --size small --report
    """
    from llmrec.data.synth import measure_synthetic, render_report, synthesize, write_report

    synthesize(out, size=size, seed=seed)
    if report:
        figures = measure_synthetic(out)
        write_report(figures, out)
        out_console.print(render_report(figures))
    notice(f"next: llmrec data import {out} STORE")


@data_app.command()
def holdout(
    file: Annotated[Path, typer.Argument(help="Sessions, labelled or bare: Parquet or CSV.")],
    out: Annotated[Path, typer.Argument(help="Folder for train, sessions and targets (.parquet).")],
    share: Annotated[float, typer.Option(help="Share of each locale's sessions.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Draws them.")] = 0,
    locale: Annotated[list[str] | None, typer.Option(help="Only this locale; may be repeated.")] = None,
) -> None:
    """Hold out a share of a sessions file: what to learn from, what to rank for, and the targets.

    A session without next_item gives its last item, if two others stay.

    Example: llmrec data holdout sessions.parquet runs/holdout --share 0.1
    """
    from llmrec.data.holdout import hold_out

    made = hold_out(file, out, share=share, seed=seed, locales=locale)
    notice(f"{made.num_train:,} sessions to learn from, {made.num_held_out:,} held out, in {out}")
    notice(f"next: llmrec rank covisit --train {made.train} --sessions {made.sessions} --out RUN")


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="Run file: ranked lists or titles.")],
    targets: Annotated[Path, typer.Option(help="Targets of its split: Parquet or CSV.")],
    products: Annotated[
        Path | None, typer.Option(help="Titles of the targets; products.parquet beside them if not given.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the result here as well.")] = None,
    compare: Annotated[Path | None, typer.Option(help="Another run; adds the difference and its interval.")] = None,
) -> None:
    """Score a run: BLEU for titles; MRR, Recall and NDCG @100 for ranked lists; per locale and overall.

    Example: llmrec evaluate runs/demo/titles_validation.parquet --targets STORE/sessions_validation.parquet
    """
    from llmrec.evaluation.evaluate import evaluate_run
    from llmrec.evaluation.results import write_result
    from llmrec.evaluation.tables import render_markdown

    result = evaluate_run(run, targets, products=products, compare=compare)
    if json is not None:
        write_result(json, result)
    out_console.print(render_markdown(result), markup=False)


@app.command(no_args_is_help=True)
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
    atomic: Annotated[
        Path | None, typer.Option(help="Write the sessions as RecBole's atomic files here; nothing is learnt.")
    ] = None,
) -> None:
    """Rank the next products of sessions: learn from files, or load a kept ranker.

    Example: llmrec rank covisit --train train.parquet --sessions test.parquet --out runs/covisit.parquet
    """
    from llmrec.rankers.job import RankJob, export_job, run_rank_job

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
    )
    if atomic is not None:
        export_job(job, atomic)
    else:
        run_rank_job(job)


@app.command(no_args_is_help=True)
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
        )
    )


@prompts_app.command("list")
def list_prompts() -> None:
    """Show the prompts that come with the package.

    Example: llmrec prompts list
    """
    from llmrec.prompts import prompt_table

    out_console.print(prompt_table())


@prompts_app.command()
def render(
    name: Annotated[str, typer.Argument(help="Prompt by name or file.")],
    data: Annotated[Path, typer.Option(help="Store.")],
    session: Annotated[int, typer.Option(help="Row of the session in its source file, from 0.")],
    split: Annotated[str, typer.Option(help="Split of the session.")] = "validation",
    k: Annotated[int, typer.Option(help="Number of most recent titles.", min=1)] = 3,
) -> None:
    """Print the prompt of one session.

    Example: llmrec prompts render instruct --data STORE --split test --session 12
    """
    from llmrec.data.store import Store
    from llmrec.generation.recent_products import render_session
    from llmrec.prompts import load_prompt

    text = render_session(load_prompt(name), Store.load(data), split, session, k)
    out_console.print(text, markup=False)


@prompts_app.command()
def export(
    name: Annotated[str, typer.Argument(help="Prompt by name or file.")],
    data: Annotated[Path, typer.Option(help="Store.")],
    out: Annotated[Path, typer.Option(help="Folder for the dataset.")],
    split: Annotated[list[str], typer.Option(help="Split; may be given several times.")],
    k: Annotated[int, typer.Option(help="Number of most recent titles.", min=1)] = 3,
) -> None:
    """Save prompt sessions as a dataset with a card, for `datasets.load_dataset`.

    Example: llmrec prompts export plain --data STORE --split development --split validation --out prompts-k3
    """
    require("datasets", "generate")
    from tempfile import TemporaryDirectory

    from llmrec.data.store import Store
    from llmrec.generation.prompt_export import export_prompt_sessions
    from llmrec.generation.prompt_sessions import build_prompt_sessions
    from llmrec.prompts import load_prompt

    store, prompt = Store.load(data), load_prompt(name)
    with TemporaryDirectory(prefix="llmrec-") as cache:
        splits = {}
        for one in split:
            splits[one] = build_prompt_sessions(store, one, k=k, prompt=prompt, cache=Path(cache))
        export_prompt_sessions(splits, out, prompt=prompt, k=k, fingerprint=store.fingerprint)
    notice(f"next: python -c \"import datasets; print(datasets.load_dataset('{out}'))\"")


def _guarded(command: Callable[[], Any]) -> int:
    """Run a command: our errors are one line and status 2, an interrupt 130, any other exception is a bug."""
    try:
        command()
    except LlmrecError as error:
        stderr.print(f"error: {' '.join(str(error).split())}", markup=False, soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        stderr.print("stopped", markup=False)
        return 130
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``llmrec``; ``argv`` is the command line's own where not given."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    arguments = spread(sys.argv[1:] if argv is None else argv)
    raise SystemExit(_guarded(lambda: app(args=arguments)))


def run(config_class: type[C], function: Callable[[C], Any], argv: list[str] | None = None) -> int:
    """Run ``function`` on a config read from flags; every field of ``config_class`` is a flag, ``--recipe`` too.

    Returns:
        The exit status: 0 done, 2 the input or a setting is wrong, 1 anything else.
    """
    command = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")
    command.command(help=inspect.getdoc(sys.modules["__main__"]))(as_command(config_class, function))
    return _guarded(lambda: command(args=argv))
