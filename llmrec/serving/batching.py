"""What waits while a batch is at work makes the next batch: nobody waits for company, and load finds it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Generic, TypeVar

__all__ = ["Batcher", "Full"]

A = TypeVar("A")
B = TypeVar("B")

_QUICK_S: Final = 0.002  # work that takes less is done at once: to hand it to a thread and back takes as long


class Full(Exception):  # noqa: N818 - it is what HTTP answers, not a fault
    """More wait than are let in."""


class Batcher(Generic[A, B]):
    """One batch at a time: in a thread, or at once where the batch before says that it will be quick.

    Attributes:
        told: Called with the size of each batch.
    """

    def __init__(
        self,
        work: Callable[[Sequence[A]], Sequence[B | Exception]],
        most: int,
        queue: int,
        told: Callable[[int], None],
    ) -> None:
        """
        Args:
            work: Answers for some requests, an exception for one that has none.
            most: Most requests of a batch.
            queue: Most that wait.
            told: Called with the size of each batch.
        """
        self._work, self._most, self._queue, self.told = work, most, queue, told
        self._waiting: deque[tuple[A, asyncio.Future[B]]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batch")
        self._running: asyncio.Task[None] | None = None
        self._each_s = float("inf")  # seconds that a request of the last batch took

    def __len__(self) -> int:
        return len(self._waiting)

    async def ask(self, one: A) -> B:
        """The answer to a request.

        Raises:
            Full: too many wait.
            Exception: what the work gave in the place of an answer.
        """
        if len(self._waiting) >= self._queue:
            raise Full
        answer: asyncio.Future[B] = asyncio.get_running_loop().create_future()
        self._waiting.append((one, answer))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await answer

    async def _run(self) -> None:
        try:
            while self._waiting:
                taken = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
                taken = [(one, answer) for one, answer in taken if not answer.done()]  # whose client has gone
                if not taken:
                    continue
                self.told(len(taken))
                try:
                    answers = await self._worked([one for one, _ in taken])
                except Exception as error:  # noqa: BLE001 - each of those who wait is told
                    answers = [error] * len(taken)
                for (_, waiting), answer in zip(taken, answers, strict=True):
                    if waiting.done():
                        continue
                    if isinstance(answer, Exception):
                        waiting.set_exception(answer)
                    else:
                        waiting.set_result(answer)
        finally:
            self._running = None

    async def _worked(self, asked: Sequence[A]) -> Sequence[B | Exception]:
        if self._each_s * len(asked) < _QUICK_S:
            return self._timed(asked)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._timed, asked)

    def _timed(self, asked: Sequence[A]) -> Sequence[B | Exception]:
        start = time.perf_counter()
        try:
            return self._work(asked)
        finally:
            self._each_s = (time.perf_counter() - start) / len(asked)

    def close(self) -> None:
        """Let the thread go."""
        self._thread.shutdown(wait=False)
