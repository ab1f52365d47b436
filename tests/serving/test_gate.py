"""What every request passes: an answer that was sent has been counted, once."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any

import pytest

from llmrec.serving.gate import Gate, Receive, Scope, Send

SCOPE = {"type": "http", "method": "GET", "path": "/asked", "headers": [], "state": {}}


async def fine(_: Scope, __: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"a", "more_body": True})
    await send({"type": "http.response.body", "body": b"b"})


async def silent(_: Scope, __: Receive, ___: Send) -> None:
    raise RuntimeError("nothing was sent")


async def broken(_: Scope, __: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    raise RuntimeError("half of it was sent")


def counted_at_each_message(app: Any, keys: dict[str, str]) -> tuple[list[int], list[int]]:
    """How many requests were counted whenever something was sent, and the statuses that were counted at the end."""
    statuses: list[int] = []
    sent: list[int] = []

    async def send(_: MutableMapping[str, Any]) -> None:
        sent.append(len(statuses))

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    gate = Gate(
        app, keys=keys, most_bytes=9, patience_s=1.0, answered=lambda _, status, __: statuses.append(status), log=None
    )
    with suppress(RuntimeError):
        asyncio.run(gate(dict(SCOPE), receive, send))
    return sent, statuses


@pytest.mark.parametrize(
    ("app", "keys", "sent", "statuses"),
    [
        (fine, {}, [1, 1, 1], [200]),
        (fine, {"shop": "a key of 16 bytes"}, [1, 1, 1], [401]),
        (silent, {}, [], [500]),
        (broken, {}, [1], [200]),  # what the client was told
    ],
)
def test_a_request_is_counted_once_and_before_its_answer_is_sent(
    app: Any, keys: dict[str, str], sent: list[int], statuses: list[int]
) -> None:
    assert counted_at_each_message(app, keys) == (sent, statuses)
