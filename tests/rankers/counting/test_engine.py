"""Counting on Spark gives what DuckDB gives."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pytest

from llmrec.errors import ConfigError
from llmrec.rankers.catalogue import catalogue_and_codes
from llmrec.rankers.counting.counts import (
    events_of,
    followers,
    neighbour_weights,
    newest_sessions,
    steps_of,
)
from llmrec.rankers.counting.covisit import Covisit, CovisitSettings
from llmrec.rankers.counting.engine import counted
from llmrec.rankers.sessions import CodedSessions
from llmrec.testing.ranker_contract import SESSIONS, training_sessions

HAS_SPARK = shutil.which("java") is not None and importlib.util.find_spec("pyspark") is not None
needs_spark = pytest.mark.skipif(not HAS_SPARK, reason="needs pyspark and Java")


def neighbours(events: ir.Table) -> ir.Table:
    return neighbour_weights(events, (1.0, 0.3, 0.1), (0.7, 0.2), 2.2, True).order_by("source", "target")


def newest(events: ir.Table) -> ir.Table:
    found = newest_sessions(events, 7)
    return found.order_by("item", "session")


Expression = tuple[Callable[[CodedSessions], pa.Table], Callable[[ir.Table], ir.Table]]  # what is counted, and how
EXPRESSIONS: list[Expression] = [
    (events_of, neighbours),
    (events_of, newest),
    (steps_of, lambda steps: followers(steps).order_by("source", "target")),
]


@needs_spark
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # pyspark's own
def test_spark_counts_what_duckdb_counts() -> None:
    from pyspark.sql import SparkSession

    coded = catalogue_and_codes(training_sessions())[1]
    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    session = builder.config("spark.sql.shuffle.partitions", "3").getOrCreate()
    try:
        for table_of, expression in EXPRESSIONS:
            table = table_of(coded)
            duckdb, spark = counted("duckdb", table, expression), counted("spark", table, expression)
            assert duckdb.column_names == spark.column_names
            assert duckdb.num_rows == spark.num_rows > 0
            for name in duckdb.column_names:
                np.testing.assert_allclose(spark[name].to_numpy(), duckdb[name].to_numpy(), rtol=1e-9, atol=0)
        assert SparkSession.getActiveSession() is session  # somebody's own session is left as it was
    finally:
        session.stop()


@needs_spark
@pytest.mark.filterwarnings("ignore")
def test_one_setting_moves_a_ranker_to_spark() -> None:
    from pyspark.sql import SparkSession

    here = Covisit(CovisitSettings()).fit(training_sessions())
    there = Covisit(CovisitSettings(engine="spark")).fit(training_sessions())
    assert SparkSession.getActiveSession() is None  # the session that it made is gone
    for one, other in zip(here.rank(SESSIONS), there.rank(SESSIONS), strict=True):
        assert one.equals(other)


def test_spark_without_java_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    pytest.importorskip("pyspark")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(ConfigError, match="needs Java 17") as caught:
        Covisit(CovisitSettings(engine="spark")).fit(training_sessions())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("at_home", [True, False])
def test_spark_with_a_java_that_does_not_start_is_one_line(
    at_home: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyspark")
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho broken >&2; exit 1\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", f"{java.parent}:{os.environ['PATH']}")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    if at_home:
        monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match=r"java does not start; .*use engine duckdb") as caught:
        Covisit(CovisitSettings(engine="spark")).fit(training_sessions())
    assert "\n" not in str(caught.value)
    assert "broken" not in capfd.readouterr().err
