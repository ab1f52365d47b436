"""Targets of a split: read from Parquet or CSV, and titles looked up in the products."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from llmrec.errors import DataError

__all__ = ["Targets", "columns_of", "join_titles", "read_targets"]

# ground truth from elsewhere: the authors' of Task 3, for instance, is a table of products
_ALIASES: Final = {"next_item": ("gt", "item", "item_id"), "next_title": ("title",)}
_COLUMNS: Final = ("session_id", "locale", *_ALIASES, *(alias for names in _ALIASES.values() for alias in names))


@dataclass(frozen=True)
class Targets:
    """Held-out answers of ``S`` sessions, in the sessions' order.

    Attributes:
        path: Where they were read.
        num_rows: ``S``.
        locales: Arrow strings, or None where the file has no such column.
        items: Next item of each session, null where unknown; None without such a column.
        titles: Next title of each session, null where unknown; None without such a column.
        sessions_fingerprint: What their sessions are known by (`llmrec.data.digests`); None where nothing says so.
    """

    path: Path
    num_rows: int
    locales: pa.ChunkedArray | None
    items: pa.ChunkedArray | None
    titles: pa.ChunkedArray | None
    sessions_fingerprint: str | None = None


def read_targets(path: Path) -> Targets:
    """Read ``locale``, ``next_item`` (or ``gt``, ``item``, ``item_id``) and ``next_title`` (or ``title``).

    A store's ``targets_SPLIT.parquet`` leaves out the sessions whose target is not known; they are put back, without a
    target, from ``sessions_SPLIT.parquet`` beside it, so that the rows are those of a run.

    Raises:
        DataError: no such file, not Parquet or CSV, neither an item nor a title in it, or a store's targets that are
            not those of its sessions.
    """
    table = _in_session_order(path, _read_columns(path, _COLUMNS, "targets"))
    columns = {name: table[name] for name in table.column_names}
    for name, aliases in _ALIASES.items():
        columns.setdefault(name, next((columns[alias] for alias in aliases if alias in columns), None))
    if columns.get("next_item") is None and columns.get("next_title") is None:
        raise DataError(f"{path}: neither 'next_item' nor 'next_title' in it; it holds sessions without their targets")
    return Targets(path, len(table), columns.get("locale"), columns.get("next_item"), columns.get("next_title"))


def _in_session_order(path: Path, table: Any) -> Any:
    sessions = path.with_name(path.name.replace("targets_", "sessions_", 1))
    keys = ("session_id", "locale")
    if not path.name.startswith("targets_") or not {*keys} <= {*table.column_names} or not sessions.is_file():
        return table
    asked = _read_columns(sessions, keys, "sessions")
    if len(asked.column_names) != len(keys):
        return table
    places = pc.index_in(asked["session_id"], value_set=table["session_id"].combine_chunks())
    if len(places) - places.null_count != len(table):
        raise DataError(f"{path}: holds other sessions than {sessions.name} beside it; import the data again")
    ordered = table.take(places)
    return ordered.set_column(ordered.column_names.index("locale"), "locale", asked["locale"])


def join_titles(locales: pa.ChunkedArray, items: pa.ChunkedArray, products: Path) -> pa.ChunkedArray:
    """Look up titles by ``(locale, id)``: the same id has another title in another locale.

    Args:
        locales: ``S`` locales.
        items: ``S`` ids.
        products: Parquet or CSV with ``id``, ``locale`` and ``title``.

    Returns:
        ``S`` titles in the same order; null where no product or no title is known.

    Raises:
        DataError: no such file, or a column is missing.
    """
    table = _read_columns(products, ("id", "locale", "title"), "products")
    for name in ("id", "locale", "title"):
        if name not in table.column_names:
            raise DataError(f"{products}: no column '{name}'; products have 'id', 'locale' and 'title'")
    wanted = pa.table({"row": range(len(items)), "locale": locales, "id": items})
    with duckdb.connect() as connection:
        connection.register("wanted", wanted)
        connection.register("products", table)
        # min(): a shop's file that lists a product twice must still give one title a session
        joined = connection.sql(
            "SELECT wanted.row, min(title) AS title FROM wanted LEFT JOIN products USING (locale, id) "
            "GROUP BY wanted.row ORDER BY wanted.row"
        ).to_arrow_table()
    return joined["title"].cast(pa.string())


def _read_columns(path: Path, wanted: Sequence[str], what: str) -> Any:
    """Those of ``wanted`` that a Parquet or CSV file has, as strings."""
    if not path.is_file():
        raise DataError(f"{path}: no such {what} file; give a Parquet or CSV file")
    try:
        table = _read_csv(path, wanted) if path.suffix.lower() == ".csv" else _read_parquet(path, wanted)
        return table.cast(pa.schema([(name, pa.string()) for name in table.column_names]))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError, csv.Error, OSError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: cannot be read ({reason}); give a Parquet or CSV file of {what}") from error


def _read_parquet(path: Path, wanted: Sequence[str]) -> Any:
    file = pq.ParquetFile(path)
    return file.read(columns=[name for name in wanted if name in file.schema_arrow.names])


def columns_of(path: Path) -> list[str]:
    """Names of the columns of a Parquet or CSV file that `read_targets` has read."""
    return _csv_header(path) if path.suffix.lower() == ".csv" else list(pq.ParquetFile(path).schema_arrow.names)


def _csv_header(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig", newline="") as handle:
        return next(csv.reader(handle), [])


def _read_csv(path: Path, wanted: Sequence[str]) -> Any:
    header = _csv_header(path)
    present = [name for name in wanted if name in header]
    if not present:
        raise DataError(f"{path}: none of the columns {', '.join(wanted)} in its first line; add the header")
    return pa_csv.read_csv(
        path,
        parse_options=pa_csv.ParseOptions(newlines_in_values=True),
        # everything is text: an id may have leading zeros and a title may be the word NA
        convert_options=pa_csv.ConvertOptions(
            include_columns=present, column_types=dict.fromkeys(present, pa.string()), strings_can_be_null=False
        ),
    )
