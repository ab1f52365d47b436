"""Whose a hidden folder beside an output is, told by its name, and whether that process has ended.

Only the machine that a process ran on knows: by the number of a process, which processes it counts (a container has its
own), and since when it runs. Of any other the answer is that nobody knows, wherever the folder lies.
"""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from functools import cache
from pathlib import Path
from typing import Final

__all__ = ["MARK", "has_ended", "own_mark"]

MARK: Final = r"[0-9a-f]{12}-[0-9]+-[0-9]+-[0-9a-f]{8}|[0-9a-f]{8}"
"""Pattern of `own_mark`, and of the marks of before, which told nothing."""
_PROC: Final = Path("/proc")


def own_mark() -> str:
    """This process, as a part of a name that nobody else uses."""
    return f"{_here()}-{os.getpid()}-{_begun(os.getpid()) or 0}-{uuid.uuid4().hex[:8]}"


def has_ended(mark: str) -> bool | None:
    """Whether the process of an `own_mark` has ended; None where this machine cannot know."""
    found = re.fullmatch(r"([0-9a-f]{12})-([0-9]+)-([0-9]+)-[0-9a-f]{8}", mark)
    if found is None or found[1] != _here():
        return None
    number, begun = int(found[2]), int(found[3])
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return True
    except OSError:  # another user's
        return False
    return _begun(number) not in (begun, None)


@cache
def _here() -> str:
    """This machine since it was started, and the processes that it counts; another one each time where none tells."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii")
        processes = (_PROC / "self/ns/pid").stat().st_ino
        told = f"{boot}{processes}{os.uname().nodename}"  # copies of a running machine share all but its name
    except OSError:
        told = uuid.uuid4().hex
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def _begun(number: int) -> int | None:
    """When a process began, in ticks since the machine's start."""
    try:
        told = (_PROC / str(number) / "stat").read_text(encoding="utf-8", errors="replace")
        return int(told.rpartition(")")[2].split()[19])  # the name before it may hold anything
    except (OSError, ValueError, IndexError):
        return None
