"""Which of a launcher's processes this is, and threads of our own instead of those of the libraries below.

Each thread ranks whole sessions, from first to last.
"""

from __future__ import annotations

import functools
import os
import re
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from llmrec.errors import ConfigError, require

__all__ = [
    "check_environment",
    "first_to_say",
    "is_first_process",
    "library_threads_off",
    "local_processes",
    "local_rank",
    "machine_code",
    "map_in_threads",
    "num_processes",
    "thread_count",
]

_LAUNCHERS: Final = (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "LOCAL_SIZE",
    "GROUP_RANK",
    "ROLE_RANK",
    "MASTER_PORT",
)
_said: Final[list[socket.socket]] = []
_WITH_THREADS: Final = {"faiss", "numpy", "scipy.linalg", "torch"}  # each brings a library of its own

Part = TypeVar("Part")
Result = TypeVar("Result")
Function = TypeVar("Function", bound=Callable[..., Any])


def is_first_process() -> bool:
    """Whether this is the only process, or of several the one that writes for all.

    Raises:
        ConfigError: the environment's ``RANK`` is no number; so do the next two for their variables.
    """
    return _number("RANK", 0) == 0


def num_processes() -> int:
    """How many processes a launcher started."""
    return max(1, _number("WORLD_SIZE", 1))


def local_rank() -> int:
    """Which of this machine's processes it is, from 0; that is the number of its GPU."""
    return _number("LOCAL_RANK", 0)


def local_processes() -> int:
    """How many of them share this machine and its memory."""
    return max(1, _number("LOCAL_WORLD_SIZE", _number("LOCAL_SIZE", num_processes())))  # DeepSpeed's word is the second


def first_to_say() -> bool:
    """Whether none of this launch's processes on this machine has said yet why they end: one says it for all."""
    try:
        if num_processes() == 1 or sys.platform != "linux":
            return True
    except ConfigError:  # which is what is to be said
        return True
    name = socket.socket(socket.AF_UNIX)
    try:
        name.bind(f"\0llmrec-said-{os.getppid()}")  # a name that goes with this process
    except OSError:
        return False
    _said.append(name)
    return True


def check_environment() -> None:
    """Refuse what a launcher never sets, before a library below reads it.

    Raises:
        ConfigError: names variable and value.
    """
    for name in _LAUNCHERS:
        if os.environ.get(name) == "":
            del os.environ[name]
        _number(name, 0)


def _number(name: str, default: int) -> int:
    """A variable that launchers set; -1 is their word for "no launcher"."""
    value = os.environ.get(name) or str(default)
    if not re.fullmatch(r"-1|[0-9]{1,6}", value):
        raise ConfigError(f"{name}={value!r} in the environment: must be a whole number, as launchers set it; unset it")
    return max(0, int(value))


def thread_count(wanted: int) -> int:
    """Threads to use: ``wanted``, or where it is 0 as many as OpenMP would."""
    if wanted:
        return wanted
    value = os.environ.get("OMP_NUM_THREADS", "")
    return int(value) if value.isdecimal() and int(value) else (os.cpu_count() or 1)


def map_in_threads(function: Callable[[Part], Result], parts: Sequence[Part], threads: int) -> list[Result]:
    """``function`` of each part, in order; the parts are shared out among so many threads.

    Matrix products are computed by the thread that asks for them. With threads of the libraries beside, two for each of
    ours on two processors, ranking took a fifth longer, and sums depended on how many there were.
    """
    with library_threads_off():
        if threads <= 1 or len(parts) <= 1:
            return [function(part) for part in parts]
        from concurrent.futures import ThreadPoolExecutor  # which the command line's start need not wait for

        with ThreadPoolExecutor(threads, initializer=_torch_alone) as pool:
            return list(pool.map(function, parts))


def machine_code(*, any_order: bool = False) -> Callable[[Function], Function]:
    """A function as numba compiles it when it is first called, beside which other threads run.

    What is compiled is kept on the disk, beside the module or in the user's cache, where one of them can be written.
    Who imports a module of such functions waits a quarter of a second for numba.

    Args:
        any_order: Whether sums of floats may be added up in another order, many side by side.
    """
    import numba

    order = {"reassoc", "contract", "nsz"} if any_order else False
    options = {"nogil": True, "error_model": "numpy", "fastmath": order}

    def made(function: Function) -> Function:
        try:
            compiled: Function = numba.njit(cache=True, **options)(function)
        except RuntimeError:  # no place to keep it in
            compiled = numba.njit(**options)(function)
        return compiled

    return made


@contextmanager
def library_threads_off() -> Iterator[None]:
    """NumPy's, SciPy's and torch's matrix products on the calling thread alone."""
    torch = sys.modules.get("torch")  # who has not imported it does not use it
    before = torch.get_num_threads() if torch else 0
    with _libraries(frozenset(_WITH_THREADS & sys.modules.keys())).limit(limits=1, user_api="blas"):
        _torch_alone()
        try:
            yield
        finally:
            if torch:
                torch.set_num_threads(before)


def _torch_alone() -> None:
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)  # each thread has its own count


@functools.cache
def _libraries(loaded: frozenset[str]) -> Any:  # noqa: ARG001
    """The libraries that are loaded; to find them takes 3 ms, so that is done once for each set of modules."""
    return require("threadpoolctl", "rank").ThreadpoolController()
