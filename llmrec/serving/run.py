"""``llmrec serve``: a process that answers until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

import msgspec

from llmrec.console import notice
from llmrec.errors import ConfigError, ModelError, require
from llmrec.serving.gate import read_keys, refuse_open
from llmrec.serving.page.places import PagePlaces
from llmrec.settings import option

if TYPE_CHECKING:
    from llmrec.serving.held import Held
    from llmrec.serving.workers import Worker

__all__ = ["ServeJob", "ServiceJob", "run_service", "serve"]

_WARM_SESSIONS: Final = 32
_DRAIN_S: Final = 30


@dataclass(frozen=True, kw_only=True)
class ServiceJob:
    """What to serve, and where; `ServeJob` for programs, `llmrec.serving.page.app.AppJob` for people."""

    HELP_PANELS: ClassVar[Mapping[str, str]] = {
        "What to serve": "ranker titles backend index products",
        "Where": "host port workers keys cors",
        "Limits": "max_queue max_batch max_body_mb",
        "Running": "warm_up access_log",
    }

    ranker: Path | None = option(None, "Saved ranker (`llmrec rank --save`), or a folder of its versions.")
    titles: str | None = option(None, "Title model or selector, by folder or hub name.")
    backend: Literal["transformers", "ctranslate2"] = option(
        "transformers", "What a title model decodes with. ctranslate2 is faster on a CPU, for T5's family."
    )
    index: Path | None = option(None, "Folder that `llmrec embed` wrote.")
    products: Path | None = option(None, "Products, to show titles, brands and prices: CSV or Parquet.")
    host: str = option("127.0.0.1", "Address to listen on.")
    port: int = option(8000, "Port to listen on. 0 takes a free one.", minimum=0, maximum=65_535)
    workers: int = option(
        1, "Processes that answer. They share the port and the models' arrays.", minimum=1, maximum=256
    )
    keys: Path | None = option(None, "File of API keys, with `name key` on each line. Default: everybody is let in.")
    cors: Sequence[str] = option((), "Web origin that may call from a browser. Several can follow.", several=True)
    warm_up: Path | None = option(None, "Sessions to warm up with. Default: the most frequent items.")
    access_log: bool = option(True, "Write one JSON line per request to stderr. Items are never logged.")
    max_queue: int = option(1024, "Requests that may wait. One more gets status 429.", minimum=1)
    max_batch: int = option(64, "Most sessions to rank at once.", minimum=1, maximum=1024)
    max_body_mb: float = option(4, "Largest request, in MB.", minimum=0.001, maximum=1024)


@dataclass(frozen=True, kw_only=True)
class ServeJob(ServiceJob):
    """What to serve, and where.

    Give at least one of --ranker, --titles and --index. SIGTERM lets requests end; SIGHUP, or a changed `current` in a
    folder of versions, loads anew while the old models answer.

    Language models ask by the Model Context Protocol: over HTTP at /mcp, or --mcp for a client that starts the command.

    Example: llmrec serve --ranker models/fusion --products STORE/products.parquet

    Example: curl localhost:8000/v1/recommend -d '{"items": ["B0..."], "locale": "DE"}'
    """

    HELP_PANELS: ClassVar[Mapping[str, str]] = {"What to serve": "page", "Where": "mcp"}

    page: bool = option(False, "Serve the page for people at /, too (`llmrec app`).")
    mcp: bool = option(False, "Speak the Model Context Protocol over stdin and stdout, in place of HTTP.")


def serve(job: ServeJob) -> None:
    """Serve until SIGTERM or Ctrl-C, or until a client over stdin has gone.

    Raises:
        ConfigError: keys, origins, workers or a page are asked of what speaks over stdin and stdout.
        LlmrecError: as `run_service`.
    """
    if job.mcp:
        if job.keys is not None or job.cors or job.workers > 1 or job.page:
            others = "--keys, --cors, --workers and --page"
            raise ConfigError(f"--mcp answers who started it; leave out {others}, or serve over HTTP, at /mcp")
        asyncio.run(_speak(_held(job)))
        return
    run_service(job, PagePlaces() if job.page else None)


def run_service(
    job: ServiceJob,
    page: PagePlaces | None,
    ready: Callable[[str, Held], None] = lambda *_: None,
) -> None:
    """Serve over HTTP until SIGTERM or Ctrl-C.

    Args:
        job: What to serve, and where.
        page: What the page shows beside what is served; None for no page.
        ready: Called with the address and the service as soon as there is something to ask; not with several workers.

    Raises:
        ConfigError: nothing is to be served, a key file is wrong, or a network is let in without keys.
        LlmrecError: as the loaders.
        MissingExtraError: the packages of the ``serve`` extra are not installed.
    """
    require("uvicorn", "serve")
    refuse_open(job.host, None if job.keys is None else read_keys(job.keys))
    if job.workers > 1:
        from llmrec.serving.workers import supervise

        supervise(job.workers, job.host, job.port, partial(_answer, job, page), _DRAIN_S + 5)
    else:
        _answer(job, page, ready=ready)


def _answer(
    job: ServiceJob,
    page: PagePlaces | None,
    worker: Worker | None = None,
    ready: Callable[[str, Held], None] = lambda *_: None,
) -> None:
    """Answer in this process until it is told to end; as one of several, where there is a ``worker``."""
    from llmrec.serving.http import create_app
    from llmrec.serving.wire import server_of

    keys, held = None if job.keys is None else read_keys(job.keys), _held(job, worker)
    app = create_app(held, keys=keys, origins=job.cors, log=_line if job.access_log else None, page=page)
    server = server_of(app, held.limits, host=job.host, port=job.port, drain_s=_DRAIN_S)
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(_serve(server, held, ready))


def _held(job: ServiceJob, worker: Worker | None = None) -> Held:
    """What is to be served; it is not loaded yet."""
    from llmrec.serving.held import Held, Limits  # rankers, which --help has no use for
    from llmrec.serving.loaded import Places

    logging.getLogger("llmrec.serve").setLevel(logging.INFO)
    places = Places(ranker=job.ranker, titles=job.titles, index=job.index, products=job.products, backend=job.backend)
    limits = Limits(queue=job.max_queue, batch=job.max_batch, body_bytes=int(job.max_body_mb * (1 << 20)))
    return Held(places=places, limits=limits, warm=_warm(job.warm_up), worker=worker)


async def _serve(server: Any, held: Held, ready: Callable[[str, Held], None]) -> None:
    """Listen at once, load meanwhile, and end where nothing can be loaded."""
    server.capture_signals = nullcontext  # uvicorn would raise them again in the end, where all has ended well

    def end() -> None:  # the second time without those who still wait
        server.force_exit = server.should_exit
        server.should_exit = True

    with _told_by_signals(end, held):
        if held.worker is not None and held.worker.late:
            await held.start()  # others answer meanwhile
            if held.service is None:
                raise ModelError(held.trouble)
        task = asyncio.create_task(server.serve(None if held.worker is None else [held.worker.listening()]))
        while not (server.started and held.settled.is_set()) and not task.done():
            await asyncio.sleep(0.01)
        if server.started and held.service is None:
            server.should_exit = True
        elif server.started and held.worker is None:
            host, port = server.servers[0].sockets[0].getsockname()[:2]
            notice(f"listens at http://{host}:{port}; what it can be asked: /docs; stop it with Ctrl-C")
            ready(f"http://{host}:{port}/", held)
        await task
    if held.service is None:
        raise ModelError(held.trouble or "it was stopped before it was loaded")


async def _speak(held: Held) -> None:
    """Answer a client over stdin and stdout until it has gone, a signal comes, or nothing can be loaded."""
    from llmrec.serving.mcp import speak

    told = asyncio.Event()
    async with held.running():
        with _told_by_signals(told.set, held):
            speaking, ending = asyncio.create_task(speak(held)), asyncio.create_task(told.wait())
            loading = asyncio.create_task(held.settled.wait())
            await asyncio.wait({speaking, ending, loading}, return_when=asyncio.FIRST_COMPLETED)
            if held.service is not None:
                await asyncio.wait({speaking, ending}, return_when=asyncio.FIRST_COMPLETED)
            for task in (ending, loading, speaking):
                task.cancel()
            with suppress(asyncio.CancelledError):
                await speaking
    if held.service is None and held.trouble:
        raise ModelError(held.trouble)


@contextmanager
def _told_by_signals(end: Callable[[], None], held: Held) -> Iterator[None]:
    """SIGHUP loads anew; SIGTERM and SIGINT end."""
    loop, tasks = asyncio.get_running_loop(), set()

    def load() -> None:
        task = loop.create_task(held.load())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    told = {signal.SIGHUP: load, signal.SIGTERM: end, signal.SIGINT: end}
    if held.worker is not None:
        told[signal.SIGINT] = lambda: None  # Ctrl-C reaches the supervisor, too, which passes it on
        loop.add_reader(held.worker.supervisor, end)  # it has died
    for name, what in told.items():
        loop.add_signal_handler(name, what)
    try:
        yield
    finally:
        for name in told:
            loop.remove_signal_handler(name)


def _line(told: Mapping[str, Any]) -> None:
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    sys.stderr.write(msgspec.json.encode({"at": at, **told}).decode() + "\n")


def _warm(file: Path | None) -> list[tuple[list[str], str]]:
    if file is None:
        return []
    from llmrec.rankers.sessions import read_session_files  # a database, which --help has no use for

    sessions = read_session_files(file).slice(0, _WARM_SESSIONS)
    return list(zip(sessions.prev_items.to_pylist(), sessions.locales.to_pylist(), strict=True))
