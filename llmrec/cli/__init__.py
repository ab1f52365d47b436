"""The command line: thin verbs over the library, each a dataclass and a function; the scripts call `run`."""

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
    generation,
    models,
    prompts,
    ranking,
    reproduce,
    retrieval,
    select,
    statistics,
)
from llmrec.cli.flags import VerbCommand, command_of, spread
from llmrec.cli.verbs import PANELS
from llmrec.console import stderr
from llmrec.errors import LlmrecError

__all__ = ["app", "main", "run"]

C = TypeVar("C")

_app = typer.Typer(
    name="llmrec",
    help="Multilingual shopping sessions in; the next product and its title out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
_OLD: Final[dict[str, tuple[Any, ...]]] = {
    "Data": (data.app, statistics.stats),
    "The next product": (ranking.rank, ranking.tune),
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
    "Scores": (reproduce.reproduce,),
}
for _panel, _verbs in _OLD.items():
    for _verb in _verbs:
        if isinstance(_verb, typer.Typer):
            _app.add_typer(_verb, rich_help_panel=_panel)
        else:
            _app.command(no_args_is_help=True, rich_help_panel=_panel)(_verb)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"llmrec {__version__}")
        raise typer.Exit


@_app.callback()
def _root(
    _: Annotated[bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)] = False,
) -> None:
    """Multilingual shopping sessions in; the next product and its title out."""


app = typer.main.get_group(_app)
for _panel, _entries in PANELS.items():
    for _entry in _entries:
        app.add_command(VerbCommand(_entry, _panel))


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
    arguments = spread(sys.argv[1:] if argv is None else argv, ("--train", "--pretrain", "--bare", "--candidates"))
    raise SystemExit(_guarded(lambda: app(args=arguments)))


def run(config_class: type[C], function: Callable[[C], Any], argv: list[str] | None = None) -> int:
    """Run ``function`` on a config read from flags; every field of ``config_class`` is a flag, ``--recipe`` too.

    Returns:
        The exit status: 0 done, 2 the input or a setting is wrong, 1 anything else.
    """
    command = command_of(config_class, function, inspect.getdoc(sys.modules["__main__"]))
    return _guarded(lambda: command(args=argv))
