"""Where counting runs: DuckDB in this process, or Spark, the same ibis expression on both."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq

from llmrec.console import progress_bar
from llmrec.data.connection import connected
from llmrec.errors import ConfigError, require

__all__ = ["Engine", "counted"]

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
    with connected() as con:
        con.con.register("events", events)
        return con.to_pyarrow(expression(con.table("events")))


def _on_spark(events: pa.Table, expression: Callable[[ir.Table], ir.Table]) -> pa.Table:
    require("pyspark", "spark")
    import ibis

    with _spark_session() as session, tempfile.TemporaryDirectory() as folder:
        pq.write_table(events, Path(folder) / "events.parquet")
        con = ibis.pyspark.connect(session)
        return con.to_pyarrow(expression(con.read_parquet(str(Path(folder) / "events.parquet"), table_name="events")))


@contextmanager
def _spark_session() -> Iterator[Any]:
    """The active session, left as it was; or a local one, stopped at the end."""
    from pyspark.sql import SparkSession

    active = SparkSession.getActiveSession()
    if active is not None:
        yield active
        return
    _check_java()
    builder = SparkSession.builder.master("local[*]").appName("llmrec")
    settings = {
        "spark.driver.memory": "6g",  # as much as DuckDB may hold; Spark's own 1g is for a driver that computes nothing
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.shuffle.partitions": str(4 * (os.cpu_count() or 1)),
    }
    for key, value in settings.items():
        builder = builder.config(key, value)
    try:
        session = builder.getOrCreate()
    except Exception as error:  # of whatever kind; its words are those of a log
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"--engine spark: Spark did not start ({reason}); use --engine duckdb") from error
    session.sparkContext.setLogLevel("ERROR")
    try:
        yield session
    finally:
        session.stop()


def _check_java() -> None:
    """Refuse Spark where no Java runs, before it fills the terminal.

    Raises:
        ConfigError: there is none, or it does not start.
    """
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if java is None:
        raise ConfigError(
            "--engine spark needs Java 17, and no java is on the PATH; install it, or use --engine duckdb"
        )
    try:
        started = subprocess.run([java, "-version"], capture_output=True, check=False, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        started = False
    if not started:
        way = "mend JAVA_HOME" if home else "install Java 17"
        raise ConfigError(f"--engine spark: {java} does not start; {way}, or use --engine duckdb")
