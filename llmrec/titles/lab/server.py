"""The one place that knows ``openai``: chat models behind any server that speaks OpenAI's protocol.

A key comes from ``LLMREC_API_KEY`` or ``OPENAI_API_KEY`` and goes nowhere but into the request's header: what a server
says is freed of it, and of the base URL's password, before anything is kept or shown.
"""

from __future__ import annotations

import json
import math
import os
import random
import threading
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from openai import APIConnectionError, APIStatusError, APITimeoutError, OpenAI

from llmrec.console import notice
from llmrec.errors import ModelError
from llmrec.evaluation.provenance import without_credentials
from llmrec.text.prompts import one_line
from llmrec.titles.lab.answers import Answer

__all__ = ["KEYS", "ChatServer"]

KEYS: Final = ("LLMREC_API_KEY", "OPENAI_API_KEY")
_REPEATED: Final = (408, 409, 425, 429)  # and every status from 500
_LONGEST_DELAY_S: Final = 30.0
_LONGEST_ASKED_S: Final = 300.0  # a server that asks for more patience than this has no quota left
_SHOWN: Final = 200
_SECRET: Final = 6  # to cut a shorter one out of a text would tear words and hide nothing


class _Failure(Exception):  # noqa: N818 - not an error yet: most are repeated
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


@dataclass
class ChatServer:
    """A server, asked from several threads at once.

    Attributes:
        url: Base URL, with a password if it needs one.
        timeout_s: Longest wait for one answer.
        retries: Most repetitions of one request.
        first_delay_s: Wait before the first repetition, unless the server asks for another; doubled each time.
    """

    url: str
    timeout_s: float
    retries: int
    first_delay_s: float = 0.5
    _detail: set[str] = field(default_factory=set, init=False, repr=False)
    _stopped: threading.Event = field(default_factory=threading.Event, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        key = next((os.environ[name] for name in KEYS if os.environ.get(name)), "")
        parts = urlsplit(self.url)
        password = unquote(parts.password or "")
        header = b64encode(f"{unquote(parts.username or '')}:{password}".encode()).decode()
        hidden = (key, parts.password or "", password, header if password else "")
        self._secrets = tuple(secret for secret in hidden if len(secret) >= _SECRET)
        self.name = without_credentials(self.url)
        # openai's own retries stay off: they repeat a status but no broken reply, say nothing and cannot be stopped
        self._client = OpenAI(api_key=key or "none", base_url=self.url, timeout=self.timeout_s, max_retries=0)

    def ask(self, model: str, messages: Sequence[Mapping[str, str]], settings: Mapping[str, Any]) -> Answer:
        """Have a model answer; an attempt that fails for the moment is repeated, later and later.

        Args:
            model: Its name on the server.
            messages: From `llmrec.text.prompts.Prompt.messages`.
            settings: ``temperature``, ``max_tokens``, ``seed``.

        Raises:
            ModelError: the server refuses the request, or has failed too often; one line that names server and reason.
        """
        attempt = 0
        while True:
            try:
                return self._attempt(model, messages, settings)
            except _Failure as failure:
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

    def _attempt(self, model: str, messages: Sequence[Mapping[str, str]], settings: Mapping[str, Any]) -> Answer:
        started = time.monotonic()
        create: Any = self._client.chat.completions.with_raw_response.create
        try:
            reply = create(model=model, messages=list(messages), **settings)
        except APITimeoutError:
            raise _Failure(f"no answer within {self.timeout_s:g} s", again=True) from None
        except APIConnectionError as error:
            raise _Failure(f"no connection ({self._clean(str(error.__cause__ or error))})", again=True) from None
        except APIStatusError as error:
            raise self._refused(error) from None
        return self._read(reply.http_response.text, time.monotonic() - started)

    def _read(self, body: str, seconds: float) -> Answer:
        """Answer in a reply's body.

        Raises:
            _Failure: half a JSON, or one without an answer in it.
        """
        try:
            content = json.loads(body)
            text = content["choices"][0]["message"]["content"]
            usage = content.get("usage") or {}
            tokens = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            raise _Failure(f"a reply that is no answer: {self._clean(body)[:60] or 'empty'}", again=True) from None
        if text is not None and not isinstance(text, str):
            raise _Failure("a reply whose content is no text", again=True)
        read, wrote = (count if isinstance(count, int) else None for count in tokens)
        return Answer(self._hidden(text or ""), read, wrote, seconds)

    def _refused(self, error: APIStatusError) -> _Failure:
        status = error.status_code
        detail = error.body
        detail = detail.get("message", detail.get("detail", detail)) if isinstance(detail, dict) else detail
        reason = f"status {status}: {self._clean(str(detail or error.message))}".rstrip(".: ")
        return _Failure(reason, status in _REPEATED or status >= 500, _asked_wait(error.response.headers))

    def _tell(self, reason: str, wait_s: float) -> None:
        """Say once for each reason that the program waits, however many requests do."""
        with self._lock:
            if reason in self._detail:
                return
            self._detail.add(reason)
        notice(f"{self.name}: {reason}; trying again in {wait_s:.3g} s")

    def _way_out(self, failure: _Failure, attempts: int) -> str:
        reason = failure.reason
        tried = f" ({attempts} attempts)" if attempts > 1 else ""
        if "status 401" in reason or "status 403" in reason:
            way = f"set {' or '.join(KEYS)} in the environment"
        elif "status 404" in reason:
            way = "check --model and --server, which mostly ends in /v1"
        elif "status 429" in reason:
            way = "lower --concurrency or wait for more quota, then run the same command again: answers are kept"
        elif failure.again:
            way = "see to the server, then run the same command again: answers that came are kept"
        else:
            way = "check --model and --max-tokens; a smaller --k or --shots makes a shorter prompt"
        return f"{self.name}: {reason}{tried}; {way}"

    def _clean(self, text: str) -> str:
        return self._hidden(one_line(text))[:_SHOWN]

    def _hidden(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


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
        except ValueError:
            return None
    return max(0.0, wait_s) if math.isfinite(wait_s) else None
