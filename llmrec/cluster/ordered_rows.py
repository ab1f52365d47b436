"""Rows of a folder in an order of their own, spread over executors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llmrec.data.spark.storage import explained
from llmrec.errors import DataError

__all__ = ["SESSIONS", "ordered_rows", "refuse_other_columns", "spread"]

SESSIONS: Final = {"prev_items": "array<string>", "locale": "string"}
_PART: Final = 20_000  # rows of a partition: a task of seconds, whose loss costs no more


def ordered_rows(session: Any, source: str, columns: Mapping[str, str], part: int = _PART) -> tuple[Any, int]:
    """Rows with the ``file`` and ``row`` that each was, in that order over the partitions; and how many partitions.

    Args:
        session: Spark's.
        source: URI of Parquet, a file or a folder.
        columns: Name to Spark's type of what is read.
        part: Most rows of a partition.

    Raises:
        ConfigError: as `llmrec.data.spark.storage.explained`.
        DataError: it is not there, or lacks a column.
    """
    with explained(source):
        found = session.read.parquet(source)
        refuse_other_columns(found, source, columns)
        parts = max(session.sparkContext.defaultParallelism, -(-found.count() // part))
        keyed = found.selectExpr(*columns, "_metadata.file_path AS file", "_metadata.row_index AS row")
        return spread(keyed, parts), parts


def refuse_other_columns(found: Any, source: str, columns: Mapping[str, str]) -> None:
    """Refuse rows of a URI that lack one of some columns, by name and Spark's type.

    Raises:
        DataError: names it.
    """
    kinds = dict(found.dtypes)
    for name, kind in columns.items():
        if kinds.get(name) != kind:
            held = f"column '{name}' is {kinds[name]}" if name in kinds else f"no column '{name}'"
            wanted = " and ".join(f"'{one}' ({kind_of})" for one, kind_of in columns.items())
            raise DataError(f"{source}: {held}; wanted are {wanted}, as Parquet")


def spread(rows: Any, parts: int) -> Any:
    """Rows in the order of ``file`` and ``row``, over so many partitions."""
    return rows.repartitionByRange(parts, "file", "row").sortWithinPartitions("file", "row")
