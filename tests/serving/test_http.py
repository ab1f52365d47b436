"""What a shop gets over HTTP: the lists of the ranker, and a clear answer to whatever is wrong."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import llmrec
from llmrec.errors import ConfigError, ModelError
from llmrec.serving.gate import read_keys
from llmrec.serving.held import Limits
from llmrec.serving.loaded import Places
from llmrec.serving.routes import refusal_of
from tests.serving.conftest import Client, Shop, until


def test_a_list_has_titles_and_says_why(client: Client) -> None:
    answer = client.ask("/v1/recommend", {"items": ["I00"], "locale": "US", "k": 3, "explain": True}).json
    first = answer["items"][0]
    assert first["title"].startswith("Brand")
    assert first["rank"] == 1
    assert set(first["sources"]) <= {"covisit_near", "title_vectors"}
    assert {"feature", "value", "adds"} == set(first["reasons"][0])
    assert answer["warnings"] == []


def test_excluded_and_seen_products_are_not_listed(client: Client) -> None:
    asked = {"items": ["I00", "I01"], "locale": "US", "k": 5}
    first = [one["id"] for one in client.ask("/v1/recommend", asked).json["items"]]
    without = client.ask("/v1/recommend", asked | {"exclude": first[:2]}).json["items"]
    assert [one["id"] for one in without][:3] == first[2:]
    assert len(without) == 5
    assert not {"I00", "I01"} & {*first}
    kept = [one["id"] for one in client.ask("/v1/recommend", asked | {"seen": "keep", "k": 40}).json["items"]]
    assert {"I00", "I01"} <= {*kept}


def test_unknown_items_are_a_warning_and_none_but_unknown_ones_a_fallback(client: Client) -> None:
    some = client.ask("/v1/recommend", {"items": ["I00", "nobody"], "locale": "US"}).json
    (warning,) = some["warnings"]
    assert (warning["code"], warning["items"]) == ("unknown_items", ["nobody"])
    none = client.ask("/v1/recommend", {"items": ["nobody"], "locale": "US"}).json
    assert none["fallback"]
    assert [one["code"] for one in none["warnings"]] == ["unknown_items", "fallback"]
    assert none["items"]
    blanks = client.ask("/v1/recommend", {"items": [" I00 "], "locale": "US"}).json
    assert blanks["warnings"] == []


def test_all_unknown_items_are_counted_and_the_first_ten_named(client: Client) -> None:
    def counted() -> float:
        lines = client.ask("/metrics").body.decode().splitlines()
        return float(next(line for line in lines if line.startswith("llmrec_unknown_items_total")).split()[1])

    before = counted()
    asked = {"items": [f"nobody{place}" for place in range(15)] * 2, "locale": "US"}
    warning = client.ask("/v1/recommend", asked).json["warnings"][0]
    assert (warning["count"], len(warning["items"])) == (30, 10)
    client.ask("/v1/recommend:batch", {"sessions": [asked]})
    assert counted() == before + 60


def test_more_than_may_wait_are_told_when_to_come_again(
    shop: Shop, serve: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(shop.places, Limits(queue=1))
    service, go, begun = client.held.service, threading.Event(), threading.Event()
    assert service is not None
    similar = service.similar

    def slow(asked: Any) -> Any:
        begun.set()
        go.wait(20)
        return similar(asked)

    monkeypatch.setattr(service, "similar", slow)
    with ThreadPoolExecutor(2) as asking:
        first = asking.submit(client.ask, "/v1/similar", {"title": "Bolt"})
        assert begun.wait(20)
        second = asking.submit(client.ask, "/v1/similar", {"title": "Bolt"})
        until(lambda: len(client.held.working) == 1)
        third = client.ask("/v1/rerank", {"query": "Bolt", "documents": ["Bolt"]})
        assert (third.status, third.headers["retry-after"], third.json["error"]["code"]) == (429, "1", "busy")
        assert client.ask("/v1/recommend", {"items": [], "locale": "US"}).status == 200  # another queue
        go.set()
        assert (first.result().status, second.result().status) == (200, 200)


@pytest.mark.parametrize(
    ("path", "body", "field", "words"),
    [
        ("/v1/recommend", b"{", "", "no JSON"),
        ("/v1/recommend", b"[" * 100_000, "", "object"),
        ("/v1/recommend", b'{"items": ["\\ud800"], "locale": "US"}', "", "no JSON"),
        ("/v1/recommend", b'{"items": ' + b"[" * 100_000, "items[0]", "str"),
        ("/v1/recommend", b'{"items": [], "locale": "US", "k": NaN}', "", "no JSON"),
        ("/v1/recommend", [], "", "object"),
        ("/v1/recommend", {"locale": "US"}, "items", "items"),
        ("/v1/recommend", b"", "", "the body is empty"),
        ("/v1/recommend", {"items": "I00", "locale": "US"}, "items", "array"),
        ("/v1/recommend", {"items": [1], "locale": "US"}, "items[0]", "str"),
        ("/v1/recommend", {"items": ["x" * 10_000], "locale": "US"}, "items[0]", "256"),
        ("/v1/recommend", {"items": ["x"] * 1_001, "locale": "US"}, "items", "1000"),
        ("/v1/recommend", {"items": [], "locale": "US", "k": 0}, "k", ">= 1"),
        ("/v1/recommend", {"items": [], "locale": "US", "k": 10**9}, "k", "<= 1000"),
        ("/v1/recommend", {"items": [], "locale": "US", "k": "3"}, "k", "int"),
        ("/v1/recommend", {"items": [], "locale": "US", "seen": "maybe"}, "seen", "maybe"),
        ("/v1/recommend", {"items": [], "locale": "US", "kk": 3}, "kk", "did you mean 'k'"),
        ("/v1/recommend", {"items": []}, "locale", "known: JP, US"),
        ("/v1/recommend", {"items": [], "locale": "USA"}, "locale", "did you mean 'US'"),
        ("/v1/recommend:batch", {"sessions": []}, "sessions", ">= 1"),
        ("/v1/recommend:batch", {"sessions": [{"items": [], "locale": "XX"}]}, "sessions[0].locale", "XX"),
        ("/v1/recommend:batch", {"sessions": [{"items": [], "k": 1000}] * 200}, "sessions", "lower k"),
        ("/v1/title", {"locale": "US"}, "items", "give items, or titles"),
        ("/v1/similar", {"k": 3}, "title", "give one of"),
        ("/v1/similar", {"product": "nobody"}, "product", "nobody"),
        ("/v1/similar", {"title": "x", "locale": "FR"}, "locale", "FR"),
        ("/v1/rerank", {"query": "x", "documents": []}, "documents", ">= 1"),
    ],
)
def test_a_wrong_request_names_the_field_and_the_way_out(
    client: Client, path: str, body: Any, field: str, words: str
) -> None:
    answer = client.ask(path, body)
    assert answer.status == 422
    assert answer.json["error"].get("field", "") == field
    assert words in answer.json["error"]["message"]
    assert answer.json["request_id"] == answer.headers["x-request-id"]


def test_why_and_why_not(client: Client) -> None:
    def why(product: str, **more: Any) -> Any:
        return client.ask("/v1/explain", {"items": ["I00"], "locale": "US", "product": product, "k": 2, **more}).json

    first = client.ask("/v1/recommend", {"items": ["I00"], "locale": "US", "k": 40}).json["items"]
    assert why(first[0]["id"])["rank"] == 1
    assert why(first[0]["id"])["listed"]
    third = why(first[2]["id"])
    assert (third["listed"], third["rank"]) == (False, 3)
    assert third["score"] <= third["last_score"]
    assert "looked at it" in why("I00")["reason"]
    assert "never seen" in why("nobody")["reason"]


def test_titles_similar_products_and_documents(shop: Shop, client: Client) -> None:
    title = client.ask("/v1/title", {"items": ["I00", "I01"], "locale": "US"}).json
    assert title["last_title"].endswith("2 inch (pack of 10)")
    assert set(title["kept"]) | set(title["new"]) == set(title["title"].split())
    written = llmrec.TitleWriter.load(str(shop.places.titles)).write([["a kettle"]], "US")
    assert client.ask("/v1/title", {"titles": ["a kettle"], "locale": "US"}).json["title"] == written[0]
    hits = llmrec.SimilarProducts.load(str(shop.places.index)).search(["steel bolt kind 3"], 4, "US")[0]
    found = client.ask("/v1/similar", {"title": "steel bolt kind 3", "k": 4, "locale": "US"}).json["items"]
    assert [one["id"] for one in found] == [hit.id for hit in hits]
    assert client.ask("/v1/similar", {"product": "I00", "k": 2}).json["items"][0]["id"] != "I00"
    documents = ["garden hose", "Brand1 Bolt kind 1, steel", "lamp"]
    ranked = client.ask("/v1/rerank", {"query": "Bolt kind 1", "documents": documents, "top_n": 2}).json["results"]
    objects = {"query": "Bolt kind 1", "documents": [{"text": one} for one in documents], "max_tokens_per_doc": 512}
    assert client.ask("/v1/rerank", objects | {"top_n": 2}).json["results"] == ranked
    assert len(ranked) == 2
    assert ranked[0]["index"] == 1


def test_a_selector_writes_titles_too(shop: Shop, serve: Callable[..., Client]) -> None:
    client = serve(shop.with_selector())
    assert client.ask("/v1/title", {"items": ["I00", "I01"], "locale": "US"}).json["title"].startswith("Brand0 Bolt")
    refused = client.ask("/v1/title", {"titles": ["x"], "locale": "US"})
    assert (refused.status, refused.json["error"]["field"]) == (422, "titles")
    missing = client.ask("/v1/similar", {"title": "x"})
    assert "--index DIR" in missing.json["error"]["message"]


def test_health_models_metrics_and_the_log(client: Client) -> None:
    assert client.ask("/health/live").json == {"live": True}
    assert client.ask("/health/ready").json == {"ready": True}
    kinds = {one["kind"]: one for one in client.ask("/v1/models").json["data"]}
    assert set(kinds) == {"ranker", "titles", "index"}
    assert kinds["ranker"]["name"] == "fusion"
    client.ask("/v1/recommend", {"items": ["I00", "secret-item"], "locale": "US"}, x_request_id="mine-1")
    until(lambda: any(line["request_id"] == "mine-1" for line in client.log))  # it is written after the answer
    (line,) = (line for line in client.log if line["request_id"] == "mine-1")
    assert (line["route"], line["status"]) == ("/v1/recommend", 200)
    assert "secret-item" not in json.dumps(client.log)
    text = client.ask("/metrics").body.decode()
    assert 'llmrec_requests_total{route="/v1/recommend",status="200"}' in text
    for name in ("request_seconds_bucket", "queue", "batch_size_sum", "unknown_items_total", "catalogue_age_seconds"):
        assert f"llmrec_{name}" in text
    assert client.ask("/nowhere").status == 404
    assert client.ask("/v1/recommend").status == 405


def test_the_interface_is_the_one_that_is_written_down(client: Client) -> None:
    """After a change that is meant: LLMREC_WRITE_OPENAPI=1 pytest tests/serving, and tell users of it."""
    import os

    file = Path(__file__).parent / "openapi.json"
    told = client.ask("/openapi.json").json
    told["info"].pop("version")
    if os.environ.get("LLMREC_WRITE_OPENAPI"):
        file.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    assert told == json.loads(file.read_text(encoding="utf-8"))


def test_who_has_no_key_gets_nothing_but_health(shop: Shop, serve: Callable[..., Client]) -> None:
    client = serve(Places(ranker=shop.places.ranker), keys={"shop": "k" * 20, "other": "o" * 20})
    asked = {"items": [], "locale": "US"}
    assert client.ask("/v1/recommend", asked).status == 401
    assert client.ask("/v1/recommend", asked, authorization="Bearer wrong").status == 401
    assert client.ask("/v1/recommend", asked, authorization=f"Bearer {'k' * 20}").status == 200
    assert client.ask("/v1/recommend", asked, x_api_key="o" * 20).status == 200
    until(lambda: client.log[-1]["key"] == "other")
    assert client.ask("/health/ready").status == 200
    assert client.ask("/metrics").status == 401


def test_a_page_of_a_named_origin_asks_with_a_key(shop: Shop, serve: Callable[..., Client]) -> None:
    mine, key = "https://shop.example", "k" * 20
    client = serve(Places(ranker=shop.places.ranker), keys={"shop": key}, origins=[mine])
    before = {"access_control_request_method": "POST", "access_control_request_headers": "x-api-key,content-type"}
    first = client.ask("/v1/recommend", method="OPTIONS", origin=mine, **before)  # what a browser sends: without a key
    assert first.status == 200
    assert first.headers["access-control-allow-origin"] == mine
    assert "x-api-key" in first.headers["access-control-allow-headers"].lower()
    assert client.ask("/v1/recommend", method="OPTIONS", origin="https://other.example", **before).status == 400
    asked = {"items": [], "locale": "US"}
    for sent, status in (({"x_api_key": key}, 200), ({}, 401)):
        answer = client.ask("/v1/recommend", asked, origin=mine, **sent)
        assert (answer.status, answer.headers.get("access-control-allow-origin")) == (status, mine)
        assert "x-request-id" in answer.headers["access-control-expose-headers"].lower()
    other = client.ask("/v1/recommend", asked, origin="https://other.example", x_api_key=key)
    assert "access-control-allow-origin" not in other.headers


def test_large_and_slow_bodies_are_sent_away(shop: Shop, serve: Callable[..., Client]) -> None:
    client = serve(Places(ranker=shop.places.ranker), Limits(body_bytes=2_000, body_s=0.3))
    large = client.ask("/v1/recommend", {"items": ["x" * 200] * 20, "locale": "US"})
    assert (large.status, large.json["error"]["code"]) == (413, "too_large")
    with socket.create_connection(("127.0.0.1", client.port), timeout=10) as half:
        half.sendall(b"POST /v1/recommend HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{")
        assert half.recv(4096).startswith(b"HTTP/1.1 408")
    with socket.create_connection(("127.0.0.1", client.port), timeout=10) as endless:
        endless.sendall(b"POST /v1/recommend HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        endless.sendall(b"800\r\n" + b"x" * 2048 + b"\r\n")
        assert endless.recv(4096).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "holds no key"), ("shop short", "line 1"), (f"a {'k' * 20}\na {'o' * 20}", "line 2"), ("x" * 30, "line 1")],
)
def test_a_wrong_key_file_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "keys").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=words):
        read_keys(tmp_path / "keys")


def test_a_server_of_embeddings_out_of_reach_is_no_fault_of_the_request(caplog: pytest.LogCaptureFixture) -> None:
    refused = refusal_of(ModelError("http://10.0.0.7/v1: no connection"), "r1")
    assert (refused.status, refused.code) == (503, "unavailable")
    assert "10.0.0.7" not in refused.message
    assert "request r1: http://10.0.0.7/v1: no connection" in caplog.text
