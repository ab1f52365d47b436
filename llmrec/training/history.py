"""``history.jsonl``: what each validation of a training found, one line each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from llmrec.output import write_text

__all__ = ["HISTORY", "read_history", "write_history"]

HISTORY: Final = "history.jsonl"


def read_history(folder: Path, until: int | None = None) -> list[dict[str, Any]]:
    """Entries of a training, those after step ``until`` left out; none where there is no such file."""
    file = folder / HISTORY
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    entries = [json.loads(line) for line in lines if line.endswith("}")]  # a killed process may have cut the last one
    return [entry for entry in entries if until is None or entry["step"] <= until]


def write_history(folder: Path, entries: Sequence[dict[str, Any]]) -> None:
    """Write all entries anew: a file that is whole at any time."""
    write_text(folder / HISTORY, "".join(json.dumps(entry) + "\n" for entry in entries))
