"""What a table holds, as one short text that does not depend on threads, row groups or compression.

`content_digest` is the same for the same rows in any order and is made where they are; `rows_fingerprint` is of rows in
their order, as a run's and its sessions' must be.
"""

from __future__ import annotations

import functools
import hashlib
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from ibis.backends.duckdb import Backend

from llmrec.data.connection import connected
from llmrec.data.raw import parquet_schema
from llmrec.data.sessions import read_sessions_file
from llmrec.errors import DataError
from llmrec.records import parse_record, record_text

__all__ = [
    "MARK",
    "content_digest",
    "fingerprint_of",
    "mark_of",
    "marked",
    "marked_sessions",
    "rows_fingerprint",
    "session_streams",
    "sessions_files_fingerprint",
    "sessions_fingerprint",
    "streams_fingerprint",
]

_FIELD, _ITEM, _NULL = "\x1f", "\x1e", "\x1d"  # control characters that no id or title holds
MARK: Final = b"llmrec"  # key in a Parquet file's metadata
_BATCH: Final = 1 << 16  # lengths at once: they stay in a processor's cache


@ibis.udf.scalar.builtin  # type: ignore[untyped-decorator]
def md5_number(text: str) -> dt.UInt64:
    """DuckDB's own: a text's MD5. It has 128 bits, for which ibis knows no type: shift and print before it leaves.

    DuckDB gives 64 bits at once as well, in more than twice the time.
    """


@ibis.udf.scalar.builtin  # type: ignore[untyped-decorator]
def md5_word(text: str, place: int) -> int:  # type: ignore[empty-body]
    """Eight digits of a text's MD5 from one on, as a number, where `llmrec.data.spark.spark_words` says how."""


@ibis.udf.agg.builtin  # type: ignore[untyped-decorator]
def bit_xor(number: int) -> int:  # type: ignore[empty-body]
    """An engine's own, for which ibis has no words for Spark: exclusive or of all."""


def content_digest(con: Backend, table: ir.Table) -> tuple[str, dict[str, int]]:
    """Digest of a table whose rows are all different, and the rows of each locale, in one pass.

    The digest is the number of rows and the exclusive or of 64 bits of their MD5s. Parquet that two threads write
    differs in its bytes from run to run; this does not, nor between machines.
    """
    row = ibis.literal(_FIELD).join([_as_text(table[name]) for name in table.columns])
    spread = con.name != "duckdb"
    made = _halves(row) if spread else {"bits": (md5_number(row).bit_xor() >> 64).cast("string")}
    parts = table.group_by("locale").aggregate(rows=table.count(), **made)
    found = con.to_pyarrow(parts.order_by("locale")).to_pylist()
    bits = functools.reduce(operator.xor, (_joined(part) if spread else int(part["bits"]) for part in found), 0)
    locales = {part["locale"]: part["rows"] for part in found}
    return f"{sum(locales.values())}-{bits:016x}", locales


def _halves(row: ir.StringValue) -> dict[str, ir.Value]:
    """The bits of `md5_number` that count, where an engine has numbers of 64 bits at most: two of 32."""
    return {name: bit_xor(md5_word(row, place)) for name, place in (("first", 17), ("second", 25))}


def _joined(part: Mapping[str, int]) -> int:
    return int.from_bytes(part["first"].to_bytes(4) + part["second"].to_bytes(4), "little")


def fingerprint_of(digests: Mapping[str, str]) -> str:
    """SHA-256 over the digests of a store's tables, by name."""
    lines = "\n".join(f"{name}:{digest}" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _as_text(column: ir.Value) -> ir.StringValue:
    text = column.join(_ITEM) if column.type().is_array() else column.cast("string")
    return ibis.coalesce(text, ibis.literal(_NULL))


def sessions_files_fingerprint(*files: Path) -> str:
    """`sessions_fingerprint` of a split's files: the same for their CSV, their Parquet and a store's split of them.

    Raises:
        DataError: a file is missing or malformed.
    """
    with connected() as con:
        read = [con.to_pyarrow(read_sessions_file(con, file).select("prev_items", "locale")) for file in files]
    table = pa.concat_tables(read)
    return sessions_fingerprint(table["prev_items"], table["locale"])


def sessions_fingerprint(prev_items: Any, locales: Any) -> str:
    """Name of some sessions in their order: what a run of them is bound to.

    Args:
        prev_items: Arrow lists of ids, ``S`` of them, as they are read (`llmrec.data.sessions`).
        locales: Arrow strings, ``S`` of them; a null counts as an empty one.
    """
    return rows_fingerprint(*_of_sessions(prev_items, locales))


class _Mark(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    sessions_fingerprint: str
    rows_fingerprint: str


def mark_of(targets: Any, sessions: str) -> str:
    """What goes under `MARK` into a Parquet file of an Arrow table's targets: what its sessions are known by."""
    return record_text(_Mark(sessions_fingerprint=sessions, rows_fingerprint=_rows_of(targets)))


def marked(targets: Any, sessions: str) -> Any:
    """An Arrow table of targets with `mark_of` in its metadata, which Parquet keeps."""
    return targets.replace_schema_metadata({MARK: mark_of(targets, sessions)})


def marked_sessions(file: Path, targets: Any) -> str | None:
    """What the sessions of a Parquet file of targets are known by; None where the file has no mark.

    Raises:
        DataError: the mark is damaged, or that of other rows.
    """
    held = (parquet_schema(file).metadata or {}).get(MARK)
    if held is None:
        return None
    mark = parse_record(held, _Mark, file, "import or hold out the data again")
    if mark.rows_fingerprint != _rows_of(targets):
        raise DataError(
            f"{file}: holds other rows than those that it was written with; write them without the metadata "
            f"'{MARK.decode()}' if the change is meant"
        )
    return mark.sessions_fingerprint


def _rows_of(targets: Any) -> str:
    names = [name for name in ("locale", "next_item", "next_title") if name in targets.column_names]
    return rows_fingerprint(*(targets[name].cast(pa.string()) for name in names))


def rows_fingerprint(*columns: Any) -> str:
    """SHA-256 of rows in their order, in hexadecimal; Arrow's chunks, offsets and string types are no part of it.

    Args:
        columns: Arrow columns of text or of lists of text, of one length; a null counts as an empty text.
    """
    pieces = ((3 * place + kind, piece) for place, column in enumerate(columns) for kind, piece in _pieces(column))
    return _digest(pieces, len(columns))


def session_streams(prev_items: Any, locales: Any) -> list[bytes]:
    """What `sessions_fingerprint` reads of some sessions, as streams that those of the next sessions go on."""
    streams = [bytearray() for _ in range(6)]
    for place, column in enumerate(_of_sessions(prev_items, locales)):
        for kind, piece in _pieces(column):
            streams[3 * place + kind] += piece
    return [bytes(one) for one in streams]


def streams_fingerprint(streams: Iterable[Sequence[bytes]]) -> str:
    """`sessions_fingerprint` of all sessions whose `session_streams` are given, in their order."""
    return _digest((numbered for some in streams for numbered in enumerate(some)), 2)


def _of_sessions(prev_items: Any, locales: Any) -> tuple[Any, Any]:
    return pc.fill_null(locales.cast(pa.string()), ""), prev_items


def _digest(pieces: Iterable[tuple[int, Any]], columns: int) -> str:
    """SHA-256 over those of the streams of some columns, three each; a piece goes on the stream of its number."""
    streams = [hashlib.sha256() for _ in range(3 * columns)]
    for number, piece in pieces:
        streams[number].update(piece)
    return hashlib.sha256("".join(one.hexdigest() for one in streams).encode()).hexdigest()


def _pieces(column: Any) -> Iterator[tuple[int, Any]]:
    """Bytes of a column's list lengths (0), where it has lists, of its texts' lengths (1) and of their content (2)."""
    for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        if is_list := pa.types.is_list(chunk.type) or pa.types.is_large_list(chunk.type):
            yield 0, pc.list_value_length(chunk).to_numpy(zero_copy_only=False).astype("<i4").data
        values = pc.fill_null((chunk.flatten() if is_list else chunk).cast(pa.large_string()), "")
        _, offsets, content = values.buffers()
        if len(values) == 0 or offsets is None:
            continue
        places = np.frombuffer(offsets, dtype=np.int64)[values.offset : values.offset + len(values) + 1]
        for start in range(0, len(values), _BATCH):
            yield 1, np.diff(places[start : start + _BATCH + 1]).astype("<i4").data
        if content is not None:
            yield 2, memoryview(content)[places[0] : places[-1]]
