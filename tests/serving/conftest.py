"""A shop behind a real server on loopback: a fused ranker, a title model or a selector, an index, products."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import llmrec
from llmrec.data.store import Store
from llmrec.selection.selector import Selector
from llmrec.selection.table import TitleTable
from llmrec.serving.held import Held, Limits
from llmrec.serving.http import create_app
from llmrec.serving.loaded import Places
from llmrec.serving.wire import server_of
from tests.selection.shop import QUICK, SETTINGS, product_table, training, write_store
from tests.text.search.indexed import indexed_titles


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Client:
    """A client of a server on loopback, and the server's own insides."""

    port: int
    held: Held
    log: list[Mapping[str, Any]]
    server: Any

    def ask(self, path: str, body: Any = None, method: str | None = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method or ("GET" if body is None else "POST"), path, sent, named)
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@dataclass(frozen=True)
class Shop:
    """Where the fitted things are."""

    store: Store
    places: Places

    def with_selector(self) -> Places:
        folder = self.store.path / "selector"
        return Places(ranker=self.places.ranker, titles=str(folder), products=self.places.products)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory, title_model: Path) -> Shop:
    folder = tmp_path_factory.mktemp("serving")
    store = write_store(folder / "store")
    quick = {name: value for name, value in QUICK.items() if name not in ("choice_rounds", "products", "titles")}
    llmrec.fit("fusion", store.training(), store, **quick, max_sessions=100).save(folder / "ranker")
    Selector(SETTINGS).fit(training(), product_table(), TitleTable(product_table())).save(store.path / "selector")
    index = indexed_titles(store, folder / "index")
    places = Places(ranker=folder / "ranker", titles=str(title_model), index=index, products=store.products)
    return Shop(store, places)


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[..., Client]]:
    """Start servers on free ports; they end with the tests."""
    ending: list[Callable[[], None]] = []

    def start(places: Places, limits: Limits | None = None, **more: Any) -> Client:
        log: list[Mapping[str, Any]] = []
        held = Held(places=places, limits=limits or Limits())
        app = create_app(held, log=log.append, **more)
        server = server_of(app, held.limits)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
        thread.start()
        while not (server.started and held.settled.is_set()):
            assert thread.is_alive()
            time.sleep(0.01)

        def end() -> None:
            server.should_exit = True
            thread.join(20)

        ending.append(end)
        return Client(server.servers[0].sockets[0].getsockname()[1], held, log, server)

    yield start
    for end in ending:
        end()


@pytest.fixture(scope="session")
def client(shop: Shop, serve: Callable[..., Client]) -> Client:
    return serve(shop.places)
