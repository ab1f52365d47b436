"""A browser that watches: what a page prints, what fails in it, and whom it asks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from llmrec.evaluation.evaluate import evaluate_run
from llmrec.rankers.fitting import fit, load_ranker
from llmrec.serving.loaded import Places
from llmrec.serving.page.places import PagePlaces
from tests.browser import CHROMIUM
from tests.serving.conftest import Client, Shop

HOSTILE = (
    "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>",
    "\u202ereversed\u202c אבג ‮turned",
    "long " * 1000,
)


@dataclass
class Visit:
    """A page that is looked at, and what went wrong on the way."""

    page: Page
    address: str
    wrong: list[str] = field(default_factory=list)

    def hear(self, text: str, kind: str = "error") -> None:
        if kind in ("error", "warning") or (kind == "asked" and not text.startswith((self.address, "about:"))):
            self.wrong.append(text)

    def open(self, state: str = "") -> Page:
        """Go to the page in some state, and wait until its list is whole."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.address}/{state}")
        self.page.wait_for_selector("#starting", state="hidden")
        return self.page

    def texts(self, selector: str) -> list[str]:
        return [text.strip() for text in self.page.locator(selector).all_inner_texts()]

    def chips(self) -> list[str]:
        """Ids of the session, as the address has them."""
        found: list[str] = self.page.evaluate("new URLSearchParams(location.hash.slice(1)).getAll('s')")
        return found

    def listed(self) -> list[str]:
        """Ids of the first list."""
        ids: list[str] = self.page.eval_on_selector_all(
            ".list:first-child [data-id]", "all => all.map(one => one.dataset.id)"
        )
        return ids

    def until_listed(self, ids: list[str]) -> None:
        """Wait until the first list is this one."""
        self.page.wait_for_function(
            "ids => JSON.stringify([...document.querySelectorAll('.list:first-child [data-id]')]"
            ".map(one => one.dataset.id)) === ids",
            arg=json.dumps(ids, separators=(",", ":")),
        )


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def visiting(browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Look at a server's page; nothing may go wrong meanwhile, and no other host may be asked."""
    visits: list[Visit] = []

    def look(client: Client, **options: Any) -> Visit:
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
        page = context.new_page()
        page.set_default_timeout(20_000)
        visit = Visit(page, f"http://127.0.0.1:{client.port}")
        page.on("console", lambda line: visit.hear(line.text, line.type))
        page.on("pageerror", lambda error: visit.hear(str(error)))
        page.on("request", lambda asked: visit.hear(asked.url, "asked"))
        visits.append(visit)
        return visit

    yield look
    for visit in visits:
        visit.page.context.close()
    assert [visit.wrong for visit in visits] == [[] for _ in visits]


@pytest.fixture(scope="session")
def shown(shop: Shop, serve: Callable[..., Client], tmp_path_factory: pytest.TempPathFactory) -> Client:
    """A page of everything: fusion, a selector of titles, an index, another ranker, sessions, runs; a hostile title."""
    folder = tmp_path_factory.mktemp("page")
    table = pq.read_table(shop.store.products)
    titles = table["title"].to_pylist()
    for place, text in zip(("I70", "I71", "I72"), HOSTILE, strict=True):
        titles[table["id"].to_pylist().index(place)] = text
    products = folder / "products.parquet"
    pq.write_table(table.set_column(table.column_names.index("title"), "title", [titles]), products)
    fit("covisit", shop.store.training(), shop.store).save(folder / "covisit")
    sessions, runs = shop.store.path / "sessions_validation.parquet", folder / "runs"
    for name, place in (("covisit", folder / "covisit"), ("fusion", shop.places.ranker)):
        run = runs / f"{name}.parquet"
        load_ranker(Path(str(place))).rank(shop.store.sessions("validation")).save(run)
        evaluate_run(run, sessions, products=products, samples=50).save(runs / f"{name}.result.json")
    (runs / "report.html").write_text("<!doctype html><title>r</title><p>A report</p><script>top.hacked = 1</script>")
    page = PagePlaces(sessions=(sessions,), compare=(folder / "covisit",), runs=runs, private=True)
    places = Places(
        ranker=shop.places.ranker,
        titles=str(shop.store.path / "selector"),
        index=shop.places.index,
        products=products,
    )
    return serve(places, page=page)
