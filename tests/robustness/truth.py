"""What strict readers of nothing but a format find in a file: the judge of which answer a changed file may give."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["bytes_of", "products", "raw", "run", "sessions", "tables", "targets", "yaml"]

_ID = r"""(?:'[^'\\\r\n]*'|"[^"\\\r\n]*")"""
_LIST = re.compile(rf"\s*\[\s*(?:{_ID}(?:(?:\s*,\s*|\s+){_ID})*)?\s*\]\s*")


class Broken(Exception):  # noqa: N818
    """No reader of the format reads this."""


def tables(folder: Path) -> Any:
    """Every Parquet file of a folder, checksums of pages verified."""
    return {path.name: parquet(path) for path in sorted(folder.glob("*.parquet"))}


def parquet(path: Path) -> Any:
    """Rows and types of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path, page_checksum_verification=True).read()
        table.validate(full=True)
        return [str(table.schema.remove_metadata()), table.to_pydict()]
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Broken(str(error)) from error


def strict_csv(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV as RFC 4180 has them: UTF-8, as many cells as the header, quotes in pairs."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except ValueError as error:
        raise Broken("not UTF-8") from error
    if "\x00" in text:
        raise Broken("NUL")
    rows = _rows(text)
    if not rows:
        raise Broken("no header")
    header = [name.strip() for name in rows[0]]
    if len(set(header)) < len(header):
        raise Broken("a column twice")
    for row in rows[1:]:
        if len(row) != len(header):
            raise Broken(f"{len(row)} cells for {len(header)} columns")
    return [dict(zip(header, row, strict=True)) for row in rows[1:]]


def _rows(text: str) -> list[list[str]]:
    """RFC 4180, a field at a time: Python's reader forgives quotes within a field."""
    field = re.compile(r'(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n|\n|\Z)')
    rows: list[list[str]] = []
    row: list[str] = []
    at = 0
    while at < len(text) or row:
        found = field.match(text, at)
        if found is None:
            raise Broken(f"a stray quote at {at}")
        row.append(found[1].replace('""', '"') if found[1] is not None else found[2])
        at = found.end()
        if found[3] != ",":
            if row != [""]:
                rows.append(row)
            row = []
            if found[3] == "" and at >= len(text):
                break
    return rows


def _tidy(text: str | None) -> str:
    """An id or locale without what surrounds it: blanks of every kind, marks of no width."""
    return (text or "").strip().strip("\ufeff\u200b\u200c\u200d\u2060").strip()


def _list(text: str) -> list[str]:
    if not _LIST.fullmatch(text):
        raise Broken("no printed list")
    return [one for one in (_tidy(quoted[1:-1]) for quoted in re.findall(_ID, text)) if one]


def _session_rows(path: Path, form: str) -> Any:
    if form == "parquet":
        return parquet(path)
    rows = strict_csv(path)
    wanted = [name for name in ("prev_items", "next_item", "locale") if rows and name in rows[0]]
    return [{name: _list(row[name]) if name == "prev_items" else _tidy(row[name]) for name in wanted} for row in rows]


def sessions(form: str) -> Callable[[Path], Any]:
    """Sessions to learn from and to rank for."""
    return lambda folder: [_session_rows(folder / f"{name}.{form}", form) for name in ("sessions", "bare")]


def products(form: str) -> Callable[[Path], Any]:
    """Products."""
    return lambda folder: (parquet if form == "parquet" else strict_csv)(folder / f"products.{form}")


def targets(form: str) -> Callable[[Path], Any]:
    """Targets."""

    def read(folder: Path) -> Any:
        path = folder / f"targets.{form}"
        if form == "parquet":
            return parquet(path)
        return [{key: _tidy(value) for key, value in row.items()} for row in strict_csv(path)]

    return read


def raw(folder: Path) -> Any:
    """Raw files of a shop."""
    made = []
    for path in sorted(folder.glob("*.csv")):
        made.append(_session_rows(path, "csv") if path.name.startswith("sessions") else strict_csv(path))
    return made


def run(name: str) -> Callable[[Path], Any]:
    """A run; its record beside it is ours, and no other content of that is genuine."""

    def read(folder: Path) -> Any:
        made = parquet(folder / f"{name}.parquet")
        genuine = _untouched(folder / f"{name}.json")
        if not genuine:
            raise Broken("another record than the one that was written")
        return made

    return read


_KNOWN: dict[str, Any] = {}


def _untouched(path: Path) -> bool:
    """Whether a record says what the first one of its name said, which is the genuine one."""
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return bool(_KNOWN.setdefault(path.name, held) == held)


def yaml(folder: Path) -> Any:
    """A YAML file."""
    import yaml as library

    try:
        content = library.safe_load((folder / "own.yaml").read_bytes().decode("utf-8"))
        return repr(content)[:100_000]
    except (library.YAMLError, ValueError, RecursionError) as error:
        raise Broken(str(error)) from error


def bytes_of(folder: Path) -> Any:
    """A folder by its bytes: any change makes it another."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }
