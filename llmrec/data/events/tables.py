"""A shop's files as tables of text: CSV with any usual delimiter, TSV, JSON Lines, Parquet; gzipped or not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any, Final, NamedTuple

import duckdb
import ibis
import ibis.expr.types as ir
from ibis.backends.duckdb import Backend
from ibis.util import gen_name

from llmrec.data.connection import carried
from llmrec.data.csv_form import header_of, names_in, opened, refuse_loose_rows
from llmrec.data.lists import excerpt
from llmrec.data.raw import explained, from_parquet, is_parquet, literal, parquet_file, read_csv
from llmrec.errors import DataError

__all__ = ["ShopTable", "as_text", "open_table", "reading"]

_JSON: Final = (".jsonl", ".ndjson", ".json")
_DELIMITERS: Final = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
_OTHERS: Final = (",", "\t", ";", "|")
_WHOLE: Final = float(1 << 53)  # below it, a whole number is what was written
_LINES: Final = 1_000  # of JSON whose keys are columns
_LINE_BYTES: Final = 1 << 20


class ShopTable(NamedTuple):
    """A file as it is.

    Attributes:
        path: The file.
        columns: Names of its columns, in their order.
        rows: All rows in the file's order, every value text but in Parquet; read when it is used, within `reading`.
        note: What was taken for granted, for people; empty where nothing was.
    """

    path: Path
    columns: tuple[str, ...]
    rows: ir.Table
    note: str = ""


def open_table(con: Backend, path: Path, *, lines: bool = False) -> ShopTable:
    """Open a file of whatever kind, told by its ending.

    Args:
        con: Where to.
        path: The file; on a cluster a URI of a file or a folder of files.
        lines: On a cluster, whether a row of CSV is one line, so that several tasks read a large file.

    Raises:
        DataError: no such file, an unknown kind, an empty file, or one that a strict reader refuses.
    """
    if con.name != "duckdb":
        return _open_on_cluster(con, path, lines)
    if not path.is_file():
        raise DataError(f"{path}: no such file; give CSV, TSV, JSON Lines or Parquet")
    zipped = path.suffix.lower() == ".gz"
    kind = (path.with_suffix("") if zipped else path).suffix.lower()
    if not zipped and (kind == ".parquet" or is_parquet(path)):
        names = parquet_file(path).schema_arrow.names
        with reading(path):
            return ShopTable(path, tuple(names), from_parquet(con, path))
    if kind in _JSON:
        return _open_json(con, path)
    if kind in _DELIMITERS:
        return _open_csv(con, path, _DELIMITERS[kind])
    raise DataError(f"{path.name}: none of .csv, .tsv, .jsonl (all also with .gz) or .parquet; convert it to one")


def _open_csv(con: Backend, path: Path, delimiter: str) -> ShopTable:
    names, delimiter, note = _header(path, delimiter, lambda one: header_of(path, one))
    refuse_loose_rows(path, len(names), delimiter=delimiter)
    return ShopTable(path, tuple(name for name in names if name), read_csv(con, path, names, delimiter), note)


def _header(path: Path, delimiter: str, names_by: Callable[[str], list[str]]) -> tuple[list[str], str, str]:
    """Names of a CSV's columns, what parts them, and a note where that is another character than its ending says."""
    names, note = names_by(delimiter), ""
    if len(names) == 1:  # `a;b;c` of a spreadsheet in Europe
        widths = {one: len(names_by(one)) for one in _OTHERS}
        delimiter = max(widths, key=lambda one: (widths[one], one == delimiter))
        if widths[delimiter] > 1:
            names, note = names_by(delimiter), f"columns parted by {delimiter!r}"
    bare = [name.strip() for name in names]
    twice = next((name for name in bare if name and bare.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path.name}: column '{twice}' stands there twice; rename or remove one")
    return names, delimiter, note


def _open_on_cluster(con: Backend, path: Path, lines: bool) -> ShopTable:
    """`open_table` of a URI, a file or a folder of files of one kind."""
    from llmrec.data.spark.reading import csv_rows, first_line, first_lines, kind_of, read_files

    kind, files = kind_of(con, path)
    if kind in _DELIMITERS:
        start = first_line(con, files[0])
        names, delimiter, note = _header(path, _DELIMITERS[kind], lambda one: names_in(start, path, one))
        rows = csv_rows(con, path, kind, names, delimiter, lines=lines)
        return ShopTable(path, tuple(name for name in rows.columns if name not in carried(rows)), rows, note)
    if kind in _JSON:
        names = _json_columns(path, (line.encode() for line in first_lines(con, files[0], _LINES)))
        return ShopTable(path, tuple(names), read_files(con, path, kind, names))
    if kind == ".parquet":
        rows = read_files(con, path, kind)
        return ShopTable(path, tuple(name for name in rows.columns if name not in carried(rows)), rows)
    raise DataError(f"{path.name}: none of .csv, .tsv, .jsonl (all also with .gz) or .parquet; convert it to one")


def _open_json(con: Backend, path: Path) -> ShopTable:
    with opened(path) as handle:
        lines = takewhile(bool, (handle.readline(_LINE_BYTES) for _ in range(_LINES)))
        columns = _json_columns(path, lines)
    zipped = {"compression": "gzip"} if path.suffix.lower() == ".gz" else {}
    with reading(path):
        rows = con.read_json(
            literal(path),
            table_name=gen_name("json"),
            columns=dict.fromkeys(columns, "VARCHAR"),
            format="newline_delimited",
            hive_partitioning=False,
            **zipped,
        )
    return ShopTable(path, tuple(columns), rows)


def _json_columns(path: Path, lines: Iterable[bytes]) -> list[str]:
    """Names in the first lines of JSON that hold no objects or lists."""
    names: dict[str, Any] = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            for name, value in _json_object(line, f"{path.name}, row {number}").items():
                names[name] = names.get(name) or isinstance(value, dict | list)
    if not names:
        raise DataError(f"{path.name}: the file is empty; it needs a line of JSON for each row")
    return [name for name, nested in names.items() if not nested]


def _json_object(line: bytes, where: str) -> dict[str, Any]:
    try:
        made = json.loads(line)
    except (ValueError, RecursionError) as error:
        hint = "save it as UTF-8 without a byte-order mark" if line.startswith(b"\xef\xbb\xbf") else "one line a row"
        raise DataError(f"{where}: no JSON ({excerpt(str(error))}); {hint}") from error
    if not isinstance(made, dict):
        raise DataError(f'{where}: no object with names, as {{"item": "B0A"}} is: {excerpt(str(made))}')
    return made


def as_text(column: ir.Value) -> ir.StringValue:
    """A column as text; whole numbers without ``.0``, which pandas makes of them where one is missing."""
    if not column.type().is_floating():
        return column.cast("string")
    number: ir.FloatingValue = column
    whole = (number == number.floor()) & (number.abs() < _WHOLE)
    return ibis.cases((whole, ibis.cases((whole, number)).cast("int64").cast("string")), else_=number.cast("string"))


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """`llmrec.data.raw.explained`, which also knows what DuckDB says of JSON and gzip.

    Raises:
        DataError: the file's content is wrong; names the row where it can.
        DiskError: the disk is full.
        ConfigError: the query does not fit into memory.
    """
    try:
        with explained(path):
            yield
    except (duckdb.Error, DataError) as error:
        text = str(error.__cause__ if isinstance(error, DataError) else error)
        if "GZIP" in text:
            raise DataError(f"{path.name}: not a whole gzip file; copy or pack it again") from error
        if "JSON" in text and (line := re.search(r"in line (\d+)", text)):
            reason = excerpt(text.partition(": ")[2].splitlines()[0], 100)
            raise DataError(f"{path.name}, near row {line[1]}: not a line of JSON ({reason})") from error
        raise
