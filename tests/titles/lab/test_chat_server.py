"""A server that fails for a moment is asked again; one that refuses is one clear line; no secret is ever told."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from email.utils import formatdate

import pytest

from llmrec.errors import ConfigError, ModelError
from llmrec.titles.lab.answers import Answer
from llmrec.titles.lab.server import ChatServer
from tests.titles.lab.chat_faults import (
    ChatFaults,
    Fault,
    Handler,
    cut_short,
    echo_header,
    half_json,
    no_choice,
    page,
    reset,
    serving,
    slow,
    status,
)

ASKED = [{"role": "user", "content": "Viewed:\n1. Kettle\n2. Mouse\nNext:"}]
SETTINGS = {"temperature": 0.0, "max_tokens": 8, "seed": 0}


def ask(url: str, retries: int = 3, timeout_s: float = 5) -> Answer:
    return ChatServer(url, timeout_s=timeout_s, retries=retries, first_delay_s=0.01).ask("m", ASKED, SETTINGS)


@pytest.mark.parametrize(
    "fault",
    [
        status(429, "slow down"),
        status(500),
        status(503),
        status(408),
        half_json,
        cut_short,
        no_choice,
        page,
        reset,
    ],
)
def test_what_fails_for_a_moment_is_asked_again(fault: Fault) -> None:
    with serving(ChatFaults([fault, fault])) as server:
        answer = ask(server.url)
        assert (answer.text, answer.prompt_tokens, answer.completion_tokens) == ("Mouse", 10, 3)
        assert len(server.requests) == 3
        assert server.requests[0] == server.requests[2] == {"model": "m", "messages": ASKED, **SETTINGS}


def test_a_slow_answer_is_asked_for_again(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(ChatFaults([slow])) as server:
        assert ask(server.url, timeout_s=0.4).text == "Mouse"
    assert "no answer within 0.4 s; trying again" in capsys.readouterr().err


def test_a_server_that_starts_late_is_waited_for() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    answers = []
    asking = ChatServer(f"http://127.0.0.1:{port}/v1", timeout_s=5, retries=8, first_delay_s=0.1)
    thread = threading.Thread(target=lambda: answers.append(asking.ask("m", ASKED, SETTINGS)))
    thread.start()
    time.sleep(0.3)
    server = ChatFaults()
    server.server_close()
    server.server_address = ("127.0.0.1", port)
    server.socket = socket.create_server(("127.0.0.1", port))
    with serving(server):
        thread.join(timeout=20)
    assert [answer.text for answer in answers] == ["Mouse"]


@pytest.mark.parametrize("wait", ["0.4", lambda: formatdate(time.time() + 2, usegmt=True)])
def test_retry_after_is_honoured(wait: object) -> None:
    told = wait() if callable(wait) else str(wait)
    with serving(ChatFaults([status(429, retry_after=told)])) as server:
        started = time.monotonic()
        ask(server.url)
        assert time.monotonic() - started > 0.35


def test_a_server_that_asks_for_an_hour_is_not_waited_for() -> None:
    with serving(ChatFaults([status(429, "quota used up", retry_after="3600")])) as server:
        with pytest.raises(ModelError, match=r"status 429: quota used up; lower --concurrency or wait for more quota"):
            ask(server.url)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (status(401, "no key"), "status 401: no key; set LLMREC_API_KEY or OPENAI_API_KEY in the environment"),
        (status(404, "The model `m` does not exist."), "status 404: The model `m` does not exist; check --model"),
        (status(400, "maximum context length is 8"), "a smaller --k or --shots makes a shorter prompt"),
    ],
)
def test_a_refusal_is_one_line_at_once(fault: Fault, message: str) -> None:
    with serving(ChatFaults([fault] * 9)) as server:
        with pytest.raises(ModelError) as caught:
            ask(server.url)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (status(500, "out of memory"), "status 500: out of memory (4 attempts); see to the server, then run the same"),
        (half_json, 'a reply that is no answer: {"choices": [{"message": {"role": "assist (4 attempts)'),
        (reset, "no connection ("),
    ],
)
def test_what_keeps_failing_is_one_line(fault: Fault, message: str) -> None:
    with serving(ChatFaults([fault] * 9)) as server:
        with pytest.raises(ModelError) as caught:
            ask(server.url)
        assert message in str(caught.value)
        assert server.shown in str(caught.value)
        assert len(server.requests) == 4


def test_a_key_and_a_password_are_used_but_never_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-this-one")
    monkeypatch.setenv("LLMREC_API_KEY", "sk-very-secret")
    secrets = ("sk-very-secret", "pass-word", "cGFzcy13b3Jk", "dXNlcjpwYXNzLXdvcmQ=")
    with serving(ChatFaults([echo_header] * 3, answer=lambda _: "My key is sk-very-secret")) as server:
        for url in (server.url, server.url.replace("//", "//user:pass-word@")):
            with pytest.raises(ModelError) as caught:
                ask(url, retries=0)
            assert "bad header" in str(caught.value)
            assert not any(secret in str(caught.value) for secret in secrets)
        assert ask(server.url).text == "My key is ***"
        assert server.authorizations == {"Bearer sk-very-secret", "Basic dXNlcjpwYXNzLXdvcmQ="}
    told = capsys.readouterr().err
    assert "bad header" in told
    assert not any(secret in told for secret in secrets)


def test_stopping_ends_the_waiting() -> None:
    with serving(ChatFaults([status(503)] * 9)) as server:
        asking = ChatServer(server.url, timeout_s=5, retries=3, first_delay_s=60)
        threading.Timer(0.2, asking.stop).start()
        started = time.monotonic()
        with pytest.raises(ModelError, match="stopped"):
            asking.ask("m", ASKED, SETTINGS)
        assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda handler: handler.reply(200, "[" * 100_000), "a reply that is no answer: [[[["),
        (lambda handler: handler.reply(500, "[" * 100_000), "status 500: [[[["),
        (lambda handler: handler.reply(200, '{"error": {"message": "no"}}'), 'a reply that is no answer: {"error"'),
        (lambda handler: handler.reply(200, " " * (9 << 20)), "a reply of more than 8 MiB"),
        (lambda handler: handler.reply(500, " " * (9 << 20)), "a reply of more than 8 MiB"),
        (lambda handler: handler.reply(200, "{}", content_encoding="gzip"), "a compressed reply"),
        (lambda handler: handler.reply(302, "", location="file:///etc/passwd"), "no connection (Request URL has"),
    ],
)
def test_a_hostile_reply_is_one_line(fault: Fault, message: str) -> None:
    with serving(ChatFaults([fault])) as server:
        with pytest.raises(ModelError) as caught:
            ask(server.url, retries=0)
        assert message in str(caught.value)
        assert len(str(caught.value)) < 500


@pytest.mark.parametrize("start", [b"HTTP/1.0 200 OK\r\nx: ", b"HTTP/1.0 200 OK\r\n\r\n"])
def test_a_reply_that_never_ends_is_given_up(start: bytes) -> None:
    def drip(handler: Handler) -> None:
        handler.wfile.write(start)
        with contextlib.suppress(OSError):
            for _ in range(60):
                handler.wfile.write(b" ")
                time.sleep(0.05)

    with serving(ChatFaults([drip])) as server:
        started = time.monotonic()
        with pytest.raises(ModelError, match=r"no answer within 0\.4 s"):
            ask(server.url, retries=0, timeout_s=0.4)
        assert time.monotonic() - started < 2


def test_half_a_character_and_impossible_counts_are_mended() -> None:
    reply = (
        '{"choices": [{"message": {"content": "a\\ud800b"}}], "usage": {"prompt_tokens": NaN, "completion_tokens": -1}}'
    )
    with serving(ChatFaults([lambda handler: handler.reply(200, reply)])) as server:
        answer = ask(server.url)
    assert (answer.text, answer.prompt_tokens, answer.completion_tokens) == ("a?b", None, None)


def test_a_key_in_the_path_is_never_told() -> None:
    key = "3f8a9c7b2d1e4f60a1b2c3d4"
    with serving(ChatFaults([status(500, f"no route {key}")] * 2)) as server, pytest.raises(ModelError) as caught:
        ask(server.url.replace("/v1", f"/{key}/v1"), retries=0)
    assert key not in str(caught.value)
    assert "no route ***" in str(caught.value)


def test_a_key_that_no_header_can_carry_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMREC_API_KEY", "schlüssel-geheim")
    with pytest.raises(ConfigError, match="LLMREC_API_KEY holds a character") as caught:
        ChatServer("http://localhost/v1", timeout_s=1, retries=0)
    assert "geheim" not in str(caught.value)


def test_a_redirect_to_another_host_gets_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMREC_API_KEY", "sk-very-secret")
    with serving(ChatFaults()) as other:
        away = lambda handler: handler.reply(307, "", location=f"{other.url}/chat/completions")  # noqa: E731
        with serving(ChatFaults([away, away])) as server:
            for url in (server.url, server.url.replace("//", "//user:pass-word@")):
                assert ask(url, retries=0).text == "Mouse"
        assert other.authorizations == {None}
