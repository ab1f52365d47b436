"""A Spark session on this machine for tests of tables: small plans, nothing compiled."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

HAS_SPARK = shutil.which("java") is not None and importlib.util.find_spec("pyspark") is not None
MARKS = [
    pytest.mark.skipif(not HAS_SPARK, reason="needs pyspark and Java"),
    pytest.mark.filterwarnings("ignore"),  # pyspark's own
]
_SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.memory": "512m",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
}


@contextmanager
def spark_here() -> Iterator[Any]:
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[2]")
    for key, value in _SETTINGS.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    yield session
    session.stop()


def parts(folder: Path) -> list[dict[str, Any]]:
    """Rows of a folder of Parquet parts, in the order of their names."""
    return [row for part in sorted(folder.glob("part-*")) for row in pq.read_table(part, partitioning=None).to_pylist()]


def assert_same_tables(here: Path, there: Path) -> None:
    """Hold a cluster's store to have the tables of one that DuckDB wrote, row for row."""
    assert [one.name for one in sorted(here.glob("*.parquet"))] == [one.name for one in sorted(there.glob("*.parquet"))]
    for file in here.glob("*.parquet"):
        table = pq.read_table(file)
        assert parts(there / file.name) == table.to_pylist(), file.name
        columns = pa.parquet.read_schema(next(iter(sorted((there / file.name).glob("part-*"))))).names
        assert columns == table.column_names
