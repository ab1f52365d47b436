"""A small store for tests, written as `llmrec.data.store` documents it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import settings

from llmrec.data.store import Store
from llmrec.schema import PRODUCT_COLUMNS, STORE_VERSION
from tests import planted

os.environ.update(planted.ENVIRONMENT)
settings.register_profile("llmrec", deadline=None)  # a busy machine is no bug
settings.load_profile("llmrec")

TITLES = {
    "UK": ["USB-C Cable 2 m, Braided", "Wireless Mouse, Silent", "Garden Hose 15 m", "Kettle 1.7 L", "Desk Lamp, LED"],
    "DE": ["USB-C-Kabel 2 m, geflochten", "Kabellose Maus", "Gartenschlauch 15 m", "Wasserkocher 1,7 L", "Große Süß"],
    "JP": ["USB-C ケーブル 2m", "マウス 静音", "散水ホース 15m", "電気ケトル 1.7L", "ライト【新】"],
    "ES": ["Cable USB-C 2 m trenzado", "Ratón inalámbrico", "Manguera 15 m", "Hervidor 1,7 L", "Lámpara de niño"],
    "FR": ["Câble USB-C 2 m tressé", "Souris sans fil", "Tuyau d'arrosage 15 m", "Bouilloire 1,7 L", "Lampe à poser"],
    "IT": ["Cavo USB-C 2 m", "Mouse senza fili", "Tubo da giardino 15 m", "Bollitore 1,7 L", "Lampada è più"],
    "US": ["USB-C Cable 6 ft", "{{ 7 * 7 }} Mouse {% raw %}", "Hose\t50  ft", "Kettle || 1.7 L", "NA"],
}
UNTITLED, ABSENT = "X5", "X9"  # an item with an empty title, and one without a product row


def _products() -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for locale, titles in TITLES.items():
        for number, title in enumerate([*titles, ""]):
            row = dict.fromkeys(PRODUCT_COLUMNS) | {"id": f"X{number}", "locale": locale, "title": title}
            if number == 0:
                row |= {"brand": f"Brand {locale}", "color": "black", "price": 10.0}
            rows.append(row)
    return rows


def _sessions(start: int, before: Sequence[str] = ()) -> list[dict[str, object]]:
    """Five a locale, interleaved: plain, a repeated item, gaps, no title at all, an untitled target.

    ``before`` are items that every session starts with: without them one split repeats the other's sessions.
    """
    shapes = [
        (["X0", "X1", "X2", "X3"], "X4"),
        (["X1", "X1"], "X0"),
        (["X2", ABSENT, "X0", UNTITLED], "X1"),
        ([UNTITLED, ABSENT], "X2"),
        (["X3", "X4"], UNTITLED),
    ]
    made = [(locale, items, target) for items, target in shapes for locale in TITLES]
    return [
        {"session_id": start + 2 * place, "prev_items": [*before, *items], "next_item": target, "locale": locale}
        for place, (locale, items, target) in enumerate(made)
    ]


@pytest.fixture(scope="session", autouse=True)
def no_secret_is_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing that any test wrote holds a secret of its environment or of a server's URL."""
    yield
    if leaks := planted.leaks(tmp_path_factory.getbasetemp()):
        pytest.fail("\n".join(["secrets were written:", *leaks]), pytrace=False)


@pytest.fixture
def tiny_store(tmp_path: Path) -> Store:
    """Six locales and ``US``: 42 products; 35 development, 35 validation (ids interleaved) and 35 test sessions."""
    folder = tmp_path / "store"
    folder.mkdir()
    kinds = {name: pa.float64() if name == "price" else pa.string() for name in PRODUCT_COLUMNS}
    pq.write_table(pa.Table.from_pylist(_products(), pa.schema(kinds)), folder / "products.parquet")
    session = {"session_id": pa.int64(), "prev_items": pa.list_(pa.string()), "next_item": pa.string()}
    labelled = pa.schema(session | {"locale": pa.string()})
    for split, start in (("development", 0), ("validation", 1), ("test_task3_phase1", 0)):
        before = () if split == "development" else (ABSENT,)
        table = pa.Table.from_pylist(_sessions(start, before), labelled)
        if split.startswith("test"):
            targets = table.select(["session_id", "locale", "next_item"])
            pq.write_table(targets, folder / f"targets_{split}.parquet")
            table = table.drop(["next_item"])
        pq.write_table(table, folder / f"sessions_{split}.parquet")
    manifest = {"version": STORE_VERSION, "fingerprint": "f" * 64}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return Store.load(folder)


@pytest.fixture(scope="session")
def title_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny mT5 that writes something, with its tokenizer and its card: K is 2."""
    from llmrec.text.prompts import load_prompt
    from llmrec.titles.models.model import ModelCard, build_tiny_mt5, save_model
    from llmrec.titles.models.tokenizer import build_tokenizer

    folder = tmp_path_factory.mktemp("api") / "model"
    tokenizer = build_tokenizer([f"{title} {n}" for titles in TITLES.values() for title in titles for n in (1, 2)], 400)
    prompt = load_prompt("plain_v1")
    card = ModelCard(prompt.name, prompt.hash, 2, 48, 12)
    save_model(folder, build_tiny_mt5(len(tokenizer), 32, 1, 0), tokenizer, card)
    return folder
