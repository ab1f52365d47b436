"""``history.jsonl``: what each validation of a training found, one line each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from llmrec.errors import ModelError
from llmrec.output import write_text
from llmrec.records import line_text, read_lines

__all__ = ["HISTORY", "read_history", "write_history"]

HISTORY: Final = "history.jsonl"


def read_history(folder: Path, until: int | None = None) -> list[dict[str, Any]]:
    """Entries of a training, those after step ``until`` left out; none where there is no such file.

    Values are numbers, or None for one that was not finite.

    Raises:
        ModelError: a line is damaged, or steps do not rise.
    """
    file, again = folder / HISTORY, "remove it, or train again without --resume"
    if not file.is_file():
        return []
    entries = list(read_lines(file, dict[str, int | float | None], again, error=ModelError))
    steps = [step for entry in entries if isinstance(step := entry.get("step"), int)]
    if len(steps) < len(entries) or steps != sorted(set(steps)):
        raise ModelError(f"{file}: damaged (its steps do not rise); {again}")
    return [entry for entry, step in zip(entries, steps, strict=True) if until is None or step <= until]


def write_history(folder: Path, entries: Sequence[dict[str, Any]]) -> None:
    """Write all entries anew: a file that is whole at any time."""
    write_text(folder / HISTORY, "".join(line_text(entry, line) for line, entry in enumerate(entries, 1)))
