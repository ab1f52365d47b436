"""What the user sees while waiting: progress bars and tables on stderr, results on stdout."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Final, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from llmrec.errors import without_secrets
from llmrec.processes import is_first_process

__all__ = ["busy", "notice", "notice_once", "out", "progress_bar", "stderr", "table", "track"]

T = TypeVar("T")
FIRST_LINE_S: Final = 2.0
LINE_EVERY_S: Final = 10.0

out = Console(highlight=False, soft_wrap=True)
stderr = Console(stderr=True, highlight=False)


def notice(message: str) -> None:
    """Tell the user something on stderr, as one plain line without secrets (no markup is read from ``message``)."""
    stderr.print(without_secrets(message), markup=False, soft_wrap=True)


@cache
def notice_once(message: str) -> None:
    """`notice`, but the same message only once in a process."""
    notice(message)


class _Lines(Progress):
    """Progress for a log file: a line after `FIRST_LINE_S` seconds, and more after gaps that grow to `LINE_EVERY_S`."""

    def start(self) -> None:
        """Start to write lines."""
        self._over = threading.Event()
        threading.Thread(target=self._write, args=(self._over,), daemon=True).start()

    def stop(self) -> None:
        """Write no more lines."""
        self._over.set()

    def _write(self, over: threading.Event) -> None:
        gap = FIRST_LINE_S
        while not over.wait(gap):
            for task in self.tasks:
                if task.visible and not task.finished:
                    notice(_line(task))
            gap = min(2 * gap, LINE_EVERY_S)


def _line(task: Task) -> str:
    """A task as ``train: 120/1,000 after 0:00:14, about 0:01:42 left, loss 3.123``."""
    took, left = (None if one is None else timedelta(seconds=int(one)) for one in (task.elapsed, task.time_remaining))
    counted = f"{task.completed:,.0f}/{task.total:,.0f} after {took}" if task.total else f"{took}"
    notes = [f"about {left} left"] if left is not None else []
    notes += [task.fields["note"]] if task.fields.get("note") else []
    return ", ".join([f"{task.description}: {counted}", *notes])


def progress_bar() -> Progress:
    """Build a progress bar on stderr: plain lines where that is no terminal; of several processes only the first's."""
    live, first = stderr.is_terminal, is_first_process()
    kind = Progress if live or not first else _Lines
    return kind(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=stderr,
        disable=not (live and first),
    )


@contextmanager
def busy(description: str) -> Iterator[None]:
    """Show that work of unknown length goes on inside."""
    with progress_bar() as bar:
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
    """Build a rich table: the first column to the left, the others to the right; no text is read as markup."""
    built = Table(title=escape(title), title_justify="left")
    for position, column in enumerate(columns):
        built.add_column(escape(column), justify="left" if position == 0 else "right")
    for row in rows:
        built.add_row(*map(escape, row))
    return built
