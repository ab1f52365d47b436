"""A folder of versions of a model: a folder each, and a link `current` to the one in use.

A version appears whole or not at all, and `current` changes in one step: whoever follows it, as `llmrec serve` does,
sees the old version or the new one.
"""

from __future__ import annotations

import os
import re
import shutil
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from llmrec.errors import ConfigError, DataError, ModelError, nearest
from llmrec.files import held_in
from llmrec.output import disk_errors, sync
from llmrec.records import read_record, write_record

__all__ = ["CURRENT", "current_of", "drop_old", "holds_versions", "new_version", "note_made", "previous_of", "use"]
__all__ += ["version_of", "versions_in"]

CURRENT: Final = "current"  # link or folder to the version in use, where a folder holds versions
_MADE_OF: Final = ".made_of.json"
_STAMP: Final = "%Y-%m-%dT%H-%M"
_NAME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d(-\d\d)?")


class _MadeOf(msgspec.Struct, frozen=True):
    """Which version was in use when another was made, by the name of that."""

    made_of: dict[str, str]


def version_of(folder: Path) -> Path:
    """The folder in use: ``folder`` itself, what ``folder/current`` leads to, or its newest version without a link."""
    current = folder / CURRENT
    if current.exists():
        return current.resolve()
    versions = [] if os.path.lexists(current) or held_in(folder) else versions_in(folder)
    return folder / versions[-1] if versions else folder


def holds_versions(folder: Path) -> bool:
    """Whether a folder holds versions of a model, and is none itself."""
    return os.path.lexists(folder / CURRENT) or (not held_in(folder) and bool(versions_in(folder)))


def versions_in(folder: Path) -> list[str]:
    """Names of the versions, the oldest first: those of a time after those of other names."""
    if not folder.is_dir():
        return []
    found = [one.name for one in folder.iterdir() if one.is_dir() and not one.is_symlink() and held_in(one)]
    return sorted((name for name in found if not name.startswith(".")), key=lambda name: (_is_stamp(name), name))


def current_of(folder: Path) -> str:
    """Name of the version in use; the newest where no link says it.

    Raises:
        ModelError: the link leads to nothing in the folder, or there is none and no version either.
    """
    link, versions = folder / CURRENT, versions_in(folder)
    if not os.path.lexists(link):
        if not versions:
            raise ModelError(f"{folder}: holds no version of a model; save one there: --save {folder}/first")
        return versions[-1]
    if not link.is_symlink():
        raise ModelError(f"{link}: is a folder; rename it, and let '{CURRENT}' be a link to it")
    name = link.readlink().name
    if name not in versions or link.resolve() != (folder / name).resolve():
        raise ModelError(f"{link}: leads to no version here; use one: llmrec update {folder} --rollback VERSION")
    return name


def previous_of(folder: Path) -> str:
    """Name of the version that the one in use was made of; of one that was not, of the version before it.

    Raises:
        ConfigError: there is none.
        ModelError: as `current_of`.
    """
    versions, current = versions_in(folder), current_of(folder)
    before = _made_of(folder).get(current)
    if before in versions and before != current:
        return before
    place = versions.index(current)
    if not place:
        raise ConfigError(f"{folder}: no version before '{current}'; name one of {', '.join(versions)}")
    return versions[place - 1]


def note_made(folder: Path, name: str, before: str) -> None:
    """Remember which version another was made of: the way back leads there, past one that was given up.

    Raises:
        DiskError: the place cannot be written.
    """
    known = set(versions_in(folder))
    kept = {one: old for one, old in _made_of(folder).items() if one in known}
    write_record(folder / _MADE_OF, _MadeOf(kept | {name: before}))


def _made_of(folder: Path) -> dict[str, str]:
    with suppress(DataError):  # of a folder that was made by hand, or damaged: the order of the names is left
        return read_record(folder / _MADE_OF, _MadeOf, "update the model").made_of
    return {}


def new_version(folder: Path) -> Path:
    """Where the next version belongs: a name of this minute, after every other."""
    stamp = datetime.now(UTC).strftime(_STAMP)
    newest = max((name for name in versions_in(folder) if _is_stamp(name)), default="")
    if stamp > newest[: len(stamp)]:
        return folder / stamp
    start, number = newest[: len(stamp)], int(newest[len(stamp) + 1 :] or "1")  # this minute's, or a clock ran back
    return folder / f"{start}-{number + 1:02d}"


def use(folder: Path, name: str) -> None:
    """Let `current` lead to a version, in one step.

    Raises:
        ConfigError: there is none of that name.
        DiskError: the place cannot be written; `current` is as it was.
    """
    versions = versions_in(folder)
    if name not in versions:
        raise ConfigError(f"{folder}: no version '{name}'{nearest(name, versions)}")
    temporary = folder / f".{CURRENT}.{uuid.uuid4().hex[:8]}.llmrec.tmp"
    with disk_errors(folder / CURRENT):
        try:
            temporary.symlink_to(name, target_is_directory=True)
            temporary.replace(folder / CURRENT)
            sync(folder)
        finally:
            temporary.unlink(missing_ok=True)


def drop_old(folder: Path, keep: int) -> list[str]:
    """Remove all versions but the newest ``keep`` and the one in use; gives their names."""
    current = current_of(folder)
    gone = [name for name in versions_in(folder)[:-keep] if name != current]
    for name in gone:
        hidden = folder / f".{name}.{uuid.uuid4().hex[:8]}.llmrec.tmp"  # never half a version under its name
        with disk_errors(folder / name):
            (folder / name).rename(hidden)
            shutil.rmtree(hidden, ignore_errors=True)
    return gone


def _is_stamp(name: str) -> bool:
    return _NAME.fullmatch(name) is not None
