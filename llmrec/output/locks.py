"""Locks beside outputs (`flock`, so the death of a process opens them), and what dead processes left.

A lock is a file that says who holds it; it goes with the work.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llmrec.errors import DiskError
from llmrec.output.disk import OURS, disk_errors
from llmrec.processes import is_first_process

__all__ = ["held_place", "locked", "sweep_inside"]

_BEFORE: Final = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.tmp", re.DOTALL)  # of llmrec 0.1, which had no locks


@dataclass
class _Held:
    """A lock of this process: its file, and how many blocks hold it."""

    descriptor: int | None
    blocks: int = 1


_held: dict[Path, _Held] = {}


def held_place() -> Path | None:
    """The first of the places that this process keeps others from, where something is being written; None if none."""
    return next(iter(_held), None)


def _leave_to_parent() -> None:
    """A forked child writes under its parent's locks, and does not keep them when the parent dies."""
    for held in _held.values():
        if held.descriptor is not None:
            os.close(held.descriptor)
            held.descriptor = None


os.register_at_fork(after_in_child=_leave_to_parent)


@contextmanager
def locked(real: Path, path: Path) -> Iterator[None]:
    """Keep other processes from a place, which the user calls ``path``; of a launch's processes the first does it."""
    if real in _held:
        held = _held[real]
        held.blocks += 1
        try:
            yield
        finally:
            held.blocks -= 1
    elif not is_first_process():  # which may be on another machine, and writes nothing of its own there
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
        found = OURS.fullmatch(path.name) or _BEFORE.fullmatch(path.name)
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


def sweep_inside(place: Path) -> None:
    """Remove what dead processes left in a folder that this process has locked, and in the folders in it."""
    if place in _held and place.is_dir():
        for folder in (place, *(one for one in place.iterdir() if one.is_dir() and not one.is_symlink())):
            _sweep(folder, place)
