"""Counting where it hurts: real data, one item in half of all sessions, a worker killed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from llmrec.ragged import list_array
from llmrec.rankers import Ranker, TrainingSessions, load_ranker
from llmrec.rankers.recipes import ranker_settings
from llmrec.rankers.registry import ranker_class
from llmrec.rankers.sessions import read_training_files
from llmrec.synth.build import synthesize
from tests.cluster.standalone import Cluster, cluster_of, needs_spark
from tests.places import REAL

pytestmark = [pytest.mark.slow, needs_spark]
DATA = ("task2", "industrial", "synthetic")


@pytest.fixture
def lone_cluster(tmp_path: Path) -> Iterator[Cluster]:
    with cluster_of(tmp_path) as found:
        yield found


def started(cluster: Cluster, ranker: str, train: Path, save: Path) -> subprocess.Popen[bytes]:
    """The command in a process of its own, with as little memory as Spark allows for the driver."""
    conf = save.parent / f"{save.name}_conf"
    conf.mkdir()
    lines = ["spark.driver.memory 512m", "spark.executor.memory 640m", "spark.sql.shuffle.partitions 8"]
    lines += ["spark.driver.extraJavaOptions -XX:+UseSerialGC -Xmn48m"]  # so that what is dead goes soon
    (conf / "spark-defaults.conf").write_text("\n".join(lines))
    command = [sys.executable, "-m", "llmrec.cli", "rank", ranker, "--engine", "spark", "--master", cluster.master]
    command += ["--train", f"file://{train}", "--save", f"file://{save}"]
    env = cluster.env | {"SPARK_CONF_DIR": str(conf)}
    with (conf / "log").open("wb") as log:
        return subprocess.Popen(command, env=env, stdout=log, stderr=log)


def ended(process: subprocess.Popen[bytes]) -> None:
    assert process.wait() == 0


def written(training: TrainingSessions, folder: Path, files: int = 3) -> Path:
    """Sessions as Parquet, their labels in ``next_item``."""
    folder.mkdir(parents=True)
    before, ends = training.without_last()
    labelled = pa.array(training.labelled)
    kept = pc.if_else(labelled, before.prev_items, training.sequences)
    table = pa.table({"prev_items": kept, "next_item": pc.if_else(labelled, ends, None), "locale": training.locales})
    step = -(-len(table) // files)
    for number in range(files):
        pq.write_table(table.slice(number * step, step), folder / f"{number:02d}.parquet")
    return folder


def walks(number: int, items: int, seed: int = 0, hot: float = 0.0) -> TrainingSessions:
    """Sessions of two to eight items near each other; a share of the sessions holds item 0 somewhere."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 9, number)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    codes = (np.repeat(rng.integers(0, items, number), lengths) + rng.integers(0, 50, offsets[-1])) % items
    chosen = np.flatnonzero(rng.random(number) < hot)
    codes[offsets[chosen] + rng.integers(0, lengths[chosen])] = 0
    ids = pc.binary_join_element_wise("I", pc.utf8_lpad(pa.array(codes).cast(pa.string()), 8, "0"), "")
    return TrainingSessions(list_array(offsets, ids), pa.array(["DE", "FR"] * (number // 2)), np.arange(number) % 3 > 0)


def fitted_here(ranker: str, training: TrainingSessions) -> Ranker[object]:
    return ranker_class(ranker)(ranker_settings(ranker)).fit(training)


def equal(save: Path, here: Ranker[object], ask: int = 2000) -> None:
    there = load_ranker(save)
    ours, theirs = ({**one.catalogue.arrays(), **one._state()} for one in (there, here))
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], name)
    training = here.known_sessions().sessions
    assert training is not None
    some = training.slice(0, ask).without_last()
    for one, other in zip(there._rank_filled(some, 100, "drop"), here._rank_filled(some, 100, "drop"), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("data", DATA)
def test_rankers_of_real_and_synthetic_shops_are_those_of_one_machine(
    data: str, lone_cluster: Cluster, tmp_path: Path
) -> None:
    if data == "synthetic":
        file = synthesize(tmp_path / "raw", "small") / "sessions_train.csv"
    else:
        file = REAL / {"task2": "amazon-m2/task2_phase1.parquet", "industrial": "industrial/sessions_train.csv"}[data]
        if not file.is_file():
            pytest.skip(f"needs {file}")
    training = read_training_files([file])
    place = written(training, tmp_path / "train")
    for ranker in ("popularity", "covisit", "covisit_walk", "vmis_knn"):
        ended(started(lone_cluster, ranker, place, tmp_path / ranker))
        equal(tmp_path / ranker, fitted_here(ranker, training))


def test_one_item_in_half_of_all_sessions_is_counted_in_bounded_memory(lone_cluster: Cluster, tmp_path: Path) -> None:
    training = walks(60_000, 6_000, hot=0.5)
    place = written(training, tmp_path / "train")
    ended(started(lone_cluster, "covisit", place, tmp_path / "model"))
    here = fitted_here("covisit", training)
    assert here._neighbours.lengths[0] == 100
    equal(tmp_path / "model", here)


def test_a_worker_killed_while_pairs_are_counted_loses_none_and_doubles_none(
    lone_cluster: Cluster, tmp_path: Path
) -> None:
    training = walks(30_000, 6_000)
    place = written(training, tmp_path / "train")
    process = started(lone_cluster, "covisit", place, tmp_path / "model")
    while process.poll() is None and not list(tmp_path.glob(".model.*/_work/sums/_temporary/0/*/*")):
        time.sleep(0.02)
    assert process.poll() is None
    lone_cluster.kill(0)
    ended(process)
    equal(tmp_path / "model", fitted_here("covisit", training))
