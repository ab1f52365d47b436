"""Synthetic data and import."""

from __future__ import annotations

import csv
import itertools
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.measure import RUNS, Measurement, Size, app, import_csv, measure, need, show, write_synthetic

__all__ = ["import_", "synth"]

SLICE_ROWS = 1_000_000


def _read_and_parse(raw: Path) -> int:
    """What `import` does before it checks, joins, splits and writes: the CSVs as typed columns with parsed lists."""
    from llmrec.data.connection import connected
    from llmrec.data.products import stage_products
    from llmrec.data.sessions import stage_sessions

    with connected() as con:
        staged = stage_sessions(con, raw / "sessions_train.csv")
        products = stage_products(con, raw / "products_train.csv")
        return int(staged.count().to_pyarrow().as_py()) + int(products.count().to_pyarrow().as_py())


def _pandas_rows(raw: Path, way: str) -> int:
    """The plain ways: pandas reads, and a regular expression parses one list at a time.

    ``iterrows`` and ``itertuples`` go over the rows; ``column`` is the fastest loop that can be written over lists.
    """
    import pandas as pd

    sessions = pd.read_csv(raw / "sessions_train.csv", dtype=str, keep_default_na=False)
    products = pd.read_csv(raw / "products_train.csv", dtype=str, keep_default_na=False)
    texts: Iterable[Any] = sessions["prev_items"]
    if way == "iterrows":
        texts = (row["prev_items"] for _, row in sessions.iterrows())
    elif way == "itertuples":
        texts = (row.prev_items for row in sessions.itertuples())
    sessions["prev_items"] = [re.findall(r"'([^']*)'", text) for text in texts]
    return len(sessions) + len(products)


def _cut(raw: Path, folder: Path, rows: int) -> Path:
    """The first rows of the training sessions, and the products in proportion."""
    for name, number in (("sessions_train.csv", rows), ("products_train.csv", rows * 43 // 100)):
        with (raw / name).open(newline="", encoding="utf-8") as source, (folder / name).open("w", newline="") as target:
            csv.writer(target).writerows(itertools.islice(csv.reader(source), number + 1))
    return folder


@app.command()
def synth(size: Size = "full") -> None:
    """Write the synthetic CSVs. There is no plain way to set beside: nothing else makes this data."""
    folder = RUNS / f"synthetic-{size}"
    show(f"synth {size}", [("write the CSVs", measure(write_synthetic, folder / "csv", size), "")])


@app.command("import")
def import_(size: Size = "full") -> None:
    """Import the synthetic CSVs; on a slice of them beside pandas and a loop over the rows."""
    folder = RUNS / f"synthetic-{size}"
    need(folder / "csv", size)
    whole = measure(import_csv, folder / "csv", folder / "store")
    with tempfile.TemporaryDirectory() as scratch:
        raw = _cut(folder / "csv", Path(scratch), SLICE_ROWS)
        plain = {way: measure(_pandas_rows, raw, way) for way in ("iterrows", "itertuples", "column")}
        parsed, sliced = measure(_read_and_parse, raw), measure(import_csv, raw, Path(scratch) / "store")

    def ratios(ours: Measurement) -> str:
        return ", ".join(f"{one.seconds / ours.seconds:.1f} x {way}" for way, one in plain.items())

    cut = f"{SLICE_ROWS:,} sessions"
    rows = [
        (f"import {size}: read, check, join, split, write", whole, ""),
        *((f"{cut}: read and parse, pandas, {way}", one, "a plain way") for way, one in plain.items()),
        (f"{cut}: read and parse, llmrec", parsed, f"faster: {ratios(parsed)}"),
        (f"{cut}: the whole import, llmrec", sliced, f"faster: {ratios(sliced)}"),
    ]
    show("import", rows)
