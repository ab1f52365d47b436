"""`/docs`: every route of the OpenAPI document, its fields, a request that works; nothing of another host."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser

from llmrec.serving.docs_page import docs_html
from llmrec.serving.loaded import Places
from tests.serving.conftest import Client, Shop


class Addresses(HTMLParser):
    """What a page would fetch, and where it leads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "action", "srcset")]


def test_the_page_shows_every_route_and_asks_no_other_host(client: Client) -> None:
    answer = client.ask("/docs")
    page = answer.body.decode()
    assert answer.headers["content-type"].startswith("text/html")
    assert "connect-src 'self'" in answer.headers["content-security-policy"]
    told = client.ask("/openapi.json").json
    assert all(f"<code>{path}</code>" in page for path in told["paths"])
    assert "list of text, 1 to 256 characters, at most 1,000" in page
    addresses = Addresses()
    addresses.feed(page)
    assert set(addresses.found) == {"data:,", "/openapi.json", "/docs.js"}
    script = client.ask("/docs.js").body.decode()
    assert not re.findall(r"https?://|url\(|@import", script + "".join(re.findall(r"<style>.*?</style>", page, re.S)))


def test_every_request_that_it_shows_is_answered(client: Client) -> None:
    page = client.ask("/docs").body.decode()
    shown = [
        shlex.split(unescape(one).replace("\\\n", " ")) for one in re.findall(r'"curl"><code>(.*?)</code>', page, re.S)
    ]
    assert len(shown) == len(client.ask("/openapi.json").json["paths"])
    for words in shown:
        address, data = words[1], json.loads(words[3]) if len(words) > 2 else None
        base, _, path = address.removeprefix("http://").partition("/")
        assert base == f"127.0.0.1:{client.port}"
        assert client.ask(f"/{path}", data).status == 200, words


def test_it_needs_no_key_but_its_requests_do(shop: Shop, serve: Callable[..., Client]) -> None:
    client = serve(Places(ranker=shop.places.ranker), keys={"shop": "k" * 20})
    assert client.ask("/docs").status == 200
    assert client.ask("/docs.js").status == 200
    assert client.ask("/v1/models").status == 401


def test_what_comes_from_outside_is_escaped() -> None:
    evil = '"><script>alert(1)</script>'
    schema = {"type": "object", "properties": {evil: {"type": "string", "description": evil, "default": evil}}}
    content = {"content": {"application/json": {"schema": schema}}}
    post = {"summary": evil, "requestBody": content, "responses": {"200": {"description": evil}}}
    told = {
        "info": {"title": evil, "version": evil, "summary": evil},
        "paths": {evil: {"post": post}},
        "components": {"schemas": {}},
    }
    page = docs_html(told, "http://" + evil, evil)
    assert "<script>alert" not in page
    assert page.count("<script") == 1
