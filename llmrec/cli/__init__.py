"""The command line: verbs over the library, each a dataclass and a function; the scripts call `main`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any

try:
    import typer

    from llmrec import __version__
    from llmrec.api.public import on_the_command_line
    from llmrec.cli.document import Asked, asked_for, code_of, documented, tell_error, verb_of, write
    from llmrec.cli.flags import VerbCommand, VerbGroup
    from llmrec.cli.machine import on_this_machine
    from llmrec.cli.verbs import GROUPS, PANELS
    from llmrec.console import PlainFormatter, complain, take_any_encoding
    from llmrec.errors import LlmrecError
    from llmrec.processes import first_to_say, num_processes
except KeyboardInterrupt:  # while modules load, which takes longer than they work for --help
    raise SystemExit(130) from None

__all__ = ["app", "main", "status_of"]

_UsageError: Any = typer.BadParameter.__mro__[2]  # click's, or typer's own copy of it

_root = typer.Typer(
    name="llmrec",
    help="Multilingual shopping sessions in; the next product and its title out.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"llmrec {__version__}")
        raise typer.Exit


@_root.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    pass


_verbs_by_name = {verb.words: verb for verbs in PANELS.values() for verb in verbs}
app: Any = typer.main.get_command(_root)
_groups = {name: VerbGroup(name, text) for name, text in GROUPS.items()}
for _panel, _verbs in PANELS.items():
    for _verb in _verbs:
        _inside = _groups.get(_verb.words.split()[0], app)
        if _inside is not app:
            _inside.rich_help_panel = _panel
            app.add_command(_inside)
        _inside.add_command(VerbCommand(_verb, _panel))


def _guarded(command: Callable[[], Any], *, shared: bool = False) -> int:
    """Run a command: our errors are one line and status 2, an interrupt 130, any other exception is a bug.

    Args:
        command: Gives an exit status.
        shared: Whether the processes of a launcher share its work.
    """
    try:
        with on_this_machine(), on_the_command_line(), _together(shared):
            take_any_encoding()
            status = command()
    except LlmrecError as error:
        return _refused(code_of(error), str(error))
    except _UsageError as error:
        words = getattr(getattr(error, "ctx", None), "command_path", "")
        message = error.format_message().rstrip(".")  # empty where the help was printed for want of arguments
        return _refused("usage", f"{message}; see {words} --help") if message else 2
    except (KeyboardInterrupt, typer.Abort):
        tell_error("interrupted", "stopped")
        complain("stopped")
        return 130
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if status:
            tell_error("failed", f"ended with status {status}")
        return status
    return status if isinstance(status, int) else 0


def _together(shared: bool) -> AbstractContextManager[None]:
    if not shared or num_processes() == 1:
        return nullcontext()
    from llmrec.training.nodes import together

    return together()


def _refused(code: str, message: str) -> int:
    tell_error(code, message)
    if first_to_say():
        complain(f"error: {' '.join(message.split())}")
    return 2


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``llmrec``; ``argv`` is the command line's own where not given."""
    raise SystemExit(status_of(argv))


def status_of(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Returns:
        The exit status: 0 done, 2 the input or a setting is wrong, 130 interrupted, 1 anything else.
    """
    logging.basicConfig(level=logging.WARNING)
    for handler in logging.root.handlers:
        handler.setFormatter(PlainFormatter())
    words = list(sys.argv[1:] if argv is None else argv)
    verb = verb_of(words, list(_verbs_by_name), VerbGroup.DEFAULT)
    asked = asked_for(words, _verbs_by_name[verb].job) if verb else Asked(words)
    with documented(verb, asked) as document:
        status = 1
        try:
            shared = bool(verb and _verbs_by_name[verb].shared)
            status = _guarded(lambda: app(args=asked.words, standalone_mode=False), shared=shared)
        except Exception as error:
            tell_error("bug", f"{type(error).__name__}: {error}")
            raise
        finally:
            if asked.document:
                write(document, status)
    return status
