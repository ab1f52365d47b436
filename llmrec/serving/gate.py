"""What every request passes: its id, its key, its size, its time, and a line in the log."""

from __future__ import annotations

import asyncio
import hmac
import os
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from llmrec.errors import ConfigError
from llmrec.serving.messages import Problem, ProblemAnswer

__all__ = ["RETRY_S", "Gate", "Receive", "Scope", "Send", "problem", "read_keys", "refuse", "refuse_open"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_OPEN: Final = ("/health/live", "/health/ready")  # asked by what watches over the process, which has no key
_REQUEST_ID: Final = re.compile(r"[\w.:+/=@-]{1,128}", re.ASCII)
_KEY_BYTES: Final = 16
_BODIES: Final = 8  # of the largest size, that may be at work at once
_REST_BODIES: Final = 16  # of the largest size, that a refused request may send on
_REST_S: Final = 5.0
_CLIENT_GONE: Final = 499  # nobody is told of it: for the log
RETRY_S: Final = "1"


def read_keys(file: Path) -> dict[str, str]:
    """Keys by the name of who has them: a ``name key`` a line; lines of ``#`` and empty ones are passed over.

    Raises:
        ConfigError: the file cannot be read, a line is no pair, a key is short, or a name is there twice.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read; --keys takes a text file with 'name key' a line") from error
    keys: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 2 or len(words[1]) < _KEY_BYTES or not words[1].isascii() or words[0] in keys:
            wanted = f"'name key' is wanted, each name once, the key of ASCII and at least {_KEY_BYTES} long"
            raise ConfigError(f"{file}, line {number}: {wanted}")
        keys[words[0]] = words[1]
    if not keys:
        raise ConfigError(f"{file}: holds no key; write 'name key' a line")
    return keys


def refuse_open(host: str, keys: Mapping[str, str] | None) -> None:
    """Refuse to be open to a network without keys.

    Raises:
        ConfigError: ``host`` is no loopback address and there are no keys.
    """
    if host not in ("127.0.0.1", "localhost", "::1") and not keys:
        raise ConfigError(f"--host {host} lets others in; give --keys FILE, or --host 127.0.0.1")


def problem(code: str, message: str, field: str = "", request_id: str = "") -> bytes:
    """An error's body."""
    return msgspec.json.encode(
        ProblemAnswer(error=Problem(code=code, message=message, field=field), request_id=request_id)
    )


class Gate:
    """ASGI middleware: what it lets through is small, whole, in time and has a key."""

    def __init__(
        self,
        app: Any,
        *,
        keys: Mapping[str, str],
        most_bytes: int,
        patience_s: float,
        answered: Callable[[str, int, float], None],
        log: Callable[[Mapping[str, Any]], None] | None,
        is_open: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """
        Args:
            app: What is behind it.
            keys: Keys by name; everybody comes in where there is none.
            most_bytes: Of a request's body; `_BODIES` times as many of all that are at work.
            patience_s: Seconds that a body may take to arrive.
            answered: Told the route, status and seconds of each request, before its answer is sent.
            log: Writes a line of the log; None for no log.
            is_open: Whether a path needs no key.
        """
        self._app, self._keys, self._most, self._patience = app, dict(keys), most_bytes, patience_s
        self._answered, self._log, self._is_open, self._bytes = answered, log, is_open, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        if scope["type"] != "http":  # nothing here speaks by WebSocket
            return
        start, told = time.perf_counter(), {"status": _CLIENT_GONE, "counted": False}
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        request_id = given if _REQUEST_ID.fullmatch(given) else os.urandom(16).hex()
        scope.setdefault("state", {})["request_id"] = request_id

        def count() -> None:
            told["counted"] = True
            self._answered(_route(scope), told["status"], time.perf_counter() - start)

        async def told_send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                told["status"] = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode("latin-1"))]
                count()  # who has read an answer finds it counted, also where this process is killed right after it
            await send(message)

        who, body = self._who(headers), bytearray()
        try:
            if who is None and scope["path"] not in _OPEN and not self._is_open(scope["path"]):
                raise _Refused(401, "no_key", "give a key: Authorization: Bearer KEY")
            await self._read(body, headers, receive)
            await self._app(scope, _replayed(bytes(body), receive), told_send)
        except _Refused as refused:
            self._bytes -= len(body)
            body.clear()
            rest = partial(self._rest, receive)
            await refuse(told_send, refused.status, refused.code, str(refused), request_id, rest)
        except _Gone:
            pass
        except BaseException:
            told["status"] = 500
            raise
        finally:
            self._bytes -= len(body)
            if not told["counted"]:
                count()
            if self._log is not None:
                line = {"method": scope["method"], "route": _route(scope), "status": told["status"]}
                ms = round(1000 * (time.perf_counter() - start), 3)
                self._log({**line, "ms": ms, "key": who or "", "request_id": request_id})

    def _who(self, headers: Mapping[bytes, bytes]) -> str | None:
        """Name of who has the key that was given; empty where none is wanted, None for a wrong one."""
        if not self._keys:
            return ""
        given = headers.get(b"x-api-key", b"") or headers.get(b"authorization", b"").removeprefix(b"Bearer ")
        found = None
        for name, key in self._keys.items():  # all of them, so that the time says nothing
            if hmac.compare_digest(given, key.encode()):
                found = name
        return found

    async def _read(self, body: bytearray, headers: Mapping[bytes, bytes], receive: Receive) -> None:
        """Read the whole body into ``body``.

        Raises:
            _Refused: it is too long, too slow, or too much is being read already.
            _Gone: the client has gone.
        """
        length = headers.get(b"content-length", b"0")
        too_long = f"a body has at most {self._most:,} bytes; send fewer sessions at once"
        if length.isdigit() and int(length) > self._most:
            raise _Refused(413, "too_large", too_long)
        try:
            async with asyncio.timeout(self._patience):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Gone
                    part = message.get("body", b"")
                    body += part
                    self._bytes += len(part)
                    if len(body) > self._most:
                        raise _Refused(413, "too_large", too_long)
                    if self._bytes > _BODIES * self._most:
                        raise _Refused(
                            429, "busy", "the bodies that are being read are too many; try again in a second"
                        )
                    if not message.get("more_body"):
                        return
        except TimeoutError:
            raise _Refused(408, "too_slow", f"the body did not arrive within {self._patience:g} seconds") from None

    async def _rest(self, receive: Receive) -> None:
        """Let the rest of a refused body come and go: a client that is still sending reads no answer."""
        left = _REST_BODIES * self._most
        with suppress(TimeoutError):
            async with asyncio.timeout(min(self._patience, _REST_S)):
                while left > 0:
                    message = await receive()
                    left -= len(message.get("body", b""))
                    if not message.get("more_body"):
                        return


def _route(scope: Scope) -> str:
    """The pattern that a request's path met."""
    return getattr(scope.get("route"), "path", "") or "other"


class _Refused(Exception):  # noqa: N818 - an answer, not a fault
    """What is answered in the place of an application."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class _Gone(Exception):  # noqa: N818 - as it is with clients
    """Nobody is there any more to answer."""


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A body that has been read, as if it came just now."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> MutableMapping[str, Any]:
        return messages.pop() if messages else await receive()

    return again


async def refuse(
    send: Send, status: int, code: str, message: str, request_id: str, rest: Callable[[], Awaitable[None]] | None = None
) -> None:
    """Answer an error in the place of an application, and close the connection once ``rest`` has come."""
    body = problem(code, message, request_id=request_id)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status == 429:
        headers.append((b"retry-after", RETRY_S.encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": rest is not None})
    if rest is not None:
        await rest()
        await send({"type": "http.response.body", "body": b""})
