"""Something run in a forked child, with limits on time and memory: what it answered, or how it died.

The parent imports what commands load (`preload`) and does nothing else: no thread of a library is there to be lost in
the fork, and a child starts in milliseconds.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import importlib.metadata
import io
import json
import os
import re
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

__all__ = ["Odd", "Outcome", "Refused", "child", "command", "finish", "forked", "preload"]

SECONDS: Final = 20.0
MEMORY: Final = 4 << 30  # beyond what the parent has mapped
LONGEST_LINE: Final = 1_500  # an error is one line that somebody can read
_HEAVY: Final = (
    "duckdb",
    "ibis",
    "pyarrow.parquet",
    "pyarrow.compute",
    "scipy.sparse",
    "scipy.linalg",
    "jinja2",
    "matplotlib.figure",
    "sacrebleu",
    "torch",
    "faiss",
    "lightgbm",
    "numba",
    "optuna",
    "tokenizers",
    "accelerate",
    "datasets",
    "transformers.models.mt5.modeling_mt5",
    "llmrec.cli",
)


class Refused(Exception):  # noqa: N818 - what a command says is no error of the test
    """A command ended with status 2 and one line."""


class Odd(Exception):  # noqa: N818
    """What a command wrote, well or not, holds what it should not."""


@dataclass(frozen=True)
class Outcome:
    """How something ended.

    Attributes:
        kind: ``answered``, ``refused``, ``untidy`` (refused, but not in one clean line), ``traceback``, ``hang``,
            ``crash`` (a signal).
        answer: What it gave, as JSON holds it.
        message: The line of the error, or where the traceback ends.
    """

    kind: str
    answer: Any = None
    message: str = ""


def preload() -> None:
    """Import what commands import when they run, and every module of the package that can be."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    for name in _HEAVY:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    root = Path(importlib.import_module("llmrec").__file__ or "").parent
    _quick_provenance()
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root.parent).with_suffix("").parts
        if parts[1:2] in (("evaluation",),) and "modules" in parts:
            continue
        with contextlib.suppress(ImportError):
            importlib.import_module(".".join(parts).removesuffix(".__init__"))


def _quick_provenance() -> None:
    """Have versions and the commit, which nothing here reads, looked up once and not in each child."""
    provenance: Any = importlib.import_module("llmrec.evaluation.provenance")
    importlib.metadata.version = functools.cache(importlib.metadata.version)
    commit = provenance.git_commit(Path(__file__).parent)
    provenance.git_commit = lambda *_: commit
    provenance.collect_provenance(None, None, None, 0.0)
    gc.collect()
    gc.freeze()  # a child's collector would copy every page


def command(*words: object) -> str:
    """Run ``llmrec`` with some words in this process; standard output.

    Raises:
        Refused: it ended with status 2.
        RuntimeError: with another status than 0.
    """
    from llmrec.cli import main

    return _captured(lambda: main([str(word) for word in words]))


def _captured(act: Callable[[], None]) -> str:
    out, err = io.StringIO(), io.StringIO()
    status: Any = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            act()
        except SystemExit as stop:
            status = stop.code
    if status in (0, None):
        if odd := controls(out.getvalue() + err.getvalue()):
            raise Odd(f"{odd!r} reaches the terminal")
        return out.getvalue()
    said = err.getvalue()
    if status == 2:
        raise Refused(said)
    raise RuntimeError(f"status {status}: {said[-300:]}")


def controls(text: str) -> str | None:
    """The first character of a text that steers a terminal, or turns what is beside it; None where there is none."""
    found = re.search("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u202a-\\u202e]", text.replace("\r\n", "\n"))
    return found[0] if found else None


def untidy(said: str) -> str | None:
    """What is wrong with what a refused command wrote to stderr; None where it is one line that can be read."""
    lines = [line for line in said.splitlines() if line.strip()]
    if any(line.startswith("Traceback ") for line in lines):
        return "a traceback beside the error"
    if not lines or (not lines[-1].startswith(("error: ", "Error: ")) and "╯" not in lines[-1]):
        return f"the last line is no error: {lines[-1:]}"
    if len(lines[-1]) > LONGEST_LINE:
        return f"an error of {len(lines[-1]):,} characters"
    odd = controls(lines[-1])
    return None if odd is None else f"{odd!r} in the error"


@dataclass
class Child:
    """A child that runs; `finish` waits for its end."""

    pid: int
    pipe: int


def child(action: Callable[[], Any], memory: int = MEMORY) -> Child:
    """Fork, and run something in the child."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return Child(pid, reading)
    os.close(reading)
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (_mapped() + memory,) * 2)
        record = _record(action)
        view = memoryview(json.dumps(record).encode())
        while view:
            view = view[os.write(writing, view) :]
    finally:
        os._exit(0)


def _record(action: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"kind": "answered", "answer": action()}
    except Refused as error:
        said = str(error)
        wrong = untidy(said)
        line = next((line for line in reversed(said.splitlines()) if line.strip()), "")
        return {"kind": "untidy" if wrong else "refused", "message": wrong or line[:LONGEST_LINE]}
    except Odd as error:
        return {"kind": "untidy", "message": str(error)}
    except BaseException as error:  # noqa: BLE001 - a child tells its parent whatever it was
        if type(error).__module__ == "llmrec.errors":  # a loader of the library refuses by raising
            return {"kind": "refused", "message": " ".join(str(error).split())[:LONGEST_LINE]}
        return {"kind": "traceback", "message": _place(error)}


def _place(error: BaseException) -> str:
    """The error, and where in the package it passed last."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if f"{os.sep}llmrec{os.sep}" in frame.filename]
    last = (own or frames)[-1] if frames else None
    where = "" if last is None else f" at {last.filename.rpartition('llmrec' + os.sep)[2]}:{last.lineno}"
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}{where}"


def _mapped() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 1 << 20
    return pages * resource.getpagesize()


def finish(running: Child, seconds: float = SECONDS) -> Outcome:
    """Wait for a child's end, and kill what it leaves."""
    seconds *= max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))  # what others take of the processor is no hang
    until, parts = time.monotonic() + seconds, []
    hung = False
    while True:
        left = until - time.monotonic()
        if left <= 0 or not select.select([running.pipe], [], [], left)[0]:
            hung = True
            break
        part = os.read(running.pipe, 1 << 16)
        if not part:
            break
        parts.append(part)
    os.close(running.pipe)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(running.pid, signal.SIGKILL)  # and what it started
    _, status = os.waitpid(running.pid, 0)
    if hung:
        return Outcome("hang", message=f"no end after {seconds:g} s")
    if not parts:
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        return Outcome("crash", message=signal.Signals(number).name if number else "died without a word")
    return Outcome(**json.loads(b"".join(parts)))


def forked(action: Callable[[], Any], seconds: float = SECONDS, memory: int = MEMORY) -> Outcome:
    """Run something in a child, and wait for its end."""
    return finish(child(action, memory), seconds)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing on the two standard streams."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


if sys.platform == "win32":
    raise ImportError("processes are forked here")
