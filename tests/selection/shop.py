"""A small shop: families of products with titles alike, and sessions that stay within one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llmrec.data.store import Store
from llmrec.rankers.sessions import TrainingSessions
from llmrec.schema import PRODUCT_COLUMNS, STORE_VERSION
from llmrec.selection.settings import SelectSettings

FAMILIES, SIZES = 8, 5
QUICK: dict[str, Any] = {
    "sources": ("covisit_near", "title_vectors"),
    "folds": 2,
    "rounds": 10,
    "choice_rounds": 15,
    "min_leaf": 5,
    "products": 20,
    "titles": 10,
    "threads": 1,
}
SETTINGS = SelectSettings(**QUICK)


def product_table() -> pa.Table:
    """40 products of two locales; titles of a family share all but their size, one product has no title."""
    rows: list[dict[str, Any]] = []
    for locale, word in (("US", "Bolt"), ("JP", "ボルト")):
        for family in range(FAMILIES):
            for size in range(SIZES):
                title = f"Brand{family} {word} kind {family}, steel, {size + 1} inch (pack of {10 * size + family})"
                rows.append(
                    dict.fromkeys(PRODUCT_COLUMNS) | {"id": f"I{family}{size}", "locale": locale, "title": title}
                )
    rows[-1]["title"] = ""
    kinds = {name: pa.float64() if name == "price" else pa.string() for name in PRODUCT_COLUMNS}
    return pa.Table.from_pylist(rows, pa.schema(kinds))


def sessions(number: int, seed: int, noise: bool = False) -> tuple[list[list[str]], list[str]]:
    """Sequences of three items, ``next_item`` last: sizes of a family in order, or anything where there is noise."""
    draw = np.random.default_rng(seed)
    sequences, locales = [], []
    for _ in range(number):
        family, size = draw.integers(FAMILIES), draw.integers(SIZES)
        items = [f"I{family}{(size + step) % SIZES}" for step in range(3)]
        if noise:
            items = [f"I{draw.integers(FAMILIES)}{draw.integers(SIZES)}" for _ in range(3)]
        sequences.append(items)
        locales.append(("US", "JP")[int(draw.integers(4) == 0)])
    return sequences, locales


def training(number: int = 160, seed: int = 0, noise: bool = False) -> TrainingSessions:
    """The same as something to learn from."""
    return TrainingSessions.of(*sessions(number, seed, noise))


def write_store(folder: Path, number: int = 120) -> Store:
    """A store of them: development, validation and test."""
    folder.mkdir()
    pq.write_table(product_table(), folder / "products.parquet")
    for seed, split in enumerate(("development", "validation", "test")):
        sequences, locales = sessions(number if split == "development" else 30, seed)
        columns = {
            "session_id": list(range(len(locales))),
            "prev_items": [items[:-1] for items in sequences],
            "locale": locales,
        }
        if split != "test":
            columns["next_item"] = [items[-1] for items in sequences]
        pq.write_table(pa.table(columns), folder / f"sessions_{split}.parquet")
    manifest = {"version": STORE_VERSION, "fingerprint": "f" * 64}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return Store.load(folder)
