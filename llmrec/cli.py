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
from llmrec.console import stderr
from llmrec.errors import LlmrecError

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


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"llmrec {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)] = False,
) -> None:
    """Multilingual shopping sessions in; the next product and its title out."""


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
        loaded = load_recipe(recipe) if recipe else None
        function(resolve(config_class, {**flags, "recipe": recipe}, loaded))

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
        annotation = Annotated[_flag_type(kind), typer.Option(*names, help=shown, show_default=False)]
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
