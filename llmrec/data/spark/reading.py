"""A log or table at a URI, a file or a folder of files, as rows on a cluster that know their place among all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import ibis.expr.types as ir
import pyarrow as pa

from llmrec.data.connection import PLACE, carried
from llmrec.data.spark.spark_tables import SparkTables
from llmrec.data.spark.storage import explained
from llmrec.errors import DataError
from llmrec.files import uri_of

__all__ = ["csv_rows", "first_line", "first_lines", "kind_of", "placed", "read_files", "refuse_drift"]

_CSV: Final = {"header": True, "enforceSchema": False, "escape": '"', "nullValue": "", "columnPruning": False}
_PACKED: Final = (".gz", ".bz2", ".zst")
_IN_SPLIT: Final = (1 << 33) - 1  # bits of `monotonically_increasing_id` that count in a partition
_LOOKED_AT: Final = 50  # files whose columns are looked at, of those that hold none of a column's values


def kind_of(con: SparkTables, path: Path) -> tuple[str, list[str]]:
    """Ending of a place's files, without that of what packed them, and their URIs by name.

    Raises:
        DataError: nothing is there, or files of several kinds.
    """
    uri = uri_of(path) or ""
    with explained(uri):
        files = con.files(uri)
    kinds = sorted({_ending(one) for one in files})
    if not kinds:
        raise DataError(f"{uri}: no file is there; look for it with the cluster's own tools")
    if len(kinds) > 1:
        raise DataError(f"{uri}: files of several kinds ({', '.join(kinds)}); name those of one kind alone")
    return kinds[0], files


def _ending(file: str) -> str:
    name = Path(file.lower())
    return (name.with_suffix("") if name.suffix in _PACKED else name).suffix


def first_line(con: SparkTables, file: str) -> str:
    """The first line of a file of text; empty where it is."""
    return "".join(first_lines(con, file, 1)).removeprefix("\ufeff")


def first_lines(con: SparkTables, file: str, number: int) -> list[str]:
    """The first lines of a file of text."""
    with explained(file):
        return [row.value for row in con.session.read.text(file).limit(number).collect()]


def read_files(
    con: SparkTables, path: Path, kind: str, names: Sequence[str] = (), delimiter: str = ",", *, lines: bool = False
) -> ir.Table:
    """Rows of a place's files, in the order of the files' names, with `llmrec.data.connection.PLACE`.

    Args:
        con: Where to.
        path: The place.
        kind: From `kind_of`.
        names: Columns of CSV, as its header has them, or of JSON; Parquet says its own.
        delimiter: Of CSV.
        lines: Whether a row of CSV is a line, so that a large file is read by several tasks.
    """
    uri, files = uri_of(path) or "", kind_of(con, path)[1]
    with explained(uri):
        read = con.session.read.option("mode", "FAILFAST").option("recursiveFileLookup", True)
        if kind == ".parquet":
            rows = read.option("mergeSchema", True).parquet(*files)
        elif kind in (".csv", ".tsv", ".tab"):
            rows = read.options(**_CSV, sep=delimiter, multiLine=not lines).schema(_texts(names)).csv(files)
        else:
            rows = read.schema(_texts(names)).json(files)
        return con.view(placed(con, path, rows, kind == ".parquet"))


def csv_rows(
    con: SparkTables, path: Path, kind: str, names: Sequence[str], delimiter: str = ",", *, lines: bool = False
) -> ir.Table:
    """`read_files` of CSV: columns that have a name, without blanks around it."""
    if len({*names}) < len(names):
        raise DataError(f"{path.name}: two columns have no name; give each one")
    rows = read_files(con, path, kind, names, delimiter, lines=lines)
    return rows.select(**{name.strip(): rows[name] for name in names if name.strip()}, **carried(rows))


def _texts(names: Sequence[str]) -> Any:
    from pyspark.sql.types import StringType, StructField, StructType

    return StructType([StructField(name, StringType()) for name in names])


def placed(con: SparkTables, path: Path | str, rows: Any, has_index: bool) -> Any:
    """Rows of files with their place: what files, and the blocks that tasks read of them, hold before it is counted.

    Args:
        con: Where they are; its ``starts`` and ``frames`` then know the place.
        path: Where they were read.
        rows: A data frame that reads files and does no more.
        has_index: Whether the files are Parquet, which counts its rows.
    """
    from pyspark.sql import functions as F  # noqa: N812

    block = F.lit(0) if has_index else F.col("_metadata.file_block_start")
    within = F.col("_metadata.row_index") if has_index else F.monotonically_increasing_id().bitwiseAND(F.lit(_IN_SPLIT))
    keyed = rows.select("*", F.col("_metadata.file_path").alias("file"), block.alias("block"), within.alias(PLACE))
    if has_index:
        con.frames[str(path)] = keyed
    counted = keyed.groupBy("file", "block").count().collect()
    starts, held = [], 0
    for file, first, number in sorted(map(tuple, counted)):
        starts.append({"start": held, "file": file, "block": first})
        held += number
    con.starts[str(path)] = [(one["start"], one["file"]) for one in starts if not one["block"]]
    kinds = pa.schema([("start", pa.int64()), ("file", pa.string()), ("block", pa.int64())])
    begun = con.session.createDataFrame(pa.Table.from_pylist(starts, kinds))  # of a list, executors would need Python
    both = keyed.join(F.broadcast(begun), ["file", "block"])
    return both.select(*rows.columns, (F.col("start") + F.col(PLACE)).alias(PLACE))


def refuse_drift(con: SparkTables, path: Path, columns: Sequence[str]) -> None:
    """Refuse Parquet of which a file lacks a column that others have: its rows would count as without a value.

    Raises:
        DataError: a file lacks one; names both.
    """
    from pyspark.sql import functions as F  # noqa: N812

    if str(path) not in con.frames or len(con.starts[str(path)]) < 2:
        return
    held = [F.count(F.col(f"`{name.replace('`', '``')}`")).alias(f"held{place}") for place, name in enumerate(columns)]
    counted = con.frames[str(path)].groupBy("file").agg(*held)
    empty = counted.where(" OR ".join(f"held{place} = 0" for place in range(len(columns)))).limit(_LOOKED_AT)
    with explained(uri_of(path) or ""):
        for row in empty.orderBy("file").collect():
            there = con.session.read.parquet(row.file).columns
            if missing := [name for name in columns if name not in there]:
                raise DataError(
                    f"{row.file}: no column '{missing[0]}', which other files of {uri_of(path)} have; write "
                    "all alike, or name those that are"
                )
