"""The one place that knows ``openai``: models behind any server that speaks OpenAI's protocol.

A key comes from ``LLMREC_API_KEY`` or ``OPENAI_API_KEY`` and goes nowhere but into the request's header: what a server
says is freed of it, and of the base URL's secrets, before anything is kept or shown. A reply has a longest time, from
first to last byte, and a largest size.
"""

from __future__ import annotations

import math
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar, Final, TypeVar

import httpx2
from openai import APIConnectionError, APIStatusError, APITimeoutError, DefaultHttpxClient, OpenAI

from llmrec.console import notice
from llmrec.errors import SHORTEST_SECRET, ConfigError, ModelError, secrets_of, without_secrets

__all__ = ["KEYS", "Failure", "OpenAIServer"]

KEYS: Final = ("LLMREC_API_KEY", "OPENAI_API_KEY")
_REPEATED: Final = (408, 409, 425, 429)  # and every status from 500
_LONGEST_DELAY_S: Final = 30.0
_LONGEST_ASKED_S: Final = 300.0  # a server that asks for more patience than this has no quota left
_SHOWN: Final = 200
_READ: Final = 2_000  # characters of an error page that are looked at
R = TypeVar("R")


class Failure(Exception):  # noqa: N818 - not an error yet: most are repeated
    """One attempt that failed.

    Attributes:
        reason: What happened, in a few words.
        again: Whether another attempt may succeed.
        wait_s: Seconds that the server asked to wait; None where it did not.
    """

    def __init__(self, reason: str, again: bool, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.again = again
        self.wait_s = wait_s


class _Bounded(httpx2.SyncByteStream):
    """A reply's bytes, which end in a `Failure` where there are too many."""

    def __init__(self, stream: Any, largest: int) -> None:
        self._stream, self._largest = stream, largest

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for chunk in self._stream:
            size += len(chunk)
            if size > self._largest:
                raise Failure(f"a reply of more than {self._largest >> 20} MiB", again=False)
            yield chunk

    def close(self) -> None:
        self._stream.close()


def _bound(reply: httpx2.Response, largest: int) -> None:
    if reply.headers.get("content-encoding", "identity") != "identity":  # a few of its bytes may become very many
        raise Failure("a compressed reply, which was not asked for", again=False)
    reply.stream = _Bounded(reply.stream, largest)


def _within(seconds: float, call: Callable[[], Any]) -> Any:
    """What ``call`` gives; waits no longer for it, whatever it waits for (a client's own limits are for each byte)."""
    done: list[Any] = []

    def work() -> None:
        try:
            done.append((call(), None))
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            done.append((None, error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if not done:
        raise Failure(f"no answer within {seconds:g} s", again=True)
    value, error = done[0]
    if error is not None:
        raise error
    return value


@dataclass
class OpenAIServer:
    """A server, asked from several threads at once; those of a kind say what to do where it refuses.

    Attributes:
        WAYS: The way out, by what went wrong: ``404``, ``429``, ``again`` (it failed too often), ``refused``.
        LARGEST: Most bytes of a reply.
        url: Base URL, with a password if it needs one.
        timeout_s: Longest wait for one answer.
        retries: Most repetitions of one request.
        first_delay_s: Wait before the first repetition, unless the server asks for another; doubled each time.
    """

    WAYS: ClassVar[Mapping[str, str]]
    LARGEST: ClassVar[int] = 8 << 20

    url: str
    timeout_s: float
    retries: int
    first_delay_s: float = 0.5
    _detail: set[str] = field(default_factory=set, init=False, repr=False)
    _stopped: threading.Event = field(default_factory=threading.Event, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        name = next((name for name in KEYS if os.environ.get(name, "").strip()), KEYS[0])
        key = os.environ.get(name, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise ConfigError(f"{name} holds a character that no header can carry; copy the key again")
        self._secrets = (*secrets_of(self.url), *([key] if len(key) >= SHORTEST_SECRET else []))
        self.name = without_secrets(self.url)
        # openai's own retries stay off: they repeat a status but no broken reply, say nothing and cannot be stopped
        self._client = OpenAI(
            api_key=key or "none",
            base_url=self.url,
            timeout=self.timeout_s,
            max_retries=0,
            default_headers={"Accept-Encoding": "identity"},
            http_client=DefaultHttpxClient(event_hooks={"response": [lambda reply: _bound(reply, self.LARGEST)]}),
        )

    def call(self, create: Callable[[Any], Any], read: Callable[[str, float], R]) -> R:
        """Have a request answered; an attempt that fails for the moment is repeated, later and later.

        Args:
            create: Sends it by a client of ``openai``, and gives the raw response.
            read: Makes sense of a reply's body, which came in so many seconds; raises `Failure` where there is none.

        Raises:
            ModelError: the server refuses the request, or has failed too often; one line that names server and reason.
        """
        attempt = 0
        while True:
            try:
                return self._attempt(create, read)
            except Failure as failure:
                wait_s = failure.wait_s if failure.wait_s is not None else self._backoff(attempt)
                if not failure.again or attempt == self.retries or wait_s > _LONGEST_ASKED_S:
                    raise ModelError(self._way_out(failure, attempt + 1)) from None
                self._tell(failure.reason, wait_s)
            if self._stopped.wait(wait_s):
                raise ModelError(f"{self.name}: stopped")
            attempt += 1

    def stop(self) -> None:
        """End the waiting of all threads: no request is repeated any more."""
        self._stopped.set()

    def _backoff(self, attempt: int) -> float:
        """Seconds before the next attempt, spread so that threads do not come back together."""
        return min(_LONGEST_DELAY_S, self.first_delay_s * 2.0**attempt) * random.uniform(0.75, 1.0)

    def _attempt(self, create: Callable[[Any], Any], read: Callable[[str, float], R]) -> R:
        started = time.monotonic()
        try:
            reply = _within(self.timeout_s, lambda: create(self._client))
        except APITimeoutError:
            raise Failure(f"no answer within {self.timeout_s:g} s", again=True) from None
        except APIConnectionError as error:
            if isinstance(error.__cause__, Failure):
                raise error.__cause__ from None
            raise Failure(f"no connection ({self._clean(str(error.__cause__ or error))})", again=True) from None
        except APIStatusError as error:
            raise self._refused(error) from None
        return read(reply.http_response.text, time.monotonic() - started)

    def unreadable(self, body: str) -> Failure:
        """What to raise for a reply without an answer in it."""
        return Failure(f"a reply that is no answer: {self._clean(body[:_READ])[:60] or 'empty'}", again=True)

    def hidden(self, text: str) -> str:
        """A text of the server's without the secrets that it was sent."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def _refused(self, error: APIStatusError) -> Failure:
        status = error.status_code
        detail = error.body
        detail = detail.get("message", detail.get("detail", detail)) if isinstance(detail, dict) else detail
        reason = f"status {status}: {self._clean(str(detail or error.message)[:_READ])}".rstrip(".: ")
        return Failure(reason, status in _REPEATED or status >= 500, _asked_wait(error.response.headers))

    def _tell(self, reason: str, wait_s: float) -> None:
        """Say once for each reason that the program waits, however many requests do."""
        with self._lock:
            if reason in self._detail:
                return
            self._detail.add(reason)
        notice(f"{self.name}: {reason}; trying again in {wait_s:.3g} s")

    def _way_out(self, failure: Failure, attempts: int) -> str:
        reason = failure.reason
        tried = f" ({attempts} attempts)" if attempts > 1 else ""
        kinds = {f"status {status}": str(status) for status in (404, 429)}
        kind = next(
            (kind for status, kind in kinds.items() if status in reason), "again" if failure.again else "refused"
        )
        forbidden = "status 401" in reason or "status 403" in reason
        way = f"set {' or '.join(KEYS)} in the environment" if forbidden else self.WAYS[kind]
        return f"{self.name}: {reason}{tried}; {way}"

    def _clean(self, text: str) -> str:
        return without_secrets(self.hidden(" ".join(text.split())))[:_SHOWN]


def _asked_wait(headers: Mapping[str, str]) -> float | None:
    """``Retry-After`` in seconds, a number or a date; None where there is none that makes sense."""
    detail = headers.get("retry-after")
    if detail is None:
        return None
    try:
        wait_s = float(detail)
    except ValueError:
        try:
            wait_s = parsedate_to_datetime(detail).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, wait_s) if math.isfinite(wait_s) else None
