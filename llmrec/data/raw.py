"""CSV and Parquet as they are: the columns found, nothing guessed, and DuckDB's complaints in the user's words."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import ibis.expr.types as ir
from ibis.backends.duckdb import Backend
from ibis.util import gen_name

from llmrec.errors import ConfigError, DataError, DiskError, LlmrecError, nearest

__all__ = ["ends_whole", "explained", "literal", "read_raw"]

_HEADER_BYTES = 1 << 16
_NOT_PARQUET = ("magic bytes", "parquet", "thrift", "tprotocol", "ttype", "snappy", "zstd")


def read_raw(con: Backend, path: Path, required: Sequence[str]) -> ir.Table:
    """Name the columns of a CSV (all of them text) or Parquet file.

    A CSV's empty field is null; ``NA``, ``nan`` and ``null`` are text. Blank lines are skipped and do not count as
    rows. The file's content is read when the table is, so run that inside `explained`.

    Raises:
        DataError: no such file, an unknown kind of file, or a required column is missing.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; give a CSV or Parquet file")
    if path.suffix.lower() == ".csv":
        names = _header(path)
        _check_columns(path, names, required)
        return _read_csv(con, path, names)
    if path.suffix.lower() == ".parquet":
        with explained(path):
            table = con.read_parquet(literal(path), table_name=gen_name("parquet"))
        _check_columns(path, table.columns, required)
        return table
    raise DataError(f"{path.name}: neither .csv nor .parquet; convert it to one of them")


def _read_csv(con: Backend, path: Path, names: Sequence[str]) -> ir.Table:
    # Numbered columns keep odd header texts out of the query; fixed types and quotes leave nothing to be sniffed.
    numbered = {f"c{position}": "VARCHAR" for position in range(len(names))}
    with explained(path):
        table = con.read_csv(
            literal(path),
            table_name=gen_name("csv"),
            columns=numbered,
            auto_detect=False,
            header=True,
            delim=",",
            quote='"',
            escape='"',
            nullstr="",
        )
    return table.select(**{name: table[column] for name, column in zip(names, numbered, strict=True) if name})


def _header(path: Path) -> list[str]:
    with path.open("rb") as handle:
        start = handle.read(_HEADER_BYTES).decode("utf-8-sig", errors="replace")
    try:
        names = [name.strip() for name in next(csv.reader(io.StringIO(start, newline="")), [])]
    except csv.Error as error:
        raise DataError(f"{path.name}: its first row is no CSV header ({error})") from error
    if not any(names):
        raise DataError(f"{path.name}: the file is empty; it needs a header and rows")
    return names


def _check_columns(path: Path, names: Sequence[str], required: Sequence[str]) -> None:
    for name in required:
        if name not in names:
            raise DataError(f"{path.name}: no column '{name}'{nearest(name, [known for known in names if known])}")
    for name in names:
        if name and names.count(name) > 1:
            raise DataError(f"{path.name}: column '{name}' stands there twice; rename or remove one")


def literal(path: Path) -> str:
    """Path whose ``*``, ``?`` and ``[`` DuckDB takes as they are, not as a pattern over many files."""
    return re.sub(r"([*?\[])", r"[\1]", str(path))


def ends_whole(path: Path) -> bool:
    """Whether a CSV's last row ends in a line break, as every usual writer's does; a cut file seldom ends in one."""
    with path.open("rb") as handle:
        handle.seek(0, io.SEEK_END)
        handle.seek(max(0, handle.tell() - 1))
        return handle.read() in (b"\n", b"\r", b"")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Run a query over ``path``; what DuckDB refuses because of the file, the disk or memory becomes one of our errors.

    Raises:
        DataError: the file's content is wrong; names the data row, counted from 1 without the header.
        DiskError: the disk is full.
        ConfigError: the query does not fit into memory.
    """
    try:
        yield
    except duckdb.Error as error:
        known = _explain(str(error), path)
        if known is None and isinstance(error, duckdb.OutOfMemoryException):
            known = ConfigError(
                f"{path.name}: not enough memory and no room to spill; free memory or disk and run again"
            )
        if known is None:
            raise
        raise known from error


def _explain(text: str, path: Path) -> LlmrecError | None:
    if "No space left" in text or "Disk quota exceeded" in text:
        return DiskError(f"{path}: the disk is full; free some space and run the same command again")
    if line := re.search(r"CSV Error on Line: (\d+)", text):
        row = int(line.group(1)) - 1
        return DataError(f"{path.name}, {f'row {row}' if row else 'header'}: {_csv_reason(text)}")
    if path.suffix.lower() == ".parquet" and any(word in text.lower() for word in _NOT_PARQUET):
        return DataError(f"{path.name}: not a whole Parquet file; copy it again")
    return None


def _csv_reason(text: str) -> str:
    if count := re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", text):
        expected, found = (int(number) for number in count.groups())
        hint = "the file may be cut short" if found < expected else "a value with a comma needs quotes"
        return f"{found} columns where the header has {expected}; {hint}"
    if "unterminated quote" in text:
        return "a quoted value is not closed as it should be; the file may be cut short"
    if "Maximum line size" in text:
        return "longer than 2 MB; a quoted value may not be closed"
    if "unicode" in text.lower():
        return "not UTF-8 text; save the file as UTF-8"
    return "not a CSV row; check its quotes and commas"
