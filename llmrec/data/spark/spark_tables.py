"""Tables on a cluster: what is under way lies as Parquet beside the output, and no row of it comes to the driver."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

import ibis
import ibis.expr.types as ir
from ibis.backends.pyspark import Backend
from ibis.util import gen_name

from llmrec.data.connection import PLACE
from llmrec.data.spark.spark_words import SparkWords
from llmrec.data.spark.storage import files_below, names_in, put_text

__all__ = ["SparkTables"]

_SPLIT: Final = str(128 << 20)  # bytes of a file that a task reads, Spark's default
_SETTINGS: Final = {
    "spark.sql.caseSensitive": "true",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.files.maxPartitionBytes": _SPLIT,
    "spark.sql.files.openCostInBytes": _SPLIT,  # so a task reads one part of one file, and knows a row's place in it
}


class SparkTables(Backend):  # type: ignore[misc]  # ibis has no types
    """ibis on a Spark session, whose tables are Parquet at a URI that all nodes reach.

    Attributes:
        session: A session of its own, with the settings that are needed here.
        scratch: URI of the folder for tables under way.
        starts: By the place that was read, for each of its files the row that it begins with, and its name.
        frames: By the same, the rows with their ``file``.
    """

    compiler = SparkWords()

    def open(self, session: Any, scratch: str | None) -> SparkTables:
        """Take a session, which stays as it is, and the URI of a folder for tables under way.

        Without one, executors keep such tables in their memory and on their disks until `close`.
        """
        _ = ibis.pyspark  # which registers options that its compiler reads
        self.session, self.scratch = session.newSession(), scratch
        self.do_connect(self.session, **_SETTINGS)
        logging.getLogger("SQLQueryContextLogger").setLevel(logging.CRITICAL)  # pages of what is said in a line
        self.starts: dict[str, Sequence[tuple[int, str]]] = {}
        self.frames: dict[str, Any] = {}
        self._parts: dict[str, list[str]] = {}
        self._kept: list[Any] = []
        return self

    def close(self) -> None:
        """Let executors forget what they keep."""
        for rows in self._kept:
            rows.unpersist()

    def names(self, uri: str) -> list[str]:
        """Names of what is directly in a folder; none where it is a file."""
        return names_in(self.session, uri)

    def files(self, uri: str) -> list[str]:
        """URIs of the files at a place, by name; what begins with ``_`` or ``.`` is none."""
        return files_below(self.session, uri)

    def create_table(self, name: str, obj: ir.Table, **_: Any) -> ir.Table:
        """A table with the rows of an expression, computed once."""
        if self.scratch is None:
            self._run_pre_execute_hooks(obj)
            self._kept.append(self.session.sql(self.compile(obj)).persist())
            self._kept[-1].createOrReplaceTempView(name)
            return self.table(name)
        self._parts[name] = []
        return self.insert(name, obj)

    def insert(self, name: str, obj: ir.Table) -> ir.Table:
        """Add an expression's rows to a table of `create_table`."""
        parts = self._parts[name]
        parts.append(f"{self.scratch}/{name}/{len(parts)}")
        self.write(obj, parts[-1])
        self.session.read.parquet(*parts).createOrReplaceTempView(name)
        return self.table(name)

    def write(self, table: ir.Table, uri: str) -> None:
        """An expression's rows as a folder of Parquet parts; by their names in the order that it says."""
        self._run_pre_execute_hooks(table)
        self.session.sql(self.compile(table)).write.option("compression", "zstd").parquet(uri)

    def read(self, *uris: str) -> ir.Table:
        """Rows of what `write` wrote."""
        return self.view(self.session.read.parquet(*uris))

    def put_text(self, uri: str, text: str) -> None:
        """Write a file of text."""
        put_text(self.session, uri, text)

    def numbered(self, ordered: ir.Table, name: str) -> ir.Table:
        """Rows of an ordered expression as a table that knows their place, from 0, by some name."""
        from llmrec.data.spark.reading import placed

        uri = f"{self.scratch}/{gen_name('numbered')}"
        self.write(ordered, uri)
        return self.view(placed(self, uri, self.session.read.parquet(uri), True).withColumnRenamed(PLACE, name))

    def view(self, rows: Any) -> ir.Table:
        """Rows of a Spark data frame as a table."""
        name = gen_name("view")
        rows.createOrReplaceTempView(name)
        return self.table(name)

    def to_pyarrow(self, expr: ir.Expr, **_: Any) -> Any:
        """The few rows of a small answer, in this process."""
        table = expr.as_table()
        self._run_pre_execute_hooks(table)
        found = self.session.sql(self.compile(table)).toArrow().cast(table.schema().to_pyarrow())
        return expr.__pyarrow_result__(found)
