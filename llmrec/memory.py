"""Memory is asked for before it is used: what is there, what work will take, and settings with which it fits.

An estimate counts what the work will hold beyond what the process holds already. What is there is the least of all
limits that can end the process: the machine's, those of its control groups and its own.
"""

from __future__ import annotations

import ctypes
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from llmrec.errors import ConfigError

__all__ = ["GIB", "Free", "free_memory", "give_back_at_once", "largest_fitting", "readable", "require_memory"]

GIB: Final = 2**30
UNKNOWN: Final = 2**62  # where a system tells nothing, nothing is refused
PROC: Final = Path("/proc")
GROUPS: Final = Path("/sys/fs/cgroup")
LIMITS: Final = ("memory.max", "memory.limit_in_bytes")  # of version 2, and of version 1
USES: Final = ("memory.current", "memory.usage_in_bytes")


class Free(NamedTuple):
    """Memory that is there.

    Attributes:
        size: Bytes.
        source: What bounds them, for people: ``this machine``, ``the container's limit``.
    """

    size: int
    source: str

    def shared(self, processes: int) -> Free:
        """One process's share."""
        return self._replace(size=self.size // max(1, processes))


def readable(size: float) -> str:
    """Bytes as people say them: ``830 MiB``, ``14.2 GiB``."""
    return f"{size / GIB:,.1f} GiB" if size >= GIB else f"{math.ceil(size / 2**20):,} MiB"


def give_back_at_once() -> None:
    """Have glibc give back blocks from 1 MiB on as soon as they are free, for the rest of the process.

    It otherwise learns to keep blocks of up to 32 MiB, between which others no longer fit: a training step then takes
    up to 1.8 times what its tensors hold. The pages cost some time: a sixth for a model of width 576. Other C libraries
    have no such switch.
    """
    switch = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    for name in (-3, -1):  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
        if switch is not None:
            switch(name, 1 << 20)


def free_memory(device: Any = None) -> Free:
    """What this process can still take, on a GPU if ``device`` is one, else of the machine's memory."""
    if getattr(device, "type", "cpu") == "cuda":
        return _free_on_gpu(device)
    sizes = [Free(size, source) for size, source in _bounds() if size is not None]
    return min(sizes, key=lambda one: one.size, default=Free(UNKNOWN, "this machine"))


def _free_on_gpu(device: Any) -> Free:
    cuda = sys.modules["torch"].cuda
    held = cuda.memory_reserved(device) - cuda.memory_allocated(device)  # by torch's own allocator, for what comes next
    return Free(cuda.mem_get_info(device)[0] + held, f"GPU {cuda.get_device_name(device)}")


def _bounds() -> Iterator[tuple[int | None, str]]:
    """Every limit that is known, less what counts against it; None where there is none."""
    yield _kib(PROC / "meminfo", "MemAvailable"), "this machine"
    for folder in _groups():
        yield _left_in_group(folder), "the control group's limit"
    if sys.platform != "win32":
        import resource

        status = PROC / "self/status"
        for kind, used, name in (
            (resource.RLIMIT_AS, "VmSize", "ulimit -v"),
            (resource.RLIMIT_DATA, "VmData", "ulimit -d"),
        ):
            limit, held = resource.getrlimit(kind)[0], _kib(status, used)
            yield None if limit == resource.RLIM_INFINITY else max(0, limit - (held or 0)), name


def _kib(file: Path, name: str) -> int | None:
    """A size out of a table of ``Name:  123 kB``."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        return next((int(line.split()[1]) << 10 for line in lines if line.startswith(f"{name}:")), None)
    except (OSError, ValueError, IndexError):
        return None


def _groups() -> Iterator[Path]:
    """Folders of this process's control group and those above it; inside a container the topmost is its own."""
    try:
        lines = (PROC / "self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = GROUPS / ("memory" if controllers else "")
        folder = root / path.strip("/")
        yield from [one for one in (folder, *folder.parents) if one.is_relative_to(root) and one.is_dir()]


def _left_in_group(folder: Path) -> int | None:
    """A group's limit less what its processes hold; files that the system keeps at hand make way."""
    limit, used = (_first_number(folder, names) for names in (LIMITS, USES))
    if limit is None or used is None or limit >= UNKNOWN:
        return None
    try:
        lines = (folder / "memory.stat").read_text(encoding="utf-8").splitlines()
        stat = {name: int(size) for name, size in (line.split() for line in lines)}
    except (OSError, ValueError):
        stat = {}
    cached = [stat.get(f"total_{name}", stat.get(name, 0)) for name in ("inactive_file", "active_file")]
    return max(0, limit - used + sum(cached))


def _first_number(folder: Path, names: tuple[str, ...]) -> int | None:
    for name in names:
        try:
            return int((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return None


def largest_fitting(most: int, needed: Callable[[int], float], free: Free) -> int:
    """The largest number up to ``most`` whose ``needed`` bytes, which grow with it, are there; 0 where none fits."""
    if needed(most) <= free.size:
        return most
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if needed(middle) <= free.size else (low, middle)
    return low


def require_memory(what: str, needed: float, free: Free, way_out: str) -> None:
    """Refuse work that would be ended for memory.

    Args:
        what: The work: ``training gru4rec``.
        needed: Bytes that it will take.
        free: What is there.
        way_out: Settings that fit, to follow a semicolon.

    Raises:
        ConfigError: there is less.
    """
    if needed > free.size:
        there = f"{readable(free.size)} are free ({free.source})"
        raise ConfigError(f"{what} needs about {readable(needed)} of memory, and {there}; {way_out}")
