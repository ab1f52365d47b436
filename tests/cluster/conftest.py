"""One cluster and one driver in this process for the tests of a module: starting them takes most of the time.

No longer than that: other modules have sessions of their own, and a process has one that is active.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.standalone import BRIEF, Cluster, cluster_of


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster_of(tmp_path_factory.mktemp("cluster")) as found:
        yield found


@pytest.fixture(scope="module")
def session(cluster: Cluster) -> Iterator[Any]:
    """A driver in this process, which every test's work then uses."""
    from pyspark.sql import SparkSession

    before = dict(os.environ)
    os.environ.update(cluster.env)
    builder = SparkSession.builder.master(cluster.master).config("spark.ui.enabled", "false")
    builder = builder.config("spark.executor.memory", "512m").config("spark.driver.memory", "512m")
    builder = builder.config("spark.sql.shuffle.partitions", "2").config("spark.sql.codegen.wholeStage", "false")
    for side in ("driver", "executor"):
        builder = builder.config(f"spark.{side}.extraJavaOptions", BRIEF)
    found = builder.config("spark.ui.showConsoleProgress", "false").getOrCreate()
    found.sparkContext.setLogLevel("OFF")
    yield found
    found.stop()
    os.environ.clear()
    os.environ.update(before)
