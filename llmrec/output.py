"""Where things are written: checked before the work, by one process at a time, whole or not at all.

A file or folder is made under a temporary name in the folder it belongs to and takes its place in one step. Where a
name is a link, what it points to is replaced. A lock beside it (`flock`, so the death of a process opens it) keeps a
second writer out; what dead processes left in a folder is swept by the next one that writes there.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import re
import shutil
import stat
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from llmrec.errors import ConfigError, DiskError, LlmrecError
from llmrec.processes import is_first_process

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
    "sync",
    "write_text",
]

Kind = Literal["file", "text", "run", "folder", "place"]
"""A file; text, which may go to the standard output; a file with a sidecar; a folder that is replaced as a whole; a
folder that files are written into."""

FULL_BYTES: Final = 1 << 16  # a disk with less than this cannot take another artefact
_STDOUT: Final = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
_NAME_BYTES: Final = 255  # of a name on every file system that says nothing else
_EXCHANGE: Final = 2  # of renameat2(2)
_OURS: Final = re.compile(r"\.(?P<name>.+)\.(?:[0-9a-f]{8}\.llmrec\.(?P<kind>tmp|old)|llmrec\.lock)", re.DOTALL)
_UNFINISHED: Final = re.compile(r"\.(?P<name>.+)\.partial", re.DOTALL)  # which a later run goes on with
_BEFORE: Final = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.tmp", re.DOTALL)  # of llmrec 0.2, which had no locks
_KINDS: Final = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISREG, "a file"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)
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


@dataclass
class _Held:
    """A lock of this process: its file, and how many blocks hold it."""

    descriptor: int | None
    blocks: int = 1


_held: dict[Path, _Held] = {}


def _leave_to_parent() -> None:
    """A forked child writes under its parent's locks, and does not keep them when the parent dies."""
    for held in _held.values():
        if held.descriptor is not None:
            os.close(held.descriptor)
            held.descriptor = None


os.register_at_fork(after_in_child=_leave_to_parent)


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
        raise _cannot(target, number) from error


def _number_of(error: Exception, target: Path) -> int | None:
    """What the system said: DuckDB, Arrow, torch and safetensors each report a full disk in their own way."""
    number = getattr(error, "errno", None)
    if number is None:
        known = (*_TEXTS, *(_PLACE if str(_resolved(target).parent) in str(error) else ()))
        named = [one for one in known if os.strerror(one) in str(error)]
        return named[0] if named else errno.ENOSPC if _is_full(target) else None
    if number == errno.ENOENT:  # of a file to be read it is no matter of the disk
        name, real = Path(os.fsdecode(getattr(error, "filename", None) or "")), _resolved(target)
        return number if name in (real, *real.parents) or any(map(_OURS.fullmatch, name.parts)) else None
    return number if number in _SAID or number in _PLACE else None


def _cannot(target: Path, number: int) -> DiskError:
    said = _SAID.get(number, f"cannot be written ({os.strerror(number)}); choose another place")
    return DiskError(f"{_shown(target)}: {said}")


def _shown(target: Path) -> Path:
    """A place as the user knows it: of something still being made, what that will be."""
    for place in (*reversed(target.parents), target):
        found = _OURS.fullmatch(place.name) or _UNFINISHED.fullmatch(place.name)
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


def _resolved(path: Path) -> Path:
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
            raise _cannot(path, errno.ELOOP)
    return real


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
    real, folder = _resolved(path), kind in ("folder", "place")
    with disk_errors(path):
        there = _mode(real)
        if folder and real == real.parent:
            raise _cannot(path, errno.EBUSY)
        above = next(parent for parent in (real, *real.parents)[there is None or kind != "place" :] if _mode(parent))
        longest = len(os.fsencode(_temporary_name(real).name)) if real.name else 0
        most = _name_bytes(above)
    if there is not None and not (stat.S_ISDIR if folder else stat.S_ISREG)(there):
        found = next((name for matches, name in _KINDS if matches(there)), "a device")
        raise DiskError(f"{path}: is {found}; name a {'folder' if folder else 'file'}")
    if longest > most:
        raise DiskError(f"{path}: the name is too long by {longest - most} bytes; choose a shorter one")
    if not above.is_dir():
        raise _cannot(path, errno.ENOTDIR)
    if not os.access(above, os.W_OK | os.X_OK):
        raise _cannot(path, errno.EROFS if os.statvfs(above).f_flag & os.ST_RDONLY else errno.EACCES)
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
            real = _resolved(name)
            if real in places and not is_stdout(name):
                raise ConfigError(f"{name}: is to be written twice (as {places[real]}); name two places")
            places[real] = name
    with contextlib.ExitStack() as stack:
        for real, path in places.items():
            if not is_stdout(path):
                stack.enter_context(_locked(real, path))
        for place in [_resolved(path) for path, kind in outputs if kind == "place"]:
            if place in _held and place.is_dir():
                for folder in (place, *(one for one in place.iterdir() if one.is_dir() and not one.is_symlink())):
                    _sweep(folder, place)
        yield


@contextmanager
def _locked(real: Path, path: Path) -> Iterator[None]:
    """Keep other processes from a place, which the user calls ``path``; of a launch's processes the first does it."""
    if real in _held:
        held = _held[real]
        held.blocks += 1
        try:
            yield
        finally:
            held.blocks -= 1
    elif not is_first_process():
        with disk_errors(path):
            real.parent.mkdir(parents=True, exist_ok=True)
        yield
    else:
        lock = real.with_name(f".{real.name}.llmrec.lock")
        with disk_errors(path), contextlib.ExitStack() as stack:
            made = [parent for parent in real.parents if not parent.exists()]
            stack.callback(_remove_empty, made)
            real.parent.mkdir(parents=True, exist_ok=True)
            if real.is_dir() and not os.access(real.parent, os.W_OK):  # a folder of one's own in another's
                lock = real / ".llmrec.lock"
            _held[real] = _Held(_acquire(lock, path))
            stack.callback(_release, real, lock)
            _sweep(real.parent, real)
            waiting = stack.pop_all()
        with waiting:
            yield


def _acquire(lock: Path, path: Path) -> int | None:
    """A descriptor that holds the lock; None where the file system has no locks.

    Raises:
        DiskError: another process holds it.
    """
    safely = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    while True:
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | safely, 0o666)
        except PermissionError:
            if not lock.exists():
                raise
            descriptor = os.open(lock, os.O_RDONLY | safely)  # another user's
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), lock.stat(follow_symlinks=False)):
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, json.dumps(_holder()).encode(), 0)
                return descriptor
        except BlockingIOError:
            holder = _said_holder(descriptor)
            os.close(descriptor)
            raise DiskError(f"{path}: {holder} is writing it; wait for it, or choose another place") from None
        except FileNotFoundError:  # its holder has just let it go, and removed it
            pass
        except OSError:
            os.close(descriptor)
            with contextlib.suppress(OSError):
                lock.unlink()
            return None
        os.close(descriptor)


def _holder() -> dict[str, str | int]:
    """Who holds a lock. Of the command only its verb: what follows may be secret."""
    words = [Path(sys.argv[0]).name, *sys.argv[1:3]]
    verb = " ".join(word for word in words if re.fullmatch(r"[A-Za-z_][\w.-]*", word))
    return {"pid": os.getpid(), "command": verb, "since": time.strftime("%Y-%m-%d %H:%M:%S")}


def _said_holder(descriptor: int) -> str:
    try:
        holder = json.loads(os.pread(descriptor, 1 << 12, 0))
        words = [str(holder[key])[:80] for key in ("command", "pid", "since")]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "another process"
    return f"another process ({words[0]}, pid {words[1]}, since {words[2]})"


def _release(real: Path, lock: Path) -> None:
    held = _held.pop(real)
    if held.descriptor is not None:
        with contextlib.suppress(OSError):
            lock.unlink()  # before it is open to others, so that nobody's but ours is removed
        os.close(held.descriptor)


def _remove_empty(folders: list[Path]) -> None:
    """Remove folders that were made for an output that did not come, the innermost first."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _sweep(folder: Path, real: Path) -> None:
    """Remove what dead processes left in a folder, of ``real``, which is locked, and what else nobody locks."""
    if _held[real].descriptor is None:  # without locks nobody knows who is dead
        return
    hidden = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        hidden = [folder / entry.name for entry in entries if entry.name.startswith(".")]
    for path in hidden:
        found = _OURS.fullmatch(path.name) or _BEFORE.fullmatch(path.name)
        owner = real if found is None else path.with_name(found["name"])
        if found is None or (_BEFORE.fullmatch(path.name) and owner != real):
            continue
        if owner == real:
            with contextlib.suppress(OSError):
                _remove(path, real)
        elif owner not in _held:
            with contextlib.suppress(OSError, DiskError):  # a living process holds it, or it is another user's
                lock = path.with_name(f".{owner.name}.llmrec.lock")
                _held[owner] = _Held(_acquire(lock, owner))
                try:
                    _remove(path, owner)
                finally:
                    _release(owner, lock)


def _remove(path: Path, owner: Path) -> None:
    """Remove a temporary of ``owner``, or rename it to ``owner`` where a swap was cut short between its two steps."""
    if path.name.endswith(".lock") or _held[owner].descriptor is None:
        return
    if path.name.endswith(".old") and not os.path.lexists(owner):
        path.rename(owner)
    elif path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


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
    with _locked(real, target):
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
    with _locked(real, target), scratch_folder(target) as temporary, disk_errors(target):
        yield temporary
        put_in_place(temporary, target)


@contextmanager
def scratch_folder(target: Path) -> Iterator[Path]:
    """A folder beside ``target`` that goes when the block ends; one of a killed process is swept as temporaries are.

    Raises:
        DiskError: the place cannot be written.
    """
    temporary = _temporary_name(_resolved(target))
    with disk_errors(target):
        temporary.mkdir(parents=True)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def put_in_place(folder: Path, target: Path) -> None:
    """Have a complete folder take the place of ``target`` in one step; what was there before goes.

    Raises:
        DiskError: ``target`` is no folder or cannot be written.
    """
    real = check(target, "folder")
    with _locked(real, target), disk_errors(target):
        for path in folder.rglob("*"):
            if path.is_file():
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
