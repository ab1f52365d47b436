"""Changes of CSV and Parquet: cells, columns, rows, types."""

from __future__ import annotations

import contextlib
import csv
import io
import sqlite3
import tempfile
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.robustness.forms.plain import TEXTS, Mutator, Skip
from tests.robustness.forms.trees import encoded, json_changed

__all__ = ["CSV", "LOG", "PARQUET", "SQLITE"]


def csv_changed(data: bytes, draw: Random) -> bytes:
    """A cell, a row or a column is another, written as CSV is."""
    try:
        rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    except (ValueError, csv.Error):
        raise Skip from None
    if len(rows) < 3:
        raise Skip
    row, column = draw.randrange(len(rows)), draw.randrange(len(rows[0]))
    way = draw.randrange(8)
    if way < 4:
        cell = rows[row][column] if column < len(rows[row]) else ""
        at = draw.randrange(len(cell) + 1)
        odd = draw.choice(TEXTS).encode("utf-8", "replace").decode()
        cells = (odd, cell[:at] + odd[:20] + cell[at:], cell[:at], f" {cell}", f"{cell}\u00a0", cell + "'", cell[1:])
        rows[row] = [draw.choice(cells) if place == column else one for place, one in enumerate(rows[row])]
    elif way == 4:
        rows[row] = rows[row][:column] + rows[row][column + 1 :]
    elif way == 5:
        rows[row] = [*rows[row], draw.choice(TEXTS[:20])]
    elif way == 6:
        rows.insert(draw.randrange(1, len(rows)), list(rows[row]))
    else:
        rows = [[one for place, one in enumerate(cells) if place != column] for cells in rows]
    text = io.StringIO(newline="")
    quoting = draw.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    csv.writer(text, quoting=quoting, lineterminator=draw.choice(("\n", "\r\n"))).writerows(rows)
    return text.getvalue().encode("utf-8", "replace")


def csv_marks(data: bytes, draw: Random) -> bytes:
    """A quote, comma, line end or NUL where there was none, or none where there was one."""
    places = [at for at, byte in enumerate(data) if byte in b"\",\n[]'"]
    if not places:
        raise Skip
    at = draw.choice(places)
    if draw.random() < 0.4:
        return data[:at] + data[at + 1 :]
    return (
        data[:at] + draw.choice((b'"', b",", b"\n", b"\r", b"\x00", b"'", b'""', b"\xff", b"[", b"]", b";")) + data[at:]
    )


_TIMES: Final = (  # as logs write them, and as they do not
    "2026-11-05", "20261105", "1767225600", "1767225600123", "1767225600.5", "-1", "0", "1e9", "NaN", "inf", "9" * 30,
    "2026-11-05 10:00", "2026-11-05T10:00:00+02:00", "2026-02-30T00:00:00", "2026-11-05T25:00:00", "05/11/2026",
    "9999-12-31T23:59:59Z", "0001-01-01", "1969-12-31", "2026-11-05T10:00:00Z[UTC]", "", " ", "null", "now",
)  # fmt: skip


def log_changed(data: bytes, draw: Random) -> bytes:
    """A time of another form, a clock that runs back, a row without an item, an id of 10 kB, rows twice or shuffled."""
    try:
        head, *rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    except (ValueError, csv.Error):
        raise Skip from None
    row, way = draw.randrange(len(rows)), draw.randrange(7)
    times = [place for place, name in enumerate(head) if "time" in name] or [0]
    if way < 2:
        rows[row][times[0]] = draw.choice(_TIMES)
    elif way == 2:
        rows = [[*one[: times[0]], draw.choice(_TIMES), *one[times[0] + 1 :]] for one in rows]
    elif way == 3:
        rows[row][draw.randrange(2)] = draw.choice(("", " ", "\u00a0", "x" * 10_000, "NULL", "\x00", "a,b", "[1]"))
    elif way == 4:
        rows = rows[::-1]
    elif way == 5:
        rows += [rows[row]] * draw.choice((1, 1_000, 120_000))
    else:
        head[draw.randrange(len(head))] = draw.choice(("", "user_id", "item_id", "time", "session_id", "x", head[0]))
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    return text.getvalue().encode("utf-8", "replace")


CSV: Final[tuple[Mutator, ...]] = (*(csv_changed,) * 4, csv_marks, csv_marks, encoded)
LOG: Final[tuple[Mutator, ...]] = (*(log_changed,) * 4, *CSV)


def _parquet(data: bytes) -> Any:
    import pyarrow.parquet as pq

    return pq.read_table(io.BytesIO(data))


def _as_parquet(table: Any) -> bytes:
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def parquet_types(data: bytes, draw: Random) -> bytes:
    """A column is of another type."""
    import pyarrow as pa

    table = _parquet(data)
    at = draw.randrange(table.num_columns)
    rows = table.num_rows
    columns = (
        lambda: pa.array(range(rows)),
        lambda: pa.array([float("nan")] * rows),
        lambda: pa.nulls(rows),
        lambda: pa.array([b"\xff\xfe"] * rows),
        lambda: pa.array([True] * rows),
        lambda: pa.array([["B01", None, ""]] * rows),
        lambda: pa.array([[["B01"]]] * rows),
        lambda: pa.array([{"a": 1}] * rows),
        lambda: pa.array([0] * rows, pa.timestamp("us")),
        lambda: pa.array([1] * rows, pa.decimal128(30, 3)),
        lambda: pa.chunked_array([table[at]]).cast(pa.string()).dictionary_encode(),
        lambda: pa.chunked_array([table[at]]).cast(pa.large_string()),
        lambda: pa.array([str(one) for one in table[at].to_pylist()]),
    )
    try:
        return _as_parquet(table.set_column(at, table.column_names[at], draw.choice(columns)()))
    except (pa.ArrowException, ValueError, TypeError):
        raise Skip from None


def parquet_values(data: bytes, draw: Random) -> bytes:
    """A value of a column is null, hostile, or another."""
    import pyarrow as pa

    table = _parquet(data)
    at = draw.randrange(table.num_columns)
    values = table[at].to_pylist()
    if not values:
        raise Skip
    row = draw.randrange(len(values))
    kind = table.schema.field(at).type
    if pa.types.is_list(kind):
        own = list(values[row] or [])
        odd = draw.choice(TEXTS).encode("utf-8", "replace").decode()
        values[row] = draw.choice((None, [], [None], [odd], [*own, odd], own * 40, [*own, *own], own[::-1]))
    elif pa.types.is_string(kind):
        odd = draw.choice(TEXTS).encode("utf-8", "replace").decode()
        values[row] = draw.choice((None, odd, f"{values[row]} ", f"\t{values[row]}", f"{values[row]}\u00a0"))
    else:
        values[row] = draw.choice((None, 0, -1, 2**62, 5))
    try:
        return _as_parquet(table.set_column(at, table.schema.field(at), pa.array(values, kind)))
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        raise Skip from None


def parquet_shape(data: bytes, draw: Random) -> bytes:
    """Columns or rows are gone, twice, renamed, or elsewhere."""
    import pyarrow as pa

    table = _parquet(data)
    names = table.column_names
    one, row = draw.randrange(len(names)), draw.randrange(max(1, table.num_rows))
    ways = (
        lambda: table.drop([names[one]]),
        lambda: table.append_column(names[one], table[one]),
        lambda: table.append_column(draw.choice(TEXTS[1:30]), table[one]),
        lambda: table.rename_columns([name.upper() if at == one else name for at, name in enumerate(names)]),
        lambda: table.slice(0, row),
        lambda: table.slice(0, 0),
        lambda: pa.concat_tables([table, table.slice(row, 1)]),
        lambda: pa.concat_tables([table.slice(row), table.slice(0, row)]),
        lambda: table.select(names[::-1]),
    )
    try:
        return _as_parquet(draw.choice(ways)())
    except (pa.ArrowException, ValueError):
        raise Skip from None


PARQUET: Final[tuple[Mutator, ...]] = (parquet_types, parquet_values, parquet_values, parquet_shape)


def sqlite_changed(data: bytes, draw: Random) -> bytes:
    """A value of a row is another, a row is gone, or a table has another name."""
    with tempfile.TemporaryDirectory(prefix="attack-") as place:
        path = Path(place) / "x.sqlite"
        path.write_bytes(data)
        try:
            with contextlib.closing(sqlite3.connect(path)) as connection, connection:
                _row_changed(connection, draw)
        except sqlite3.Error:
            raise Skip from None
        return path.read_bytes()


def _row_changed(connection: sqlite3.Connection, draw: Random) -> None:
    connection.execute("PRAGMA journal_mode=DELETE")
    (table,) = draw.choice(connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall())
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    rows = [row[0] for row in connection.execute(f"SELECT rowid FROM {table}")]
    if not rows:
        raise Skip
    row, column, way = draw.choice(rows), draw.choice(columns), draw.randrange(6)
    if way == 0:
        connection.execute(f"DELETE FROM {table} WHERE rowid = ?", (row,))
    elif way == 1:
        connection.execute(f"ALTER TABLE {table} RENAME TO other")
    else:
        (old,) = connection.execute(f"SELECT {column} FROM {table} WHERE rowid = ?", (row,)).fetchone()
        new: Any = draw.choice((None, 7, b"\xff", old[: len(old) // 2], old[::-1], "{}", "[" * 9_000, '{"text": 1}'))
        if way > 3:
            new = json_changed(old.encode(), draw).decode("utf-8", "replace")
        connection.execute(f"UPDATE OR IGNORE {table} SET {column} = ? WHERE rowid = ?", (new, row))


SQLITE: Final[tuple[Mutator, ...]] = (sqlite_changed,)
