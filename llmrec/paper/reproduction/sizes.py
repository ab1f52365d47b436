"""How many sessions and items a command will read, before the files that it names are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmrec.data.connection import connected
from llmrec.data.sessions import read_sessions_file
from llmrec.paper.reproduction.recipe import Protocol
from llmrec.paper.reproduction.templates import fill

__all__ = ["Counted", "Size", "Sizes", "flag_values"]


@dataclass(frozen=True)
class Size:
    """Sessions of a file, and different items in them."""

    sessions: int
    items: int

    def plus(self, other: Size) -> Size:
        """Both files; how many items they share is not known, so the larger number stands."""
        return Size(self.sessions + other.sessions, max(self.items, other.items))


Counted = dict[tuple[str, tuple[str, ...]], Size | None]


@dataclass
class Sizes:
    """Sizes of files that are there, or that a protocol's preparing commands would make.

    Attributes:
        protocol: Whose commands.
        values: What their places stand for.
        counted: What was counted before, by file and locales.
    """

    protocol: Protocol
    values: Mapping[str, Any]
    counted: Counted = field(default_factory=dict)

    def of(self, paths: Sequence[str], locales: tuple[str, ...] = ()) -> Size | None:
        """Size of some files together; None where one cannot be told."""
        total = Size(0, 0)
        for path in paths:
            size = self._one(path, locales)
            if size is None:
                return None
            total = total.plus(size)
        return total

    def _one(self, path: str, locales: tuple[str, ...]) -> Size | None:
        key = (path, locales)
        if key not in self.counted:
            there = Path(path).is_file()
            self.counted[key] = _count(Path(path), locales) if there else self._made(path, locales)
        return self.counted[key]

    def _made(self, path: str, locales: tuple[str, ...]) -> Size | None:
        for step in self.protocol.prepare:
            words = fill(step, self.values)
            wanted = locales or tuple(flag_values(words, "--locale"))
            if words[:3] == ["llmrec", "data", "pick"] and words[4] == path:
                return self.of([words[3]], wanted)
            if words[:3] == ["llmrec", "data", "holdout"] and Path(path).parent == Path(words[4]):
                share = float(next(iter(flag_values(words, "--share")), 0.1))
                whole, part = self.of([words[3]], wanted), 1 - share if Path(path).stem == "train" else share
                return None if whole is None else Size(round(whole.sessions * part), whole.items)
            if words[:3] == ["llmrec", "data", "import"] and Path(path).parent == Path(words[4]):
                raw = Path(words[3]) / "sessions_train.csv"
                return self.of([str(raw if raw.is_file() else Path(words[3]) / "train.parquet")], wanted)
        return None


def flag_values(words: Sequence[str], flag: str) -> list[str]:
    """What stands behind a flag, each time that it is there, up to the next flag."""
    found, taking = [], False
    for word in words:
        if word.startswith("--"):
            taking = word == flag
        elif taking:
            found.append(word)
    return found


def _count(file: Path, locales: tuple[str, ...]) -> Size:
    with connected() as con:
        sessions = read_sessions_file(con, file)
        if locales:
            sessions = sessions.filter(sessions.locale.isin(locales))
        items = sessions.select(item=sessions.prev_items.unnest()).item.nunique()
        return Size(con.to_pyarrow(sessions.count()).as_py(), con.to_pyarrow(items).as_py())
