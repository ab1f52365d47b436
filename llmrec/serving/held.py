"""The service in use, and how another takes its place while requests go on."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from llmrec.errors import LlmrecError
from llmrec.serving.batching import Batcher
from llmrec.serving.loaded import Places, load_all
from llmrec.serving.messages import Recommend, RecommendAnswer, Title, TitleAnswer
from llmrec.serving.metrics import Metrics
from llmrec.serving.service import Service
from llmrec.serving.workers import Worker
from llmrec.updating.versions import CURRENT, version_of

__all__ = ["Held", "Limits"]

_LOOK_S: Final = 1.0  # between looks at `current`
_GONE: Final = ": is not there any more; what was loaded from it goes on answering"
_LOG: Final = logging.getLogger("llmrec.serve")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one request, and all that wait, may take.

    Attributes:
        queue: Requests of a kind that wait; one more is sent away with 429.
        batch: Sessions ranked at once.
        title_batch: Titles written at once.
        body_bytes: Of a request.
        body_s: Seconds that a head may take to arrive, and then a body; and that a client may read nothing for.
        connections: That are open at once.
    """

    queue: int = 1024
    batch: int = 64
    title_batch: int = 32
    body_bytes: int = 4 << 20
    body_s: float = 10.0
    connections: int = 4096


@dataclass(kw_only=True)
class Held:
    """A service, its batches, and where it came from.

    Attributes:
        places: Where the fitted things are.
        limits: Limits.
        warm: Items and locale of sessions to warm up on.
        worker: Which of several processes this is; None for the only one.
        service: The service in use; None until the first one is loaded.
        trouble: Why the newest models are not in use; empty where they are.
        settled: Set when the first load has ended, well or not.
    """

    places: Places
    limits: Limits
    warm: Sequence[tuple[Sequence[str], str]] = ()
    worker: Worker | None = None
    service: Service | None = None
    trouble: str = ""
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    _used: list[Path] = field(default_factory=list)
    _busy: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.metrics = Metrics(lambda: len(self.recommending) + len(self.writing) + len(self.working))
        self.recommending: Batcher[Recommend, RecommendAnswer] = Batcher(
            lambda asked: self._service.recommend(asked),
            self.limits.batch,
            self.limits.queue,
            self.metrics.batched("recommend"),
        )
        self.writing: Batcher[Title, TitleAnswer] = Batcher(
            lambda asked: self._service.titles(asked),
            self.limits.title_batch,
            self.limits.queue,
            self.metrics.batched("title"),
        )
        self.working: Batcher[Callable[[], Any], Any] = Batcher(
            lambda asked: [work() for work in asked], 1, self.limits.queue, self.metrics.batched("other")
        )
        self._seen = self._stamp()

    @property
    def _service(self) -> Service:
        if self.service is None:
            raise RuntimeError("asked before it was loaded")
        return self.service

    async def load(self) -> None:
        """Load what is there now, warm it up, and put it in the place of what is in use; requests go on meanwhile.

        What cannot be loaded changes nothing but `trouble`.

        Raises:
            LlmrecError: nothing is in use yet, and this cannot be loaded.
        """
        async with self._busy:
            self._seen = self._stamp()
            try:
                self.service = await asyncio.to_thread(self._made)
            except Exception as error:
                if self.service is None:
                    raise
                self._note(error)
                self.metrics.swapped("failed")
                _LOG.error("the new models are not used: %s; the old ones stay", self.trouble)
                return
            self.trouble = ""
            self._used = [folder for folder in map(version_of, self._folders()) if folder.exists()]
            if self.worker is not None:
                self.worker.loaded()
            self.metrics.swapped("done")
            _LOG.info("serves %s", ", ".join(f"{one.kind} {one.id}" for one in self.service.models()))

    def _note(self, error: Exception) -> None:
        """Remember why models are not in use; a fault of ours goes to the log with its traceback."""
        self.trouble = str(error) or type(error).__name__
        if not isinstance(error, LlmrecError | OSError | MemoryError):
            _LOG.error("models could not be loaded, by a fault", exc_info=error)

    @property
    def ready(self) -> bool:
        """Whether a service is in use, here and in every other process."""
        return self.service is not None and (self.worker is None or self.worker.all_loaded())

    def _made(self) -> Service:
        service = Service(load_all(self.places))
        service.warm_up(self.warm)
        return service

    async def start(self) -> None:
        """Load for the first time, if that is still to do; `settled` and `trouble` say how it went."""
        if self.settled.is_set():
            return
        try:
            await self.load()
            gc.freeze()  # a look through all that a catalogue is made of takes a tenth of a second
        except Exception as error:  # noqa: BLE001 - whoever waits is told
            self._note(error)
        finally:
            self.settled.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Load when it is entered, look for new models until it is left, let the threads go then."""
        tasks = [asyncio.create_task(self.start()), asyncio.create_task(self.watch())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            for one in (self.recommending, self.writing, self.working):
                one.close()
            gc.unfreeze()  # or bindings take for leaked what nobody looked through at the end

    async def watch(self) -> None:
        """Load anew whenever a folder's `current` leads elsewhere, for ever."""
        while True:
            await asyncio.sleep(_LOOK_S)
            self.metrics.refresh()
            if self.service is not None and self._stamp() != self._seen:
                await self.load()
            self._look_for_folders()

    def _look_for_folders(self) -> None:
        """Say it where what was loaded is not there any more: it goes on answering, until the service ends."""
        gone = next((folder for folder in self._used if not folder.exists()), None)
        if gone is not None and not self.trouble:
            self.trouble = f"{gone}{_GONE}"
            _LOG.error("%s", self.trouble)
        elif gone is None and self.trouble.endswith(_GONE):
            self.trouble = ""

    def _folders(self) -> list[Path]:
        given = (self.places.ranker, self.places.titles, self.places.index)
        return [Path(place) for place in given if place is not None]

    def _stamp(self) -> tuple[Any, ...]:
        return tuple(_target(folder / CURRENT) for folder in self._folders())


def _target(current: Path) -> str:
    try:
        return str(current.readlink())
    except OSError:  # no link: a folder, or nothing
        return ""
