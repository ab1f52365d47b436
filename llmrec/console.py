"""What the user sees while waiting: progress bars and tables on stderr, results on stdout."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

__all__ = ["notice", "notice_once", "out", "progress_bar", "stderr", "table", "track"]

T = TypeVar("T")

out = Console(highlight=False, soft_wrap=True)
stderr = Console(stderr=True, highlight=False)


def notice(message: str) -> None:
    """Tell the user something on stderr, as one plain line (no markup is read from ``message``)."""
    stderr.print(message, markup=False, soft_wrap=True)


@cache
def notice_once(message: str) -> None:
    """`notice`, but the same message only once in a process."""
    notice(message)


def progress_bar() -> Progress:
    """Build a progress bar on stderr; silent where stderr is no terminal."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=stderr,
        disable=not stderr.is_terminal,
    )


def track(items: Iterable[T], description: str, total: int) -> Iterable[T]:
    """Iterate with a progress bar."""
    with progress_bar() as bar:
        task = bar.add_task(description, total=total, note="")
        for item in items:
            yield item
            bar.advance(task)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Build a rich table: the first column to the left, the others to the right."""
    built = Table(title=title, title_justify="left")
    for position, column in enumerate(columns):
        built.add_column(column, justify="left" if position == 0 else "right")
    for row in rows:
        built.add_row(*row)
    return built
