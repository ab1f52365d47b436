"""What a disk says when something cannot be written, and which place a name stands for."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from llmrec.errors import DiskError, LlmrecError

__all__ = ["OURS", "cannot", "disk_errors", "is_stdout", "resolved", "sync"]

FULL_BYTES: Final = 1 << 16  # a disk with less than this cannot take another artefact
_STDOUT: Final = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
OURS: Final = re.compile(r"\.(?P<name>.+)\.(?:[0-9a-f]{8}\.llmrec\.(?P<kind>tmp|old)|llmrec\.lock)", re.DOTALL)
_UNFINISHED: Final = re.compile(r"\.(?P<name>.+)\.partial", re.DOTALL)  # which a later run goes on with
_SAID: Final = {
    errno.ENOSPC: "the disk is full; free some space and run the same command again",
    errno.EDQUOT: "the disk quota is used up; free some space and run the same command again",
    errno.EFBIG: "larger than a file may be here; raise the limit (ulimit -f) or choose another place",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}
_TEXTS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_PLACE: Final = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ELOOP, errno.EBUSY),
    *(errno.EIO, errno.ESTALE, errno.ENOTEMPTY, errno.EXDEV, errno.ENXIO, errno.ENODEV),
)


def sync(path: Path) -> None:
    """Have a file's bytes on the disk before its name says that they are there."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def disk_errors(target: Path) -> Iterator[None]:
    """Turn a full disk or a forbidden place into one clear line.

    Raises:
        DiskError: the disk is full or ``target`` cannot be written.
    """
    try:
        yield
    except LlmrecError:
        raise
    except Exception as error:
        number = _number_of(error, target)
        if number is None:
            raise
        raise cannot(target, number) from error


def _number_of(error: Exception, target: Path) -> int | None:
    """What the system said: DuckDB, Arrow, torch and safetensors each report a full disk in their own way."""
    number = getattr(error, "errno", None)
    if number is None:
        ours = str(resolved(target).parent) in str(error) or "while serializing" in str(error)  # safetensors' words
        known = (*_TEXTS, *(_PLACE if ours else ()))
        named = [one for one in known if os.strerror(one) in str(error)]
        return named[0] if named else errno.ENOSPC if _is_full(target) else None
    if number == errno.ENOENT:  # of a file to be read it is no matter of the disk
        name, real = Path(os.fsdecode(getattr(error, "filename", None) or "")), resolved(target)
        return number if name in (real, *real.parents) or any(map(OURS.fullmatch, name.parts)) else None
    return number if number in _SAID or number in _PLACE else None


def cannot(target: Path, number: int) -> DiskError:
    """The error for what the system said of a place."""
    said = _SAID.get(number, f"cannot be written ({os.strerror(number)}); choose another place")
    return DiskError(f"{_shown(target)}: {said}")


def _shown(target: Path) -> Path:
    """A place as the user knows it: of something still being made, what that will be."""
    for place in (*reversed(target.parents), target):
        found = OURS.fullmatch(place.name) or _UNFINISHED.fullmatch(place.name)
        if found is not None:
            return place.with_name(found["name"])
    return target


def _is_full(target: Path) -> bool:
    folder = next((parent for parent in target.absolute().parents if parent.is_dir()), None)
    if folder is None:
        return False
    usage = shutil.disk_usage(folder)
    return usage.total > 0 and usage.free < FULL_BYTES  # /proc has nothing at all


def is_stdout(path: Path | None) -> bool:
    """Whether a path stands for the standard output, as ``-`` does."""
    return path is not None and str(path) in _STDOUT


def resolved(path: Path) -> Path:
    """The place that a name stands for, through links, whether there is something or not.

    Raises:
        DiskError: the links go round, or the working directory is gone.
    """
    try:
        real = Path(os.path.realpath(path))
    except FileNotFoundError as error:
        raise DiskError(f"{path}: the working directory is gone; change to another") from error
    with disk_errors(path):
        if real.is_symlink():
            raise cannot(path, errno.ELOOP)
    return real
