"""Hostile and hapless clients, with real sockets: each gets a clear answer or none, and nobody else notices."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPResponse

import pytest

from llmrec.serving.held import Limits
from llmrec.serving.loaded import Places
from tests.serving.conftest import Client, Shop, until

ASKED = json.dumps({"items": ["I00"], "locale": "US", "k": 3}).encode()
POST = b"POST /v1/recommend HTTP/1.1\r\nHost: x\r\n"
WHOLE = POST + b"Content-Length: %d\r\n\r\n" % len(ASKED) + ASKED


@pytest.fixture(scope="module")
def client(shop: Shop, serve: Callable[..., Client]) -> Client:
    return serve(Places(ranker=shop.places.ranker), Limits(body_s=0.5, body_bytes=100_000, connections=40))


@pytest.fixture(scope="module")
def patient(shop: Shop, serve: Callable[..., Client]) -> Client:
    """For who has to do several things before it loses patience, on a machine that may be busy."""
    return serve(Places(ranker=shop.places.ranker), Limits(body_s=2.0, connections=40))


@contextmanager
def connected(client: Client) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", client.port), timeout=20) as one:
        yield one


def everything(one: socket.socket) -> bytes:
    """All that comes until the server closes."""
    parts = []
    try:
        while part := one.recv(1 << 16):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def one_answer(one: socket.socket) -> bytes:
    """One whole answer, body and all, of a connection that stays open."""
    answer = HTTPResponse(one)
    answer.begin()
    return b"%d " % answer.status + answer.read()


def said(client: Client, *sent: bytes) -> bytes:
    with connected(client) as one:
        try:
            for part in sent:
                one.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has been sent away; the answer may be there still
        return everything(one)


@pytest.fixture(autouse=True)
def others_notice_nothing(client: Client) -> Iterator[None]:
    yield
    assert client.ask("/v1/recommend", ASKED).status == 200


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64), 400, "no_http"),  # TLS
        (b"hello\r\n\r\n", 400, "no_http"),
        (POST + b"Content-Length: -1\r\n\r\n", 400, "no_http"),
        (POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n12345", 400, "no_http"),
        (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "no_http"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400, "no_http"),
        (b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n", 400, "no_http"),
        (POST + b"Content-Length: 99999999999999999999\r\n\r\n", 400, "no_http"),
        (POST + b"Content-Length: 999999999\r\n\r\n{", 413, "too_large"),
        (POST + b"X: " + b"y" * 1_000_000, 431, "too_large"),
        (POST + b"X: " + b"y" * 100_000 + b"\r\n" + WHOLE[len(POST) :], 431, "too_large"),  # whole, in one read
        (POST + b"".join(b"X-%d: y\r\n" % number for number in range(60_000)), 431, "too_large"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 120_000, 413, "too_large"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"y" * 1_000_000, 0, ""),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"y" * 1_000_000, 0, ""),
        (POST + b"Content-Length: 50\r\n\r\n{", 408, "too_slow"),  # half a body
        (POST + b"X: y", 408, "too_slow"),  # half a head
    ],
)
def test_what_is_no_request_is_answered_and_ended(client: Client, sent: bytes, status: int, code: str) -> None:
    start = time.monotonic()
    answer = said(client, sent)
    assert time.monotonic() - start < 15
    if status:
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert b"connection: close" in answer
    if code:
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == code


def test_a_body_that_is_longer_than_it_says_is_a_request_and_then_none(client: Client) -> None:
    answer = said(client, WHOLE + b"}}}}\r\n\r\n")
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) in ([b"200", b"400"], [b"400"], [])


def test_a_hundred_clients_that_trickle_their_heads_take_no_place_for_long(patient: Client) -> None:
    with ExitStack() as open_:
        slow = [open_.enter_context(connected(patient)) for _ in range(40)]
        for one in slow:
            one.sendall(b"POST /v1/rec")
        with connected(patient) as more:
            assert b"503 Service Unavailable" in everything(more)
        for one in slow[:20]:
            one.sendall(b"ommend")  # a byte now and then buys no time
        assert all(everything(one).startswith(b"HTTP/1.1 408") for one in slow)


def test_a_silent_connection_is_closed_and_one_that_stays_open_has_to_go_on(patient: Client) -> None:
    assert said(patient) == b""
    with connected(patient) as one:
        one.sendall(WHOLE)
        assert one_answer(one).startswith(b"200 ")
        one.sendall(b"\r\n")
        one.sendall(b"POST")
        assert everything(one).startswith(b"HTTP/1.1 408")


def test_requests_that_are_sent_ahead_are_answered_in_order_and_floods_of_them_are_not(client: Client) -> None:
    ahead = WHOLE * 19 + WHOLE.replace(b"Host: x", b"Connection: close")
    assert re.findall(rb"HTTP/1.1 (\d+)", said(client, ahead)) == [b"200"] * 20
    flood = said(client, b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n" * 5_000)
    assert flood.count(b"HTTP/1.1 200") < 1_000


def test_a_client_that_reads_nothing_of_its_answers_is_left(client: Client) -> None:
    with connected(client) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sessions = [json.loads(ASKED) | {"k": 30} for _ in range(500)]
        body = json.dumps({"sessions": sessions}).encode()
        head = b"POST /v1/recommend:batch HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        one.settimeout(1)
        try:
            for _ in range(40):
                one.sendall(head + body)
        except (TimeoutError, ConnectionResetError, BrokenPipeError):
            pass
        one.settimeout(20)
        until(lambda: len(client.server.server_state.connections) == 0)


def test_bodies_of_many_slow_clients_have_a_limit_together(client: Client) -> None:
    with ExitStack() as open_:
        large = [open_.enter_context(connected(client)) for _ in range(20)]
        for one in large:
            one.sendall(POST + b"Content-Length: 99000\r\n\r\n" + b" " * 95_000)
        first = [everything(one)[:12] for one in large]
    assert set(first) == {b"HTTP/1.1 408", b"HTTP/1.1 429"}


@pytest.mark.parametrize(
    ("given", "kept"),
    [("a" * 128, True), ("a" * 129, False), ("a b", False), ("é", False), ('"}{', False), ("x\ty", False), ("", False)],
)
def test_a_request_id_comes_back_unless_it_is_hostile(client: Client, given: str, kept: bool) -> None:
    answer = client.ask("/v1/recommend", ASKED, x_request_id=given)
    assert (answer.headers["x-request-id"] == given) == kept
    assert re.fullmatch(r"[\w-]+", answer.headers["x-request-id"], re.ASCII)


def test_websockets_and_upgrades_are_passed_over(client: Client) -> None:
    upgrade = (
        b"Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAA\r\nSec-WebSocket-Version: 13"
    )
    answer = said(client, b"GET /health/live HTTP/1.1\r\nHost: x\r\n" + upgrade + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("path", ["/nowhere", "/v1/../etc/passwd", "/%00", "/v1/recommend/"])
def test_another_path_or_method_is_an_error_like_every_other(client: Client, path: str) -> None:
    answer = client.ask(path)
    assert answer.status == 404
    assert answer.json["error"]["code"] == "not_found"
    assert answer.json["request_id"] == answer.headers["x-request-id"]
    wrong = client.ask("/v1/recommend", method="PUT")
    assert (wrong.status, wrong.json["error"]["code"], wrong.headers["allow"]) == (405, "method", "POST")
