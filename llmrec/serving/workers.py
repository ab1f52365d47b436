"""Several processes behind one port: each loads and answers by itself, and one that dies is replaced meanwhile.

Each listens with a socket of its own (``SO_REUSEPORT``): the system deals out connections evenly, and none to one that
has died. They share a folder: who is loaded, and what each has counted, so that the sums over all are right when a
process is gone. The arrays of models are mapped into the memory of each, and lie there once.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Final

from llmrec.console import PlainFormatter, notice
from llmrec.errors import ConfigError, LlmrecError, ModelError

__all__ = ["Worker", "supervise"]

_COUNTS: Final = "PROMETHEUS_MULTIPROC_DIR"  # where prometheus_client keeps what several processes count
_LOOK_S: Final = 0.1
_SOON_S: Final = 10.0  # who dies earlier is started again later and later
_LONGEST_WAIT_S: Final = 30.0
_TRIES: Final = 3  # of a first start that ends without a word
_BACKLOG: Final = 2048
_LOG: Final = logging.getLogger("llmrec.serve")


@dataclass(frozen=True, kw_only=True)
class Worker:
    """What one of the processes is told.

    Attributes:
        number: Which one, from 0.
        of: How many there are.
        host: Where they all listen.
        port: Where they all listen.
        folder: What they share.
        late: Whether the others answer already: it listens once it is loaded, where a first one says that it loads.
    """

    number: int
    of: int
    host: str
    port: int
    folder: Path
    late: bool = False

    @property
    def supervisor(self) -> int:
        """What can be read from once the supervisor has died."""
        parent = multiprocessing.parent_process()
        if parent is None:
            raise RuntimeError("a worker is a process that `supervise` started")
        return int(parent.sentinel)

    def listening(self) -> Any:
        """A socket of its own, where the others listen too."""
        return socket.create_server(
            (self.host, self.port), family=_family(self.host), backlog=_BACKLOG, reuse_port=True
        )

    def loaded(self) -> None:
        """Say that it is."""
        (self.folder / f"loaded-{self.number}").touch()

    def all_loaded(self) -> bool:
        """Whether every one is, or the one in whose place it came was."""
        return all((self.folder / f"loaded-{number}").exists() for number in range(self.of))


@dataclass
class _Place:
    """A worker's place, which process after process may take."""

    number: int
    process: Any = None
    started: float = 0.0
    falls: int = 0  # one after the other
    again_at: float = field(default=0.0)


def supervise(count: int, host: str, port: int, work: Callable[[Worker], None], patience_s: float) -> None:
    """Keep so many processes at work until SIGTERM or Ctrl-C, which they are told; SIGHUP, too.

    Args:
        count: How many.
        host: Where to listen.
        port: Where to listen; 0 takes a free one.
        work: What each does, until it is told to end; can be pickled.
        patience_s: How long they may take to end.

    Raises:
        ConfigError: nobody can listen there.
        ModelError: a first one cannot load.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    with _reserved(host, port) as free, tempfile.TemporaryDirectory(prefix="llmrec-serve-") as folder:
        os.environ[_COUNTS] = folder
        try:
            _Supervisor(count, host, free, Path(folder), work, patience_s).run()
        finally:
            del os.environ[_COUNTS]


def _family(host: str) -> int:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


@contextmanager
def _reserved(host: str, port: int) -> Iterator[int]:
    """The port, which nobody else gets meanwhile; a free one for 0."""
    with socket.socket(_family(host)) as held:
        try:
            with socket.create_server(
                (host, port), family=_family(host)
            ) as alone:  # fails where others' workers listen
                free = int(alone.getsockname()[1])
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind((host, free))
        except OSError as error:
            wrong = f"--host {host} --port {port}: cannot listen there ({error}); take another port"
            raise ConfigError(wrong) from error
        yield free


class _Supervisor:
    def __init__(
        self, count: int, host: str, port: int, folder: Path, work: Callable[[Worker], None], patience_s: float
    ) -> None:
        self._host, self._port, self._folder, self._work, self._patience = host, port, folder, work, patience_s
        self._places = [_Place(number) for number in range(count)]
        self._told: list[int] = []  # signals, in the order they came
        self._end_by = 0.0  # when those who are still there are killed; 0 while nobody has to end
        self._ready = False

    def run(self) -> None:
        """Start them, look after them, and see them end."""
        with self._hearing():
            try:
                for place in self._places:
                    self._start(place)
                while not self._end_by or any(self._alive()):
                    self._look()
                    wait([place.process.sentinel for place in self._alive()], _LOOK_S)
            finally:
                for place in self._alive():
                    place.process.kill()
                    place.process.join()

    def _look(self) -> None:
        while self._told:
            self._pass_on(self._told.pop(0))
        now = time.monotonic()
        if self._end_by and now > self._end_by:
            raise ModelError(f"workers still answered {self._patience:g} seconds after they were told to end")
        for place in self._places:
            if place.process is not None and place.process.exitcode is not None:
                self._fallen(place, now)
            if place.process is None and not self._end_by and now >= place.again_at:
                self._start(place)
        if not self._ready and self._worker(0).all_loaded():
            self._ready = True
            notice(
                f"listens at http://{self._host}:{self._port} with {len(self._places)} workers; what it can be asked: "
                "/openapi.json; stop it with Ctrl-C"
            )

    def _worker(self, number: int) -> Worker:
        return Worker(
            number=number,
            of=len(self._places),
            host=self._host,
            port=self._port,
            folder=self._folder,
            late=self._ready,
        )

    def _start(self, place: _Place) -> None:
        context = multiprocessing.get_context("spawn")
        place.process = context.Process(target=_run, args=(self._work, self._worker(place.number)), daemon=True)
        place.started = time.monotonic()
        place.process.start()

    def _alive(self) -> list[_Place]:
        return [place for place in self._places if place.process is not None and place.process.exitcode is None]

    def _fallen(self, place: _Place, now: float) -> None:
        """Count what it has counted without it, and say when another one starts."""
        from prometheus_client import multiprocess

        pid, status, place.process = place.process.pid, place.process.exitcode, None
        multiprocess.mark_process_dead(pid, str(self._folder))  # type: ignore[no-untyped-call]
        if self._end_by:
            return
        place.falls = place.falls + 1 if now - place.started < _SOON_S else 1
        trouble = self._folder / f"trouble-{place.number}"
        reason = trouble.read_text(encoding="utf-8") if trouble.exists() else ""
        trouble.unlink(missing_ok=True)
        if not self._ready and (reason or place.falls >= _TRIES):
            raise ModelError(reason or f"workers end while they load (status {status}); is there memory for all?")
        place.again_at = now + min(2.0 ** (place.falls - 1) - 1, _LONGEST_WAIT_S)
        how = reason or (f"signal {-status}" if status < 0 else f"status {status}")
        _LOG.error("worker %d (process %d) has ended: %s; another takes its place", place.number, pid, how)

    def _pass_on(self, number: int) -> None:
        if number != signal.SIGHUP:
            self._end_by = self._end_by or time.monotonic() + self._patience
        for place in self._alive():
            os.kill(place.process.pid, signal.SIGHUP if number == signal.SIGHUP else signal.SIGTERM)

    @contextmanager
    def _hearing(self) -> Iterator[None]:
        def hear(number: int, _: Any) -> None:
            self._told.append(number)

        before = {number: signal.signal(number, hear) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _run(work: Callable[[Worker], None], worker: Worker) -> None:
    """The life of a process; what cannot be loaded is the supervisor's to tell."""
    logging.basicConfig(level=logging.WARNING)
    for handler in logging.root.handlers:
        handler.setFormatter(PlainFormatter())
    try:
        work(worker)
    except LlmrecError as error:
        (worker.folder / f"trouble-{worker.number}").write_text(str(error), encoding="utf-8")
        raise SystemExit(2) from None
