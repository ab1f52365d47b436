"""Public boards: which rows and products their files hold, so that figures beside theirs are of the same sessions.

MiniOneRec's board has two shops. What is known of a file is its number of rows, and where somebody has had it, a digest
of what it holds that does not depend on how it is written: item numbers alone, rows sorted.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from llmrec.data.connection import connected
from llmrec.data.overlap import overlap_of_files, refuse_overlap
from llmrec.data.products import load_products
from llmrec.data.sessions import read_sessions_file
from llmrec.errors import DataError

__all__ = ["MINIONEREC", "Shop", "check_files", "digest_of_rows", "eight_one_one", "item_id"]

_MEND: Final = "clone AkaliKong/MiniOneRec again, then: llmrec data get --from minionerec CLONE"
_NUMBER: Final = re.compile(r"[A-Z]{3}(\d{6})")


@dataclass(frozen=True)
class Shop:
    """One shop of a board.

    Attributes:
        name: Of its folder.
        category: As the board's files are named.
        prefix: Of item ids here: the board's item 168 is ``IND000168``.
        items: Products.
        rows: Rows of ``train``, ``valid`` and ``test``, as far as they are known.
        digests: What is known of ``valid`` (histories and targets), ``test`` (histories alone) and ``products``
            (titles); of the training file nobody here has one.
    """

    name: str
    category: str
    prefix: str
    items: int
    rows: Mapping[str, int]
    digests: Mapping[str, str] = field(default_factory=dict)


# Rows: AkaliKong/MiniOneRec at 81b4ba9 and the log in its issue 71; Office: the log of demon2036/minionerec-jax-repro.
MINIONEREC: Final = {
    "industrial": Shop(
        "industrial",
        "Industrial_and_Scientific",
        "IND",
        3_686,
        {"train": 36_259, "valid": 4_532, "test": 4_533},
        {
            "valid": "cd952a3bd7139a7787b475f0411b2ed6d22ff901afa29a3d6f602707cc7f2b0b",
            "test": "8e4b571917bbd60aef1cb153b030ca3de8f863ec0d77fceba1f05c4c0e209c53",
            "products": "e479ef00e7144dc7597aec632843283cc395bef49196dbcaf265b5df46332651",
        },
    ),
    "office": Shop("office", "Office_Products", "OFF", 3_459, {"test": 4_866}),
}


def item_id(shop: Shop, number: int) -> str:
    """Our id of a board's item."""
    return f"{shop.prefix}{number:06d}"


def digest_of_rows(lines: Iterable[str]) -> str:
    """SHA-256 of lines in their sorted order: the same for the same rows in any order and file form."""
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def eight_one_one(rows: Mapping[str, int]) -> bool:
    """Whether ``train``, ``valid`` and ``test`` are eight, one and one tenth of their sum, cut as the board cuts it."""
    total = sum(rows.values())
    first, second = total * 8 // 10, total * 9 // 10
    return (rows["train"], rows["valid"]) == (first, second - first)


def check_files(shop: Shop, files: Mapping[str, Path], where: str) -> None:
    """Hold files against what is known of a shop.

    Args:
        shop: The shop.
        files: ``train``, ``valid``, ``test`` and ``products``, those that there are; sessions with `item_id`.
        where: What an error calls the folder.

    Raises:
        DataError: a file is not the board's, or the training file repeats sessions of the test file with their labels.
    """
    for split, file in files.items():
        lines = _product_lines(file) if split == "products" else _session_lines(file, labels=split != "test")
        expected = shop.items if split == "products" else shop.rows.get(split, len(lines))
        if len(lines) != expected:
            raise DataError(f"{where}: {file.name} has {len(lines):,} rows, the board's {split} {expected:,}; {_MEND}")
        known, found = shop.digests.get(split), digest_of_rows(lines)
        if known not in (None, found):
            raise DataError(
                f"{where}: {file.name} is not the board's {split}: its rows have the fingerprint {found[:12]}, "
                f"the board's {str(known)[:12]}; {_MEND}"
            )
    for split in ("train", "valid"):
        if split in files and "test" in files:
            refuse_overlap(overlap_of_files([files[split]], files["test"]), [files[split]], files["test"].name, False)


def _session_lines(file: Path, labels: bool) -> list[str]:
    with connected() as con:
        table = read_sessions_file(con, file)
        if labels and "next_item" not in table.columns:
            raise DataError(f"{file.name}: no column 'next_item'; {_MEND}")
        read = con.to_pyarrow(table.select("prev_items", *(["next_item"] if labels else [])))
    histories = [",".join(_number(item, file) for item in items) for items in read["prev_items"].to_pylist()]
    if not labels:
        return histories
    goals = read["next_item"].to_pylist()
    return [f"{history}>{_number(goal, file)}" for history, goal in zip(histories, goals, strict=True)]


def _product_lines(file: Path) -> list[str]:
    table: Any = load_products(file, ("id", "title"))
    pairs = zip(table["id"].to_pylist(), table["title"].to_pylist(), strict=True)
    return [f"{_number(item, file)}\t{title or ''}" for item, title in pairs]


def _number(item: str | None, file: Path) -> str:
    found = _NUMBER.fullmatch(item or "")
    if found is None:
        raise DataError(f"{file.name}: '{item}' is no id of a board, such as IND000168; {_MEND}")
    return str(int(found[1]))
