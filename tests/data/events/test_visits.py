"""Sessions and cases as expressions: Spark gives what DuckDB gives, which the plain reference checks elsewhere."""

from __future__ import annotations

import importlib.util
import random
import shutil
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmrec.data.connection import connected
from llmrec.data.events.cases import Split, cases, counts
from llmrec.data.events.visits import Cut, grown, people, shortened_steps, visits, without_reloads

HAS_SPARK = shutil.which("java") is not None and importlib.util.find_spec("pyspark") is not None
TEN_MINUTES = 600_000_000
TYPES = {
    "row": pa.int64(),
    "user": pa.string(),
    "session": pa.string(),
    "locale": pa.string(),
    "item": pa.string(),
    "time": pa.int64(),
    "weight": pa.int8(),
    "goal": pa.bool_(),
}


def events() -> pa.Table:
    drawn = random.Random(1)
    rows = [
        {
            "row": row,
            "user": drawn.choice("abcd"),
            "session": None,
            "locale": drawn.choice(["UK", "DE"]),
            "item": drawn.choice("PQR"),
            "time": drawn.randrange(60) * TEN_MINUTES,
            "weight": drawn.choice([1, 2]),
            "goal": drawn.random() < 0.4,
        }
        for row in range(400)
    ]
    return pa.Table.from_pylist(rows, schema=pa.schema(list(TYPES.items())))


def everything(con: Any, folder: Path) -> list[Any]:
    """All steps from events to cases on an engine, each kept in a file as `making` keeps it in a table."""

    def kept(table: Any, name: str) -> Any:
        pq.write_table(con.to_pyarrow(table), folder / f"{name}.parquet")
        return con.read_parquet(str(folder / f"{name}.parquet"), table_name=name)

    pq.write_table(events(), folder / "events.parquet")
    log = con.read_parquet(str(folder / "events.parquet"), table_name="events")
    cut = Cut(3 * TEN_MINUTES, by_session=False, max_events=105)
    steps = kept(visits(people(log, cut), cut), "visits")
    for name, less in (("grown", grown), ("without_reloads", without_reloads)):
        steps = kept(less(steps), name)
    steps = kept(shortened_steps(steps, 6), "short")
    found = [con.to_pyarrow(counts(steps, Split(20 * TEN_MINUTES, None, "last", typed=True))).to_pylist()]
    for split in (Split(20 * TEN_MINUTES, 10 * TEN_MINUTES, "all", typed=True), Split(None, None, "last", typed=False)):
        found.append(sorted(map(str, con.to_pyarrow(cases(steps, split)).to_pylist())))
    return found


@pytest.mark.skipif(not HAS_SPARK, reason="needs pyspark and Java")
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # pyspark's own
def test_spark_makes_the_sessions_and_cases_that_duckdb_makes(tmp_path: Path) -> None:
    from pyspark.sql import SparkSession

    with connected() as con:
        here = everything(con, tmp_path)
    session = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
    try:
        there = everything(ibis.pyspark.connect(session), tmp_path)
    finally:
        session.stop()
    assert here == there
    assert len(here[1]) > 20
