"""What the user sees while waiting: progress bars and tables on stderr, results on stdout.

Everything that is printed is text: no markup is read in it, and `llmrec.display` makes what it hides visible. Only this
file knows rich, so nothing is printed past it.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from typing import Any, ClassVar, Final, TypeVar

from rich.console import Console, Group, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from llmrec.display import for_json, for_terminal, shortened, visible
from llmrec.errors import without_secrets
from llmrec.processes import is_first_process

__all__ = [
    "Group",
    "PlainFormatter",
    "Progress",
    "RenderableType",
    "Table",
    "busy",
    "complain",
    "heard",
    "never_silent",
    "notice",
    "notice_once",
    "out",
    "print_json",
    "progress_bar",
    "recap",
    "stderr",
    "table",
    "take_any_encoding",
    "track",
]

T = TypeVar("T")
FIRST_LINE_S: Final = 2.0
LINE_EVERY_S: Final = 10.0

LINE_CHARACTERS: Final = 4_000  # of a message; a title of a megabyte would drown what is wrong with it
CELL_CHARACTERS: Final = 1_000


def take_any_encoding() -> None:
    r"""Let standard output and error escape what their encoding does not have (``\u65e5``), where they would fail."""
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", "") in ("strict", "surrogateescape") and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


class _Console(Console):
    """A console for which every string is text, wherever it stands: by itself, in a table, in a group."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **settings)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print; an encoding without the characters is no error."""
        take_any_encoding()
        super().print(*objects, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Rich's step from a string to what is printed."""
        return super().render_str(for_terminal(text), **options | {"markup": False, "emoji": False})


class _Beside(_Console):
    """A console for what is said beside the work: where it cannot be written, the work goes on."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print if that works."""
        with suppress(OSError):
            super().print(*objects, **options)

    def on_broken_pipe(self) -> None:
        """Say no more where nobody reads."""
        self.quiet = True


_HEARD: Final[list[list[str]]] = []

out = _Console(soft_wrap=True)
stderr = _Beside(stderr=True)


class PlainFormatter(logging.Formatter):
    """Log records as text without secrets, like everything else that is printed."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's message."""
        return visible(shortened(without_secrets(super().format(record)), LINE_CHARACTERS), breaks=True)


def recap(told: RenderableType) -> None:
    """Print on stdout what a file that was written holds too; nothing under ``--quiet``."""
    if not stderr.quiet:
        out.print(told)


def notice(message: str) -> None:
    """Tell the user something on stderr, as one plain line without secrets (no markup is read from ``message``)."""
    line = shortened(without_secrets(message), LINE_CHARACTERS)
    for told in _HEARD:
        told.append(line)
    _say(line)


@contextmanager
def heard(told: list[str]) -> Iterator[None]:
    """Note what is told while the block runs, in ``told``; progress is not."""
    _HEARD.append(told)
    try:
        yield
    finally:
        _HEARD.remove(told)


def complain(message: str) -> None:
    """Tell the user what is wrong, as `notice`, also where less was asked to be told."""
    quiet, stderr.quiet = stderr.quiet, False
    _say(shortened(without_secrets(message), LINE_CHARACTERS))
    stderr.quiet = quiet


def _say(line: str) -> None:
    stderr.print(visible(line), soft_wrap=True)


def print_json(value: Any) -> None:
    """Print a value on stdout as JSON; what is read of it is exactly the value."""
    take_any_encoding()
    out.file.write(for_json(value, ascii_only=not out.encoding.startswith("utf")) + "\n")


@cache
def notice_once(message: str) -> None:
    """`notice`, but the same message only once in a process."""
    notice(message)


class _Words(ProgressColumn):
    """A task's description, or one of its fields."""

    def __init__(self, field: str = "") -> None:
        super().__init__()
        self.field = field

    def render(self, task: Task) -> Text:
        """The words of a task."""
        return _cell(str(task.fields[self.field] if self.field else task.description))


class _Lines(Progress):
    """Progress for a log file: a line after ``first_s`` seconds, and more after gaps that grow to `LINE_EVERY_S`.

    Of those inside each other the innermost that has anything to say speaks.
    """

    running: ClassVar[list[_Lines]] = []

    def __init__(self, *columns: Any, first_s: float | None = None, **settings: Any) -> None:
        super().__init__(*columns, **settings)
        self.first_s = FIRST_LINE_S if first_s is None else first_s

    def start(self) -> None:
        """Start to write lines."""
        self._over = threading.Event()
        self.running.append(self)
        threading.Thread(target=self._write, args=(self._over,), daemon=True).start()

    def stop(self) -> None:
        """Write no more lines."""
        self._over.set()
        if self in self.running:
            self.running.remove(self)

    @property
    def unfinished(self) -> list[Task]:
        """Tasks that there is something to say of."""
        return [task for task in self.tasks if task.visible and not task.finished]

    def _write(self, over: threading.Event) -> None:
        gap = self.first_s
        while not over.wait(gap):
            speaking = [one for one in [*self.running] if one.unfinished]
            for task in self.unfinished if speaking[-1:] == [self] else ():
                _say(_line(task))
            gap = min(2 * gap, LINE_EVERY_S)


def _line(task: Task) -> str:
    """A task as ``train: 120/1,000 after 0:00:14, about 0:01:42 left, loss 3.123``."""
    took, left = (None if one is None else timedelta(seconds=int(one)) for one in (task.elapsed, task.time_remaining))
    counted = f"{task.completed:,.0f}/{task.total:,.0f} after {took}" if task.total else f"{took}"
    notes = [f"about {left} left"] if left is not None else []
    notes += [task.fields["note"]] if task.fields.get("note") else []
    return ", ".join([f"{task.description}: {counted}", *notes])


def progress_bar(*, transient: bool = False) -> Progress:
    """Build a progress bar on stderr: plain lines where that is no terminal; of several processes only the first's.

    A ``transient`` one is gone from a terminal when it has ended.
    """
    take_any_encoding()
    live, first = stderr.is_terminal, is_first_process()
    kind = Progress if live or not first else _Lines
    return kind(
        SpinnerColumn("dots" if stderr.encoding.startswith("utf") else "line"),
        _Words(),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        _Words("note"),
        console=stderr,
        transient=transient,
        disable=not (live and first),
    )


@contextmanager
def never_silent(description: str) -> Iterator[None]:
    """Where stderr is no terminal, write a line every `LINE_EVERY_S` in which nothing inside shows how far it is."""
    if stderr.is_terminal or not is_first_process():
        yield
        return
    with _Lines(console=stderr, first_s=LINE_EVERY_S) as bar:
        bar.add_task(description, total=None, note="")
        yield


@contextmanager
def busy(description: str) -> Iterator[None]:
    """Show that work of unknown length goes on inside."""
    with progress_bar(transient=True) as bar:
        bar.add_task(description, total=None, note="")
        yield


def track(items: Iterable[T], description: str, total: int) -> Iterable[T]:
    """Iterate with a progress bar."""
    with progress_bar() as bar:
        task = bar.add_task(description, total=total, note="")
        for item in items:
            yield item
            bar.advance(task)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Build a table: the first column to the left, the others to the right."""
    built = Table(title=_cell(title), title_justify="left")
    for position, column in enumerate(columns):
        built.add_column(_cell(column), justify="left" if position == 0 else "right")
    for row in rows:
        built.add_row(*map(_cell, row))
    return built


def _cell(text: str) -> Text:
    return Text(for_terminal(visible(shortened(text, CELL_CHARACTERS))))
