"""Connections: not too many, with heads that end in time, and with clients that read what they asked for.

uvicorn waits for ever for a head that does not end, keeps all of it, and all requests that are sent ahead of answers.
"""

from __future__ import annotations

import asyncio
import resource
from functools import partial
from typing import Any, Final

from llmrec.errors import require
from llmrec.serving.gate import RETRY_S, problem
from llmrec.serving.held import Limits

__all__ = ["server_of"]

_PROTOCOL: Any = require("uvicorn.protocols.http.httptools_impl", "serve").HttpToolsProtocol
_HEAD_BYTES: Final = 1 << 16  # of a head, and of what frames a body
_READ: Final = 1 << 14  # bytes that are read before they are counted
_FRAMING: Final = 8  # bytes around a byte of a body, where it comes in chunks of one
_AHEAD: Final = 32  # requests that may be sent before the answer to the first
_LAST_S: Final = 0.5  # that a request may be on its way when the server is told to end
_FILES: Final = 64  # open files that are not connections
_REASONS: Final = {
    400: "Bad Request",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


def server_of(app: Any, limits: Limits, *, host: str = "127.0.0.1", port: int = 0, drain_s: int | None = None) -> Any:
    """A server of uvicorn for an application, with connections within limits.

    Args:
        app: The application.
        limits: Of a connection, and of how many there are.
        host: Address to listen at.
        port: Port to listen at; 0 takes a free one.
        drain_s: Seconds that requests have to end in when it is told to stop; without end where not given.

    Raises:
        MissingExtraError: the packages of the ``serve`` extra are not installed.
    """
    uvicorn = require("uvicorn", "serve")
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=partial(_Connection, limits),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nobody asks where a request came from
        timeout_graceful_shutdown=drain_s,
    )
    return uvicorn.Server(config)


class _Connection(_PROTOCOL):  # type: ignore[misc]
    """A client's connection."""

    def __init__(self, limits: Limits, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._most = min(limits.connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _FILES)
        self._timer: asyncio.TimerHandle | None = None
        self._spent = self._left = 0
        self._ends = False

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > self._most:
            self._refuse(503, "busy", "too many connections are open; try again in a second")
        else:
            self._timer = self.loop.call_later(self._limits.body_s, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_ends()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._timer is None and (self.cycle is None or self.cycle.response_complete):
            self._timer = self.loop.call_later(self._limits.body_s, self._late)
        for start in range(0, len(data), _READ):  # a whole head in one read would be over before it is counted
            part = data[start : start + _READ]
            self._spent += len(part)
            super().data_received(part)
            if self.transport.is_closing():
                return
            if self._spent > _HEAD_BYTES:
                self._refuse(431, "too_large", f"a head has at most {_HEAD_BYTES:,} bytes")
                return

    def on_message_begin(self) -> None:
        self._spent = 1
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= _AHEAD:
            raise ValueError("too many requests ahead of their answers")  # ends the parsing
        self._head_ends()
        self._spent = 0
        super().on_headers_complete()
        if self._ends:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._spent -= (1 + _FRAMING) * len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._spent = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._left = self.transport.get_write_buffer_size()
        if self._left:
            self.loop.call_later(self._limits.body_s, self._unread)

    def shutdown(self) -> None:
        """Answer the request that is worked on, and one that is on its way, and close."""
        self._ends = True
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(_LAST_S, super().shutdown)
        else:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """What uvicorn answers to what is no HTTP."""
        self._refuse(400, "no_http", "this is no HTTP/1.1; " + msg)

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: it is answered without."""

    def _head_ends(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        if self._spent:
            self._refuse(408, "too_slow", f"the head did not arrive within {self._limits.body_s:g} seconds")
        else:
            self.transport.close()

    def _unread(self) -> None:
        """End a connection whose client has read nothing of its answer for a while."""
        left = self.transport.get_write_buffer_size()
        if left and left == self._left:
            self.transport.abort()
        elif left:
            self._left = left
            self.loop.call_later(self._limits.body_s, self._unread)

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Answer in the place of the application, unless it is answering, and close."""
        cycle = self.cycle
        if self.pipeline or (cycle is not None and cycle.response_started and not cycle.response_complete):
            self.transport.abort()
            return
        if cycle is not None:
            cycle.disconnected = True  # whatever is worked on for it
        body = problem(code, message)
        again = f"retry-after: {RETRY_S}\r\n" if status == 503 else ""
        head = f"HTTP/1.1 {status} {_REASONS[status]}\r\ncontent-type: application/json\r\n{again}"
        self.transport.write(f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body)
        self.transport.close()
