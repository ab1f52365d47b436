"""Where counting runs: DuckDB in this process, or Spark, the same ibis expression on both."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq
from ibis.util import gen_name

from llmrec.console import progress_bar
from llmrec.data.connection import connected
from llmrec.data.spark.session import spark_session

__all__ = ["Engine", "counted"]

HELD_GB: Final = 4.0  # of memory in DuckDB; what is more spills, and the sessions are in this process beside it
Engine = Literal["duckdb", "spark"]


def counted(engine: Engine, events: pa.Table, expression: Callable[[ir.Table], ir.Table]) -> pa.Table:
    """Run an expression over a table.

    Args:
        engine: ``duckdb`` in this process, or ``spark``: the session that is active, else a local one that ends with
            this call.
        events: The table.
        expression: Builds the expression from the table as the engine sees it.

    Returns:
        What the expression gives.

    Raises:
        ConfigError: Spark is asked for and there is no Java.
        MissingExtraError: Spark is asked for and pyspark is not installed.
    """
    with progress_bar() as bar:
        bar.add_task("count", total=None, note=f"{len(events):,} items, {engine}")
        return _on_spark(events, expression) if engine == "spark" else _on_duckdb(events, expression)


def _on_duckdb(events: pa.Table, expression: Callable[[ir.Table], ir.Table]) -> pa.Table:
    with connected(HELD_GB) as con:
        con.con.register("events", events)
        return con.to_pyarrow(expression(con.table("events")))


def _on_spark(events: pa.Table, expression: Callable[[ir.Table], ir.Table]) -> pa.Table:
    with spark_session() as session, tempfile.TemporaryDirectory() as folder:
        pq.write_table(events, Path(folder) / "events.parquet")
        con, name = ibis.pyspark.connect(session), gen_name("events")
        try:
            return con.to_pyarrow(expression(con.read_parquet(str(Path(folder) / "events.parquet"), table_name=name)))
        finally:
            session.catalog.dropTempView(name)  # somebody's own session is left as it was
