"""A store made on a cluster of real processes: its rows never come to the driver, however many they are."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cluster.standalone import Cluster, cluster_of
from tests.data.spark.spark_here import MARKS

pytestmark = [*MARKS, pytest.mark.slow]
MB = 1 << 20
# what tasks give back in all of an action, beyond which Spark ends it: samples for an order are 12,000 rows at most
CONFIG = {"spark.driver.maxResultSize": "8m", "spark.driver.memory": "512m", "spark.executor.memory": "512m"}
MAKES = """
from llmrec.data.events.making import import_events
made = import_events(given, out, engine="spark", test_days=2)
rows = {one.name: one.rows for one in made.tables}["sessions_development"]
"""
COUNTS = """
from llmrec.cli import status_of
places = ["--train", given, "--save", out, "--master", master]
assert status_of(["rank", "covisit", "--engine", "spark", *places]) == 0
rows = 0
"""
AROUND = """
import json, sys
from pyspark.sql import SparkSession
given, out, master = sys.argv[1:]
session = SparkSession.builder.master(master).config("spark.ui.enabled", "false").getOrCreate()
{work}
jvm = session._jvm.java.lang
jvm.System.gc()
heap = jvm.management.ManagementFactory.getMemoryMXBean().getHeapMemoryUsage().getUsed()
status = open("/proc/self/status").read()  # ru_maxrss is at least what the process that started this one held
held = 1024 * int(status.partition("VmHWM:")[2].split()[0])
print(json.dumps({{"heap": heap, "python": held, "rows": rows}}))
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster_of(tmp_path_factory.mktemp("cluster")) as found:
        yield found


def measured(cluster: Cluster, work: str, given: Path, out: Path) -> dict[str, int]:
    """Heap of the driver's JVM and most memory of its Python, in bytes, after some work."""
    submitted = " ".join(f"--conf {key}={value}" for key, value in CONFIG.items())
    done = subprocess.run(
        [sys.executable, "-c", AROUND.format(work=work), given.as_uri(), out.as_uri(), cluster.master],
        env=cluster.env | {"PYSPARK_SUBMIT_ARGS": f"{submitted} pyspark-shell"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def in_parts(table: dict[str, list[object] | np.ndarray], folder: Path, parts: int = 4) -> Path:
    folder.mkdir()
    rows = pa.table(table)
    for part in range(parts):
        size = len(rows) // parts
        pq.write_table(rows.slice(part * size, size), folder / f"{part}.parquet")
    return folder


def log_of(number: int, folder: Path) -> Path:
    """So many events."""
    drawn = np.random.default_rng(1)
    users = drawn.integers(0, number // 20, number)
    table = {
        "user_id": [f"user-{user:012d}" for user in users],
        "item_id": [f"item-{item:012d}" for item in drawn.integers(0, 5_000, number)],
        "timestamp": 1_764_000_000 + users % 700 * 600 + drawn.integers(0, 9_000, number),
    }
    return in_parts(table, folder)


def sessions_of(number: int, folder: Path) -> Path:
    """So many sessions, of a catalogue that grows with them: items, events and pairs are many times more."""
    drawn = np.random.default_rng(1)
    near = drawn.integers(0, number // 10, (number, 1)) + drawn.integers(0, 50, (number, 5))
    items = [[f"item-{item:012d}" for item in row] for row in near]
    return in_parts({"prev_items": items, "locale": ["DE", "FR"] * (number // 2)}, folder)


def test_the_memory_of_the_driver_stays_while_the_log_grows_tenfold(cluster: Cluster, tmp_path: Path) -> None:
    few, many = (
        measured(cluster, MAKES, log_of(number, tmp_path / f"log{number}"), tmp_path / f"store{number}")
        for number in (20_000, 200_000)
    )
    assert many["rows"] > 8 * few["rows"]
    stays(few, many)


def test_the_memory_of_the_driver_stays_while_ten_times_the_sessions_are_counted(
    cluster: Cluster, tmp_path: Path
) -> None:
    few, many = (
        measured(cluster, COUNTS, sessions_of(number, tmp_path / f"train{number}"), tmp_path / f"model{number}")
        for number in (12_000, 120_000)
    )
    stays(few, many)


def stays(few: dict[str, int], many: dict[str, int]) -> None:
    assert many["heap"] < few["heap"] + 25 * MB
    assert many["python"] < few["python"] + 25 * MB
