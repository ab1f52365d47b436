"""The command line: thin verbs over the library, a file for each group; the scripts call `run`."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, TypeVar

import typer

from llmrec import __version__
from llmrec.cli import (
    alignment,
    data,
    embed,
    fusion,
    generation,
    models,
    prompts,
    ranking,
    reproduce,
    results,
    retrieval,
    select,
    statistics,
)
from llmrec.cli.flags import as_command, spread
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
PANELS: Final = {
    "Data": (data.app, statistics.stats),
    "The next product": (ranking.rank, ranking.tune, fusion.blend, fusion.explain),
    "The next title": (
        prompts.app,
        select.select,
        reproduce.last_title,
        generation.plan,
        generation.sweep,
        generation.merge_adapter,
        models.trim,
    ),
    "Text": (
        embed.app,
        retrieval.index,
        retrieval.similar,
        retrieval.ground,
        alignment.evaluate_alignment,
        alignment.impute,
    ),
    "Scores": (ranking.evaluate, results.results, reproduce.reproduce),
}
for _panel, _verbs in PANELS.items():
    for _verb in _verbs:
        if isinstance(_verb, typer.Typer):
            app.add_typer(_verb, rich_help_panel=_panel)
        else:
            app.command(no_args_is_help=True, rich_help_panel=_panel)(_verb)


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
