"""Where things are written: checked before the work, by one process at a time, whole or not at all.

A file or folder is made under a temporary name in the folder it belongs to and takes its place in one step. Where a
name is a link, what it points to is replaced. A lock beside it keeps a second writer out; what dead processes left in a
folder is swept by the next one that writes there.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import glob
import os
import shutil
import stat
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from llmrec.errors import ConfigError, DiskError
from llmrec.output.disk import cannot, disk_errors, is_stdout, resolved, sync
from llmrec.output.locks import held_place, locked, sweep_inside

__all__ = [
    "Kind",
    "atomic_file",
    "atomic_folder",
    "check",
    "claimed",
    "disk_errors",
    "is_stdout",
    "put_in_place",
    "scratch_folder",
    "spill_folder",
    "sync",
    "write_text",
]

Kind = Literal["file", "text", "run", "folder", "place"]
"""A file; text, which may go to the standard output; a file with a sidecar; a folder that is replaced as a whole; a
folder that files are written into."""

_NAME_BYTES: Final = 255  # of a name on every file system that says nothing else
_EXCHANGE: Final = 2  # of renameat2(2)
_KINDS: Final = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISREG, "a file"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)


def check(path: Path, kind: Kind = "file") -> Path:
    """Refuse a place where an output of a kind cannot be written, before the work that it is for.

    Returns:
        The place it stands for, through links.

    Raises:
        DiskError: it is of another kind (a folder, a file, a device, a pipe), its name is too long, or it or its folder
            cannot be written.
    """
    if is_stdout(path):
        if kind == "text":
            return path
        raise DiskError(f"{path}: is the standard output, which takes text alone; name a file")
    real, folder = resolved(path), kind in ("folder", "place")
    with disk_errors(path):
        there = _mode(real)
        if folder and real == real.parent:
            raise cannot(path, errno.EBUSY)
        above = next(parent for parent in (real, *real.parents)[there is None or kind != "place" :] if _mode(parent))
        longest = len(os.fsencode(_temporary_name(real).name)) if real.name else 0
        most = _name_bytes(above)
    if there is not None and not (stat.S_ISDIR if folder else stat.S_ISREG)(there):
        found = next((name for matches, name in _KINDS if matches(there)), "a device")
        raise DiskError(f"{path}: is {found}; name a {'folder' if folder else 'file'}")
    if longest > most:
        raise DiskError(f"{path}: the name is too long by {longest - most} bytes; choose a shorter one")
    if not above.is_dir():
        raise cannot(path, errno.ENOTDIR)
    if not os.access(above, os.W_OK | os.X_OK):
        raise cannot(path, errno.EROFS if os.statvfs(above).f_flag & os.ST_RDONLY else errno.EACCES)
    for sidecar in _names(path, kind)[1:]:
        check(sidecar)
    return real


def _names(path: Path, kind: Kind) -> tuple[Path, ...]:
    """The files that an output is.

    Raises:
        ConfigError: a run has the name of its sidecar.
    """
    if kind != "run" or not path.name:
        return (path,)
    if path.suffix == ".json":
        raise ConfigError(f"{path}: a run is a Parquet file and .json is its sidecar; name it {path.stem}.parquet")
    return path, path.with_suffix(".json")


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


def _name_bytes(folder: Path) -> int:
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except OSError:
        return _NAME_BYTES


@contextmanager
def claimed(*outputs: tuple[Path, Kind]) -> Iterator[None]:
    """Check outputs, and keep other processes from them while the block runs; a block inside may claim them again.

    Raises:
        DiskError: one cannot be written (`check`), another process is writing it, or two are the same.
    """
    places: dict[Path, Path] = {}
    for path, kind in outputs:
        check(path, kind)
        for name in _names(path, kind):
            real = resolved(name)
            if real in places and not is_stdout(name):
                raise ConfigError(f"{name}: is to be written twice (as {places[real]}); name two places")
            places[real] = name
    with contextlib.ExitStack() as stack:
        for real, path in places.items():
            if not is_stdout(path):
                stack.enter_context(locked(real, path))
        for place in [resolved(path) for path, kind in outputs if kind == "place"]:
            sweep_inside(place)
        yield


def _temporary_name(target: Path, kind: str = "tmp") -> Path:
    return target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.llmrec.{kind}")


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """Give a temporary path beside ``target`` and rename it there when the block ends without an error.

    Raises:
        DiskError: the disk is full or the place cannot be written. ``target`` is then as it was.
    """
    real = check(target)
    temporary = _temporary_name(real)
    with locked(real, target):
        try:
            with disk_errors(target):
                yield temporary
                sync(temporary)
                temporary.replace(real)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Give a temporary folder and put it in the place of ``target`` when the block ends without an error.

    A previous ``target`` stays until the new one is complete.

    Raises:
        DiskError: the disk is full or the place cannot be written. ``target`` is then as it was.
    """
    real = check(target, "folder")
    with locked(real, target), scratch_folder(target) as temporary, disk_errors(target):
        yield temporary
        put_in_place(temporary, target)


@contextmanager
def scratch_folder(target: Path) -> Iterator[Path]:
    """A folder beside ``target`` that goes when the block ends; one of a killed process is swept as temporaries are.

    Raises:
        DiskError: the place cannot be written.
    """
    temporary = _temporary_name(resolved(target))
    with disk_errors(target):
        temporary.mkdir(parents=True)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def spill_folder() -> Path:
    """Name for a folder of what does not fit into memory, made by whoever needs it; of a killed process it is swept.

    It is beside what is being written, where there is room for that; under the system's temporary folder where nothing
    is.
    """
    place = held_place()
    if place is not None:
        beside = os.access(place.parent, os.W_OK)  # not so: a folder of one's own in another's
        return _temporary_name(place if beside else place / "spill")
    numbers = Path("/proc/self/ns/pid")  # whose processes' numbers they are: another container has others
    machine = f"{os.uname().nodename}-{numbers.stat().st_ino if numbers.exists() else 0}"
    start = Path(tempfile.gettempdir(), f"llmrec-spill-{machine}-")
    for old in start.parent.glob(f"{glob.escape(start.name)}*"):
        with contextlib.suppress(ValueError, PermissionError):
            try:
                os.kill(int(old.name.removeprefix(start.name)), 0)
            except ProcessLookupError:
                shutil.rmtree(old, ignore_errors=True)
    return start.with_name(f"{start.name}{os.getpid()}")


def put_in_place(folder: Path, target: Path) -> None:
    """Have a complete folder take the place of ``target`` in one step; what was there before goes.

    Raises:
        DiskError: ``target`` is no folder or cannot be written.
    """
    real = check(target, "folder")
    with locked(real, target), disk_errors(target):
        for path in folder.rglob("*"):
            if path.is_file():
                if path.suffix == ".safetensors" and path.stat().st_mode & 0o777 == 0o600:
                    path.chmod(folder.stat().st_mode & 0o666)  # its writer lets nobody else read it, whatever the umask
                sync(path)
        if not real.exists():
            folder.rename(real)
        elif _exchanged(folder, real):
            shutil.rmtree(folder, ignore_errors=True)
        else:  # in two steps; a death between them is mended by the next that writes here
            old = _temporary_name(real, "old")
            real.rename(old)
            try:
                folder.rename(real)
            except OSError:
                old.rename(real)
                raise
            shutil.rmtree(old, ignore_errors=True)


def _exchanged(one: Path, other: Path) -> bool:
    """Whether two folders changed places in one step, which not every system and file system can."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    at_cwd = -100
    return rename is not None and rename(at_cwd, os.fsencode(one), at_cwd, os.fsencode(other), _EXCHANGE) == 0


def write_text(target: Path, text: str) -> None:
    r"""Write UTF-8 text atomically; ``-`` is the standard output. Half a pair becomes ``\udXXX``, as JSON has it."""
    data = text.encode(errors="backslashreplace")
    if is_stdout(target):
        sys.stdout.flush()
        sys.stdout.buffer.write(data)  # as in a file, whatever the terminal's encoding
        sys.stdout.buffer.flush()
        return
    with atomic_file(target) as temporary:
        temporary.write_bytes(data)
