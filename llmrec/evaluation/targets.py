"""Targets of a split: read from Parquet or CSV, and titles looked up in the products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from llmrec.console import notice_once
from llmrec.data.connection import connected
from llmrec.data.csv_form import header_of
from llmrec.data.digests import marked_sessions, sessions_files_fingerprint, sessions_fingerprint
from llmrec.data.raw import parquet_schema, read_raw
from llmrec.data.sessions import read_sessions_file
from llmrec.data.staged_targets import stage_columns
from llmrec.errors import DataError
from llmrec.files import table_files

__all__ = ["Targets", "columns_of", "join_titles", "read_targets"]

# ground truth from elsewhere: the authors' of Task 3, for instance, is a table of products
_ALIASES: Final = {"next_item": ("gt", "item", "item_id"), "next_title": ("title",)}
_TEXTS: Final = ("next_title", "title")
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
        DataError: no such file, not Parquet or CSV, neither an item nor a title in it, targets changed since they were
            written, or a store's targets that are not those of its sessions.
    """
    table = _read_columns(path, _COLUMNS, "targets")
    table, known = _in_session_order(path, table, _known_sessions(path, table))
    columns = {name: table[name] for name in table.column_names}
    for name, aliases in _ALIASES.items():
        columns.setdefault(name, next((columns[alias] for alias in aliases if alias in columns), None))
    if columns.get("next_item") is None and columns.get("next_title") is None:
        raise DataError(f"{path}: neither 'next_item' nor 'next_title' in it; it holds sessions without their targets")
    if columns.get("locale") is None and known is None:
        notice_once(
            f"{path}: has no 'locale'; its rows are taken in their order, and nothing tells whether it is right"
        )
    return Targets(path, len(table), columns.get("locale"), columns.get("next_item"), columns.get("next_title"), known)


def _known_sessions(path: Path, table: Any) -> str | None:
    """What the sessions of some targets are known by: by themselves, where they are in the file, or by its mark.

    Spark puts no mark into its parts: what a holdout of a cluster knows of them lies beside, in ``sessions.parquet``.
    """
    if "prev_items" in columns_of(path) and "locale" in table.column_names:
        return sessions_files_fingerprint(path)
    if path.is_dir() and path.stem == "targets" and table_files(beside := path.with_stem("sessions")):
        return sessions_files_fingerprint(beside)
    return None if path.suffix.lower() == ".csv" else marked_sessions(path, table)


def _in_session_order(path: Path, table: Any, known: str | None) -> tuple[Any, str | None]:
    sessions = path.with_name(path.name.replace("targets_", "sessions_", 1))
    if not path.name.startswith("targets_") or not table_files(sessions):
        return table, known
    if not {"session_id", "locale"} <= {*table.column_names, *columns_of(sessions)}:
        return table, known
    with connected() as con:
        asked = con.to_pyarrow(read_sessions_file(con, sessions).select("session_id", "prev_items", "locale"))
    ids = asked["session_id"].cast(pa.string())
    places = pc.index_in(ids, value_set=table["session_id"].combine_chunks())
    found = sessions_fingerprint(asked["prev_items"], asked["locale"])
    if len(places) - places.null_count != len(table) or known not in (None, found):
        raise DataError(f"{path}: holds other sessions than {sessions.name} beside it; import the data again")
    ordered = table.take(places)
    locales = asked["locale"].cast(pa.string())
    return ordered.set_column(ordered.column_names.index("locale"), "locale", locales), found


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
    """Those of ``wanted`` that a Parquet or CSV file has, as strings; ids by the rule."""
    if not table_files(path):
        raise DataError(f"{path}: no such {what} file; give a Parquet or CSV file, or a folder of part-*.parquet")
    with connected() as con:
        raw = read_raw(con, path, ())
        present = {name: name for name in wanted if name in raw.columns}
        if not present:
            raise DataError(f"{path}: none of the columns {', '.join(wanted)} in it; add the header")
        ids = {name: name for name in present if name not in _TEXTS}
        staged = stage_columns(con, raw, path, ids, {name: name for name in present if name in _TEXTS})
        if repaired := con.to_pyarrow(staged.repaired.sum()).as_py():
            notice_once(f"{path.name}: blanks around ids, or nan for one, in {repaired:,} rows; read without them")
        table = con.to_pyarrow(staged.select(*present))
    return table.cast(pa.schema([(name, pa.string()) for name in table.column_names]))


def columns_of(path: Path) -> list[str]:
    """Names of the columns of a Parquet or CSV file that `read_targets` has read."""
    return header_of(path) if path.suffix.lower() == ".csv" else list(parquet_schema(path).names)
