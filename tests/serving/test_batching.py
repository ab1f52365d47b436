"""Requests that come together are worked on together; too many are sent away; one's fault is not another's."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest

from llmrec.serving.batching import Batcher, Full


def test_what_waits_makes_the_next_batch() -> None:
    sizes: list[int] = []
    go = threading.Event()

    def work(asked: Sequence[int]) -> list[int]:
        go.wait(10)
        return [2 * one for one in asked]

    async def run() -> list[int]:
        batcher: Batcher[int, int] = Batcher(work, 4, 100, sizes.append)
        first = asyncio.create_task(batcher.ask(0))
        await asyncio.sleep(0.05)
        rest = [asyncio.create_task(batcher.ask(one)) for one in range(1, 8)]
        await asyncio.sleep(0)
        assert len(batcher) == 7
        go.set()
        answers = await asyncio.gather(first, *rest)
        batcher.close()
        return answers

    assert asyncio.run(run()) == [2 * one for one in range(8)]
    assert sizes == [1, 4, 3]


def test_too_many_are_sent_away_and_nothing_is_lost_by_it() -> None:
    go = threading.Event()

    def work(asked: Sequence[int]) -> list[int]:
        go.wait(10)
        return list(asked)

    async def run() -> None:
        batcher: Batcher[int, int] = Batcher(work, 1, 2, lambda _: None)
        first = asyncio.create_task(batcher.ask(1))
        await asyncio.sleep(0.05)
        waiting = [asyncio.create_task(batcher.ask(one)) for one in (2, 3)]
        await asyncio.sleep(0)
        with pytest.raises(Full):
            await batcher.ask(4)
        waiting[0].cancel()  # its client has gone
        go.set()
        assert await first == 1
        assert await waiting[1] == 3
        batcher.close()

    asyncio.run(run())


def test_a_wrong_request_does_not_spoil_the_others_and_a_fault_is_told_to_all() -> None:
    def work(asked: Sequence[int]) -> list[int | Exception]:
        if 9 in asked:
            raise OSError("gone")
        return [ValueError("odd") if one % 2 else one for one in asked]

    async def run() -> None:
        batcher: Batcher[int, int] = Batcher(work, 8, 8, lambda _: None)
        told = await asyncio.gather(*(batcher.ask(one) for one in (2, 3)), return_exceptions=True)
        assert told[0] == 2
        assert isinstance(told[1], ValueError)
        with pytest.raises(OSError, match="gone"):
            await batcher.ask(9)
        assert await batcher.ask(4) == 4
        batcher.close()

    asyncio.run(run())


def test_quick_work_is_done_at_once_and_slow_work_leaves_the_loop_free() -> None:
    seconds, threads = 0.0, []

    def work(asked: Sequence[int]) -> list[int]:
        threads.append(threading.current_thread())
        time.sleep(seconds)
        return list(asked)

    async def run() -> None:
        nonlocal seconds
        batcher: Batcher[int, int] = Batcher(work, 8, 8, lambda _: None)
        for _ in range(200):  # a busy machine takes some of them for slow
            await batcher.ask(1)
            if threads[-1] is threading.main_thread():
                break
        assert threads[-1] is threading.main_thread()
        assert threads[0] is not threading.main_thread()
        seconds = 0.02
        await batcher.ask(1)  # which finds out
        threads.clear()
        await batcher.ask(1)
        assert threading.main_thread() not in threads
        batcher.close()

    asyncio.run(run())
