"""A small clone of MiniOneRec's repository, in the form of its files."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmrec.data.download.boards import MINIONEREC

CATEGORY = "Industrial_and_Scientific"
ITEMS = 12
HEADER = ["user_id", "history_item_title", "item_title", "history_item_id", "item_id", "history_item_sid", "item_sid"]


def rows_of(number: int, start: int) -> list[tuple[list[int], int]]:
    """Prefixes of some histories: item, next item and the one after, around the catalogue."""
    return [([(start + row) % ITEMS] * (1 + row % 3), (start + 2 * row + 1) % ITEMS) for row in range(number)]


def write_split(path: Path, rows: list[tuple[list[int], int]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(HEADER)
        for number, (history, goal) in enumerate(rows):
            titles, codes = [f'Tape 1.88" no. {item}' for item in history], [f"<a_{item}>" for item in history]
            writer.writerow([f"A{number}", titles, f"Tape {goal}", history, goal, codes, f"<a_{goal}>"])


def write_clone(folder: Path, category: str = CATEGORY, number: int = 40) -> Path:
    """The files of one shop as the repository has them, ``number`` rows split eight to one to one."""
    root, name = folder / "data" / "Amazon", f"{category}_5_2016-10-2018-11.csv"
    for split, size, start in (("train", number * 8 // 10, 0), ("valid", number // 10, 5), ("test", number // 10, 7)):
        write_split(root / split / name, rows_of(size, start))
    products: dict[str, Any] = {
        str(item): {
            "title": f"Tape {item}",
            "description": f"['Holds.', \"It's {item}\"]",
            "brand": "B",
            "categories": "",
        }
        for item in range(ITEMS)
    }
    (root / "index").mkdir(exist_ok=True)
    (root / "index" / f"{category}.item.json").write_text(json.dumps(products), encoding="utf-8")
    return folder


def small_shops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the board's shops as small as the clone; nothing is known of their content."""
    for name, shop in MINIONEREC.items():
        monkeypatch.setitem(MINIONEREC, name, replace(shop, items=ITEMS, rows={}, digests={}))
