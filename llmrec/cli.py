"""The command line: thin verbs over the library; the scripts call `run`."""

from __future__ import annotations

import dataclasses
import inspect
import logging
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from llmrec import __version__
from llmrec.config import load_recipe, resolve
from llmrec.console import notice, stderr
from llmrec.console import out as out_console
from llmrec.errors import LlmrecError, require

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


def main() -> None:
    """Entry point of ``llmrec``."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    raise SystemExit(_guarded(app))


def run(config_class: type[C], function: Callable[[C], Any], argv: list[str] | None = None) -> int:
    """Run ``function`` on a config read from flags; every field of ``config_class`` is a flag, ``--recipe`` too.

    Returns:
        The exit status: 0 done, 2 the input or a setting is wrong, 1 anything else.
    """
    command = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")
    command.command(help=inspect.getdoc(sys.modules["__main__"]))(_as_command(config_class, function))
    return _guarded(lambda: command(args=argv))


def _as_command(config_class: type[Any], function: Callable[[Any], Any]) -> Callable[..., None]:
    """Make a typer command whose options are the fields of a config class."""
    hints = typing.get_type_hints(config_class)

    def command(recipe: str | None = None, **flags: Any) -> None:
        name = recipe or config_class.default_recipe(flags)
        loaded = load_recipe(name) if name else None
        function(resolve(config_class, {**flags, "recipe": name}, loaded))

    parameters = []
    for field in dataclasses.fields(config_class):
        kind = hints[field.name]
        names = [f"--{field.name.replace('_', '-')}"]
        if kind is bool:
            names = [f"{names[0]}/--no-{field.name.replace('_', '-')}"]
        elif "_" in field.name:
            names.append(f"--{field.name}")  # the spelling of Hugging Face's scripts
        shown = field.metadata.get("help", "")
        if field.default is not None and field.default is not dataclasses.MISSING:
            shown = f"{shown} [default: {field.default}]"
        annotated: Any = Annotated  # built from values, which a type checker takes for a wrong alias
        annotation = annotated[_flag_type(kind), typer.Option(*names, help=shown, show_default=False)]
        parameters.append(
            inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        )
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _flag_type(kind: Any) -> Any:
    """Type of the flag of a field: a literal is checked by `resolve`, which names the choices."""
    inner = next((part for part in typing.get_args(kind) if part is not type(None)), kind)
    if typing.get_origin(kind) is typing.Literal or inner not in (int, float, bool, Path):
        inner = str
    return inner | None
