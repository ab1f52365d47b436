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
WORK = """
import json, resource, sys
from pyspark.sql import SparkSession
from llmrec.data.events.making import import_events
log, out, master = sys.argv[1:]
session = SparkSession.builder.master(master).config("spark.ui.enabled", "false").getOrCreate()
made = import_events(log, out, engine="spark", test_days=2)
jvm = session._jvm.java.lang
jvm.System.gc()
heap = jvm.management.ManagementFactory.getMemoryMXBean().getHeapMemoryUsage().getUsed()
sessions = {one.name: one.rows for one in made.tables}["sessions_development"]
held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"heap": heap, "python": held, "sessions": sessions}))
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster_of(tmp_path_factory.mktemp("cluster")) as found:
        yield found


def measured(cluster: Cluster, folder: Path, number: int) -> dict[str, int]:
    """Heap of the driver's JVM and most memory of its Python, in bytes, after a log of some events."""
    drawn = np.random.default_rng(1)
    log, parts = folder / f"log{number}", 4
    log.mkdir()
    for part in range(parts):
        size = number // parts
        users = drawn.integers(0, number // 20, size)
        table = {
            "user_id": [f"user-{user:012d}" for user in users],
            "item_id": [f"item-{item:012d}" for item in drawn.integers(0, 5_000, size)],
            "timestamp": 1_764_000_000 + users % 700 * 600 + drawn.integers(0, 9_000, size),
        }
        pq.write_table(pa.table(table), log / f"{part}.parquet")
    submitted = " ".join(f"--conf {key}={value}" for key, value in CONFIG.items())
    done = subprocess.run(
        [sys.executable, "-c", WORK, f"file://{log}", f"file://{folder}/store{number}", cluster.master],
        env=cluster.env | {"PYSPARK_SUBMIT_ARGS": f"{submitted} pyspark-shell"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_the_memory_of_the_driver_stays_while_the_log_grows_tenfold(cluster: Cluster, tmp_path: Path) -> None:
    few, many = (measured(cluster, tmp_path, number) for number in (20_000, 200_000))
    assert many["sessions"] > 8 * few["sessions"]
    assert many["heap"] < few["heap"] + 25 * MB
    assert many["python"] < few["python"] + 25 * MB
