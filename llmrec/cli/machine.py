"""What a machine does to a command: closed streams, signals, no more disk or memory; each ends in one line."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Final

from llmrec.errors import ConfigError, DiskError, LlmrecError, without_secrets
from llmrec.processes import check_environment

__all__ = ["on_this_machine"]

_PIPE_CLOSED: Final = 128 + signal.SIGPIPE
_ENDED_BY: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
_WAYS: Final = {  # what an error of the system means, and the way out
    errno.ENOSPC: "the disk is full; free some space and run the same command again",
    errno.EDQUOT: "the disk quota is used up; free some space and run the same command again",
    errno.EFBIG: "larger than a file may be here; raise the limit (ulimit -f) or choose another disk",
    errno.EMFILE: "too many files are open at once; raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine; end other programs",
}
_PLACE: Final = ("EACCES", "EPERM", "EROFS", "EISDIR", "ENOTDIR", "ENAMETOOLONG", "ELOOP", "EIO", "ENODEV", "ESTALE")
_NO_MEMORY: Final = ("OutOfMemoryError", "OutOfMemoryException")  # torch's and DuckDB's
_NO_MEMORY_WORDS: Final = ("allocate memory", "bad_alloc", "failed to map segment", "start new thread", "out of memory")


@contextmanager
def on_this_machine() -> Iterator[None]:
    """Run a command so that what the machine does ends in one line without a secret, and leaves no temporaries.

    Raises:
        LlmrecError: the working directory is gone, the environment is not a launcher's, or the disk, the memory or
            another limit of the machine came to its end.
        SystemExit: the reader of standard output went away (141), or the process was told to end (143, 129).
    """
    _open_streams()
    sys.excepthook = _show
    threading.excepthook = lambda one: _show(one.exc_type, one.exc_value, one.exc_traceback)
    told: list[int] = []
    before = _end_tidily(told)
    try:
        check_environment()
        _check_folder()
        try:
            yield
        finally:
            _flush()
    except LlmrecError:
        raise
    except BrokenPipeError:
        _forget(sys.stdout)
        raise SystemExit(_PIPE_CLOSED) from None
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # as rich raises it
            raise SystemExit(_PIPE_CLOSED) from None
        raise
    except Exception as error:
        if told:  # a library, as DuckDB's, took what the signal raised for an error of its own
            raise (KeyboardInterrupt if told[0] == signal.SIGINT else SystemExit(128 + told[0])) from None
        line = _line(error)
        if not line:
            raise
        raise DiskError(line) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _open_streams() -> None:
    """Have the three standard streams: a file that is opened later must not become one of them."""
    for number, mode, name in ((0, "r", "stdin"), (1, "w", "stdout"), (2, "w", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - for good


def _end_tidily(told: list[int]) -> dict[signal.Signals, Any]:
    """Have signals that end the process end it as an exception does, and write them down in ``told``.

    Returns:
        The handlers before, of those that are changed.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}

    def end(number: int, _: FrameType | None) -> None:
        told.append(number)
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    usual = (signal.SIG_DFL, signal.default_int_handler)
    return {one: signal.signal(one, end) for one in _ENDED_BY if signal.getsignal(one) in usual}


def _check_folder() -> None:
    try:
        Path.cwd()
    except OSError as error:
        raise ConfigError("the working directory was removed; change to one that exists") from error


def _flush() -> None:
    try:
        sys.stderr.flush()
    except OSError:  # said beside the work
        _forget(sys.stderr)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _forget(sys.stdout)
        error.filename = error.filename or "standard output"
        raise


def _forget(stream: Any) -> None:
    """Nothing more is written to a stream, not even when the process ends."""
    with suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def _line(error: Exception) -> str:
    """What happened and the way out, in one line; empty for what no machine does."""
    words = str(error)
    number = error.errno if isinstance(error, OSError) else None
    short = isinstance(error, MemoryError) or type(error).__name__ in _NO_MEMORY or number == errno.ENOMEM
    if short or (isinstance(error, RuntimeError | ImportError) and any(one in words for one in _NO_MEMORY_WORDS)):
        return "no memory is left for this; end other programs, raise the limit (ulimit -v), or give it less at once"
    if not isinstance(error, OSError) or number is None:
        return ""
    if "temporary directory" in words:
        return "no folder for temporary files can be written; name one in TMPDIR, or raise the limit (ulimit -f)"
    way = _WAYS.get(number)
    if way is None and errno.errorcode.get(number) in _PLACE:
        way = f"{os.strerror(number)}; choose another place, or mend this one"
    return f"{error.filename or 'standard output, or a file'}: {way}" if way else ""


def _show(kind: type[BaseException], error: BaseException | None, trace: Any) -> None:
    """A bug's traceback, without secrets."""
    with suppress(OSError, ValueError):
        sys.stderr.write(without_secrets("".join(traceback.format_exception(kind, error, trace))))
