"""Products with a shop's own columns, and a log's store in the verbs that follow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import llmrec
from llmrec.cli import status_of
from llmrec.data.events.making import LogSummary, import_events
from llmrec.errors import ConfigError, DataError

# ibis 12 still calls what DuckDB 2 renamed
pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")

DAY = 86_400
BEGIN = 1_764_028_800  # 2025-11-25 00:00


def log(path: Path, *, days: int = 6, locales: str = "UK DE") -> Path:
    """Each day four visitors of each locale see two items in turn; each day has a new one, too."""
    rows = ["visitor,sku,ts,market"]
    for day in range(days):
        for place, locale in enumerate(locales.split()):
            for person in range(4):
                at = BEGIN + day * DAY + person * 3_600
                items = [f"P{person}", f"P{person + 1}", f"N{day}" if person == 3 else f"P{person + 2}"]
                rows += [f"v{place}{person},{item},{at + 60 * step},{locale}" for step, item in enumerate(items)]
    path.write_text("\n".join(rows) + "\n")
    return path


def shop(folder: Path, products: str, name: str = "goods.csv", **settings: Any) -> LogSummary:
    (folder / name).write_text(products)
    return import_events(log(folder / "log.csv"), folder / "store", products=folder / name, **settings)


def rows(folder: Path) -> list[tuple[Any, ...]]:
    kept = pq.read_table(folder / "store" / "products.parquet").to_pylist()
    return [(row["id"], row["locale"], row["title"], row["price"], row["brand"]) for row in kept]


def test_products_are_read_from_columns_of_any_name_and_lose_their_entities(tmp_path):
    summary = shop(
        tmp_path,
        "sku|bezeichnung|land|preis|vendor\n"
        "P0|Salt &amp; pepper &#8211; 2&nbsp;pc|UK|3.50|A&amp;amp;B\n"
        "P0|Salz|DE|4|\n"
        "P0|Salt again|UK|1|\n"
        " P1 |a &foo; b & c|UK|kostenlos|\n"
        "|nothing|UK|1|\n",
        product_title="bezeichnung",
        product_locale="land",
        columns="price=preis",
    )
    assert rows(tmp_path) == [
        ("P0", "UK", "Salt & pepper – 2\xa0pc", 3.5, "A&amp;B"),
        ("P0", "DE", "Salz", 4.0, None),
        ("P1", "UK", "a &foo; b & c", None, None),
    ]
    found = {one.what: one.count for one in summary.findings if one.file == "goods.csv"}
    assert found["second row of the same (locale, id); the first is kept"] == 1
    assert found["product without id or locale"] == 1
    assert found["price that is no number, now null"] == 1
    assert found["texts with HTML entities, now characters"] == 2


def test_products_without_a_locale_are_of_every_locale_of_the_sessions(tmp_path):
    shop(tmp_path, '{"id": 1, "name": "Salt"}\n{"id": "P1", "name": null}\n', "goods.jsonl")
    assert sorted(row[:3] for row in rows(tmp_path)) == [
        ("1", "DE", "Salt"),
        ("1", "UK", "Salt"),
        ("P1", "DE", ""),
        ("P1", "UK", ""),
    ]


def test_a_log_without_a_locale_takes_the_one_of_its_products_or_the_one_that_is_named(tmp_path):
    (tmp_path / "log.csv").write_text(f"user,item,time\na,P0,{BEGIN}\na,P1,{BEGIN + 1}\n")
    (tmp_path / "goods.csv").write_text("id,title,lang\nP0,Salz,DE\n")
    for settings, locale in (({"products": str(tmp_path / "goods.csv")}, "DE"), ({"locale": "FR"}, "FR"), ({}, "XX")):
        import_events(tmp_path / "log.csv", tmp_path / "store", **settings)
        assert pq.read_table(tmp_path / "store" / "sessions_development.parquet")["locale"].to_pylist() == [locale]
    (tmp_path / "goods.csv").write_text("id,title,lang\nP0,Salz,DE\nP0,Salt,UK\n")
    with pytest.raises(DataError, match="products of several locales, and the log says none"):
        import_events(tmp_path / "log.csv", tmp_path / "store", products=tmp_path / "goods.csv")


@pytest.mark.parametrize(
    ("products", "settings", "error", "message"),
    [
        ("code_a,title\nP0,x\n", {}, DataError, "no column of ids among code_a, title"),
        ("id,title\nP0,x\n", {"product_title": "titel"}, DataError, "no column 'titel'; did you mean 'title'?"),
        (
            "id,title\nP0,x\n",
            {"columns": "prize=title"},
            ConfigError,
            "no product has a 'prize'; did you mean 'price'?",
        ),
        ("id,title\nP0,x,y\n", {}, DataError, "goods.csv, row 1: 3 columns where the header has 2"),
    ],
)
def test_products_that_cannot_be_read_are_one_line(products, settings, error, message, tmp_path):
    with pytest.raises(error, match=message):
        shop(tmp_path, products, **settings)


def test_from_the_log_to_a_score_every_step_says_how_time_cut_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("goods.csv").write_text("sku,name\nP0,Salt\nP1,Pepper\nP2,Mill\nN5,Pan\n")
    log(Path("log.csv"))
    events = "data events log.csv store --products goods.csv --test-days 2 --validation-days 1"
    assert status_of(events.split()) == 0
    capsys.readouterr()
    told = (
        "cut by time: learnt from 2025-11-25T00:00:00Z on, validated from 2025-11-28T00:00:00Z, tested from 2025-11-29"
    )
    splits = "--train store/sessions_development.parquet --sessions store/sessions_test.parquet"
    rank = f"rank covisit {splits} --out run.parquet"
    assert status_of(rank.split()) == 0
    assert told in capsys.readouterr().err
    assert status_of(["evaluate", "run.parquet", "--targets", "store/targets_test.parquet"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert told in printed
    assert "25.0% of the test targets are items that no training session holds" in printed  # one visitor of four
    assert status_of(["stats", "store", "--sknn-sample", "0"]) == 0
    assert told in capsys.readouterr().err


def test_a_store_of_a_log_works_in_python(tmp_path):
    import_events(str(log(tmp_path / "log.csv")), str(tmp_path / "store"), test_days=1)
    store = llmrec.open_store(tmp_path / "store")
    lists = llmrec.fit("covisit", store.training()).rank(store.sessions("test"), k=5)
    targets = store.targets("test")
    assert len(lists) == 8
    assert 0 <= llmrec.evaluate(lists, targets, samples=100).overall.metrics["mrr@100"] <= 1
