"""A small real server that speaks OpenAI's protocol and fails on demand."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.planted import PATH_KEY

Fault = Callable[["Handler"], None]


def last_title(messages: Sequence[dict[str, str]]) -> str:
    """The last numbered title of a question: what a model that copies would say."""
    lines = messages[-1]["content"].splitlines()
    return next((line.partition(". ")[2] for line in reversed(lines) if line[:1].isdigit()), lines[-1])


class ChatFaults(ThreadingHTTPServer):
    """Answers with `answer`; the first requests get the faults, in their order."""

    daemon_threads = True

    def __init__(
        self,
        faults: Sequence[Fault] = (),
        answer: Callable[..., str] = last_title,
        delay_s: float = 0,
        usage: bool = True,
    ) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults = list(faults)
        self.answer = answer
        self.delay_s = delay_s
        self.usage = usage
        self.requests: list[dict[str, object]] = []
        self.authorizations: set[str] = set()
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    def content(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """What it answers, as JSON has it."""
        answer = {"choices": [{"message": {"role": "assistant", "content": self.answer(body["messages"])}}]}
        return answer | ({"usage": {"prompt_tokens": 10, "completion_tokens": 3}} if self.usage else {})

    @property
    def url(self) -> str:
        """With a key in its path, as some servers have it; nothing may keep or show it."""
        return f"http://127.0.0.1:{self.server_port}/{PATH_KEY}/v1"

    @property
    def shown(self) -> str:
        """`url` as records and errors have it."""
        return f"http://127.0.0.1:{self.server_port}/***/v1"

    def handle_error(self, *_: object) -> None:
        """A client that was killed is no error of this server."""


class Handler(BaseHTTPRequestHandler):
    server: ChatFaults

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            self.server.requests.append(body)
            self.server.authorizations.add(self.headers["authorization"])
            fault = self.server.faults.pop(0) if self.server.faults else None
            self.server.at_once += 1
            self.server.most_at_once = max(self.server.most_at_once, self.server.at_once)
        time.sleep(self.server.delay_s)
        with self.server.lock:  # before the reply, for then the next request may come
            self.server.at_once -= 1
        if fault:
            fault(self)
            return
        self.reply(200, json.dumps(self.server.content(body)))

    def reply(self, status: int, body: str, **headers: str) -> None:
        self.send_response(status)
        for name, value in (
            {"content_type": "application/json", "content_length": str(len(body.encode()))} | headers
        ).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Tests read the requests, not a log."""


def status(code: int, message: str = "", **headers: str) -> Fault:
    return lambda handler: handler.reply(code, json.dumps({"error": {"message": message}}), **headers)


def half_json(handler: Handler) -> None:
    handler.reply(200, '{"choices": [{"message": {"role": "assist')


def cut_short(handler: Handler) -> None:
    handler.reply(200, '{"choices": [', content_length="500")


def no_choice(handler: Handler) -> None:
    handler.reply(200, '{"choices": []}')


def page(handler: Handler) -> None:
    handler.reply(200, "<html>Bad gateway</html>", content_type="text/html")


def reset(handler: Handler) -> None:
    handler.connection.close()


def slow(handler: Handler) -> None:
    time.sleep(1.5)
    handler.reply(200, "{}")


def echo_header(handler: Handler) -> None:
    """What a careless server does: it repeats what it was sent."""
    handler.reply(500, json.dumps({"error": {"message": f"bad header {handler.headers['authorization']}"}}))


@contextmanager
def serving(server: ChatFaults) -> Iterator[ChatFaults]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
