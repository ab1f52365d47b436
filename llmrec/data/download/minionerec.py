"""MiniOneRec's board: a clone of its repository into shops in the official layout, checked.

The repository has, for each shop, ``data/Amazon/{train,valid,test}/CATEGORY_5_2016-10-2018-11.csv`` (a row a prefix:
``history_item_id`` is a printed list of item numbers, ``item_id`` the next one) and
``data/Amazon/index/CATEGORY.item.json`` (item number to title, brand and description).
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from llmrec.console import notice
from llmrec.data.digests import marked, sessions_fingerprint
from llmrec.data.download.boards import MINIONEREC, Shop, check_files, eight_one_one, item_id
from llmrec.errors import ConfigError, DataError
from llmrec.output import atomic_folder
from llmrec.records import read_record

__all__ = ["REPOSITORY", "Converted", "convert_clone"]

REPOSITORY: Final = "https://github.com/AkaliKong/MiniOneRec"
LOCALE: Final = "US"
_SPLITS: Final = ("train", "valid", "test")
_LIST: Final = re.compile(r"\[\s*\d+(?:\s*,\s*\d+)*\s*\]")
_QUOTED: Final = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\"""")
_ESCAPED: Final = re.compile(r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|.)", re.DOTALL)
_COLUMNS: Final = ("id", "locale", "title", "price", "brand", "color", "size", "model", "material", "author", "desc")


@dataclass(frozen=True)
class Converted:
    """One shop that was written.

    Attributes:
        shop: Its name.
        folder: Where.
        rows: Rows of each split.
        items: Products.
        unchecked: Splits whose content nothing is known of: rows and form alone were checked.
    """

    shop: str
    folder: Path
    rows: dict[str, int]
    items: int
    unchecked: list[str]


def convert_clone(clone: Path, out: Path) -> list[Converted]:
    """Write the shops of a clone into ``out``, one folder each; all of them or none.

    A shop's folder holds ``products_train``, ``sessions_train``, ``sessions_valid``, ``sessions_test`` and
    ``targets/sessions_test``, all Parquet: `llmrec data import` reads it.

    Raises:
        ConfigError: ``clone`` is no folder, or ``out`` holds something.
        DataError: the clone has no shop, or a file is malformed or not the board's.
    """
    if not clone.is_dir():
        raise ConfigError(f"{clone}: no such folder; clone the board first: git clone {REPOSITORY} {clone}")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ConfigError(f"{out}: exists already; choose another --out")
    root = clone / "data" / "Amazon"
    shops = [shop for shop in MINIONEREC.values() if any(root.glob(f"*/{shop.category}*"))]
    if not shops:
        raise DataError(f"{clone}: no shop of MiniOneRec in data/Amazon; clone the board: git clone {REPOSITORY}")
    with atomic_folder(out) as folder:
        made = [_convert(shop, root, folder / shop.name) for shop in shops]
    for one in made:
        notice(
            f"{one.shop}: {', '.join(f'{split} {rows:,}' for split, rows in one.rows.items())}, items {one.items:,}; "
            + (f"of {' and '.join(one.unchecked)} rows and form alone can be checked" if one.unchecked else "checked")
        )
    return [Converted(**{**vars(one), "folder": out / one.shop}) for one in made]


def _convert(shop: Shop, root: Path, folder: Path) -> Converted:
    (folder / "targets").mkdir(parents=True)
    products = _products(shop, root / "index" / f"{shop.category}.item.json")
    known = set(products["id"].to_pylist())
    pq.write_table(products, folder / "products_train.parquet", compression="zstd")
    files, rows = {"products": folder / "products_train.parquet"}, {}
    for split in _SPLITS:
        sessions = _sessions(shop, _split_file(root / split, shop), known)
        files[split], rows[split] = folder / f"sessions_{split}.parquet", len(sessions)
        if split == "test":
            fingerprint = sessions_fingerprint(sessions["prev_items"], sessions["locale"])
            targets = marked(sessions.select(["next_item", "locale"]), fingerprint)
            pq.write_table(targets, folder / "targets" / files[split].name, compression="zstd")
            sessions = sessions.drop_columns(["next_item"])
        pq.write_table(sessions, files[split], compression="zstd")
    if not eight_one_one(rows):
        found = ", ".join(f"{split} {number:,}" for split, number in rows.items())
        raise DataError(
            f"{shop.category}: rows ({found}) are not eight, one and one tenth, as the board splits them; clone it "
            f"again: git clone {REPOSITORY}"
        )
    check_files(shop, files, shop.category)
    return Converted(shop.name, folder, rows, len(known), [one for one in _SPLITS if one not in shop.digests])


def _split_file(folder: Path, shop: Shop) -> Path:
    found = sorted(folder.glob(f"{shop.category}*.csv"))
    if len(found) != 1:
        what = "no file" if not found else f"{len(found)} files"
        raise DataError(f"{folder}: {what} {shop.category}*.csv; clone the board again: git clone {REPOSITORY}")
    return found[0]


def _sessions(shop: Shop, file: Path, known: set[str]) -> Any:
    """Sessions of a split with their targets, in the file's order, which is that of time."""
    histories, goals = [], []
    for number, (history, goal) in enumerate(_rows(file), start=1):
        ids = [item_id(shop, int(item)) for item in (*re.findall(r"\d+", history), goal)]
        if left := [one for one in ids if one not in known]:
            raise DataError(f"{file.name}, row {number}: item {int(left[0][3:])} is not in {shop.category}.item.json")
        histories.append(ids[:-1])
        goals.append(ids[-1])
    lists = pa.array(histories, pa.list_(pa.string()))
    return pa.table({"prev_items": lists, "next_item": pa.array(goals, pa.string()), "locale": [LOCALE] * len(goals)})


def _rows(file: Path) -> Iterator[tuple[str, str]]:
    """History and target of each row, as they are written."""
    try:
        with file.open(encoding="utf-8", newline="") as handle:
            reader = csv.DictReader(handle, strict=True)
            for name in ("history_item_id", "item_id"):
                if name not in (reader.fieldnames or ()):
                    raise DataError(f"{file.name}: no column '{name}'; git lfs pull, or clone the board again")
            for number, row in enumerate(reader, start=1):
                history, goal = row["history_item_id"] or "", row["item_id"] or ""
                if not _LIST.fullmatch(history.strip()) or not goal.strip().isdecimal():
                    raise DataError(
                        f"{file.name}, row {number}: '{history[:60]}' and '{goal[:20]}' are no item numbers"
                    )
                yield history, goal.strip()
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{file.name}: no whole CSV ({error}); clone the board again") from error


def _products(shop: Shop, file: Path) -> Any:
    content = read_record(file, dict[str, dict[str, Any]], f"clone the board again: git clone {REPOSITORY}")
    if odd := [key for key in content if not key.isdecimal()]:
        raise DataError(f"{file.name}: '{odd[0][:20]}' is no item number; clone the board again")
    rows = [
        {
            "id": item_id(shop, int(key)),
            "locale": LOCALE,
            "title": str(one.get("title", "")),
            "brand": str(one.get("brand", "")),
            "desc": described(str(one.get("description", ""))),
        }
        for key, one in content.items()
    ]
    kinds = {name: pa.float64() if name == "price" else pa.string() for name in _COLUMNS}
    return pa.Table.from_pylist(rows, pa.schema(list(kinds.items())))


def described(text: str) -> str:
    """A printed list of texts as one text; what is no list stays as it is."""
    if not (text.startswith("[") and text.endswith("]")):
        return text
    parts = [_ESCAPED.sub(_unescaped, one or other) for one, other in _QUOTED.findall(text)]
    return " ".join(parts)


def _unescaped(found: re.Match[str]) -> str:
    code = found[1]
    if len(code) > 1:
        return chr(min(int(code[1:], 16), sys.maxunicode))
    return {"n": "\n", "t": "\t", "r": "\r"}.get(code, code)
