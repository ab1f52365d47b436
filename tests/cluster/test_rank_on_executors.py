"""Ranking on a cluster of real processes: the same lists as here, whatever dies, and one line for what cannot be."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmrec.cluster.rank_on_executors import rank_on_executors
from llmrec.data.digests import sessions_files_fingerprint
from llmrec.errors import ConfigError, DataError
from llmrec.evaluation.runs import read_run
from llmrec.rankers.counting.covisit import Covisit, CovisitSettings
from llmrec.rankers.sessions import Sessions, read_session_files
from llmrec.rankers.settings import RankJob
from llmrec.testing.ranker_contract import ITEMS, training_sessions
from tests.cluster.standalone import Cluster, needs_spark

pytestmark = [needs_spark, pytest.mark.filterwarnings("ignore")]  # pyspark's own


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "covisit"
    Covisit(CovisitSettings()).fit(training_sessions()).save(folder)
    return folder


def write_sessions(path: Path, lists: list[list[str]], locale: str = "DE") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        pa.table({"prev_items": pa.array(lists, pa.list_(pa.string())), "locale": [locale] * len(lists)}), path
    )


def some(number: int, start: int = 0) -> list[list[str]]:
    return [[ITEMS[(start + row * step) % 24] for step in range(1 + row % 4)] for row in range(number)]


def job(model: Path, sessions: Path, out: Path, **more: Any) -> RankJob:
    places: dict[str, Any] = {"sessions": Path(f"file://{sessions}"), "out": Path(f"file://{out}")}
    return RankJob(ranker="covisit", engine="spark", load=model, **places | more)


@pytest.mark.parametrize("shipped", ["as a URI", "packed"])
def test_lists_are_those_of_one_process_in_the_order_of_files_and_rows(
    shipped: str, session: Any, model: Path, tmp_path: Path
) -> None:
    for number, rows in enumerate((70, 1, 50)):
        write_sessions(tmp_path / "sessions" / f"{number}.parquet", some(rows, number))
    out = tmp_path / "runs" / "lists.parquet"
    session.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", 9)  # so that there are several pieces of each part
    rank_on_executors(job(Path(f"file://{model}") if shipped == "as a URI" else model, tmp_path / "sessions", out, k=7))
    expected = Covisit.load(model).rank(read_session_files(*sorted((tmp_path / "sessions").iterdir())), 7)
    run = read_run(out)
    assert run.predictions.to_pylist() == expected.to_list()
    assert run.locales.to_pylist() == ["DE"] * 121
    assert run.sessions_fingerprint == sessions_files_fingerprint(*sorted((tmp_path / "sessions").iterdir()))
    assert run.provenance["cluster"]["master"] == session.sparkContext.master
    assert run.provenance["settings"]["neighbours"] == CovisitSettings().neighbours
    assert sorted(one.name for one in out.parent.iterdir()) == ["lists.json", "lists.parquet"]


def test_an_id_that_is_none_names_its_file_and_row_and_leaves_the_old_run(
    session: Any, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "lists.parquet"
    write_sessions(tmp_path / "good.parquet", some(5))
    rank_on_executors(job(model, tmp_path / "good.parquet", out))
    before = read_run(out).predictions.to_pylist()
    write_sessions(tmp_path / "bad.parquet", [*some(3), [ITEMS[1], "a\x00b"]])
    with pytest.raises(DataError, match=r"bad\.parquet, row 4: a control character inside an id") as caught:
        rank_on_executors(job(model, tmp_path / "bad.parquet", out))
    assert "\n" not in str(caught.value)
    assert read_run(out).predictions.to_pylist() == before
    assert not list(tmp_path.glob(".lists*"))


def test_what_cannot_be_read_or_written_is_one_line(session: Any, model: Path, tmp_path: Path) -> None:
    good, out = tmp_path / "good.parquet", tmp_path / "lists.parquet"
    write_sessions(good, some(5))
    pq.write_table(pa.table({"prev_items": ["['I1']"], "locale": ["DE"]}), tmp_path / "printed.parquet")
    write_sessions(tmp_path / "drift" / "1.parquet", some(2))
    pq.write_table(pa.table({"prev_items": [7], "locale": ["DE"]}), tmp_path / "drift" / "2.parquet")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.docx").write_text("years of work")
    wrong: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"sessions": Path(f"file://{tmp_path}/none.parquet")}, DataError, "is not there"),
        ({"sessions": Path(f"file://{tmp_path}/printed.parquet")}, DataError, "'prev_items' is string"),
        ({"sessions": Path(f"file://{tmp_path}/drift")}, DataError, "not Parquet of one form throughout"),
        ({"sessions": Path("s3a://bucket/sessions")}, ConfigError, "no connector for it: spark-submit --packages"),
        ({"out": Path(f"file://{tmp_path}/other")}, DataError, "holds something else"),
        ({"load": Path(f"file://{tmp_path}/nothing")}, ConfigError, "no ranker"),
        ({"ranker": "popularity"}, ConfigError, "covisit"),
    ]
    for change, kind, message in wrong:
        given = {"ranker": "covisit", "sessions": Path(f"file://{good}"), "out": Path(f"file://{out}"), "load": model}
        with pytest.raises(kind, match=message) as caught:
            rank_on_executors(RankJob(engine="spark", **given | change))
        assert "\n" not in str(caught.value)
    assert not out.exists()
    assert (tmp_path / "other" / "thesis.docx").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sessions": Path("sessions.parquet")}, "--sessions names what all its nodes reach; got sessions.parquet"),
        ({"out": Path("runs/x.parquet")}, "--out names what all its nodes reach"),
        ({"out": None}, "needs --sessions URI and --out URI"),
        ({"k": 101}, "at most 100"),
        ({"limit": 3}, "leave --limit out"),
        ({"out": Path("file:///shared/run.json")}, r"\.json is its sidecar"),
    ],
)
def test_what_cannot_be_done_on_executors_is_said_before_spark_starts(change: dict[str, Any], message: str) -> None:
    places = {"sessions": Path("file:///shared/s.parquet"), "out": Path("file:///shared/run.parquet")}
    with pytest.raises(ConfigError, match=message):
        rank_on_executors(
            RankJob(ranker="covisit", engine="spark", load=Path("file:///shared/model"), **places | change)
        )


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_no_row_and_doubles_none(
    cluster: Cluster, session: Any, model: Path, tmp_path: Path
) -> None:
    sessions = tmp_path / "sessions.parquet"
    write_sessions(sessions, some(600_000))
    pool = ThreadPoolExecutor(1)
    ranked = pool.submit(rank_on_executors, job(model, sessions, tmp_path / "lists.parquet"))
    tracker, done = session.sparkContext.statusTracker(), 0
    while not ranked.done() and not 3 <= done < 25:
        time.sleep(0.05)
        stages = [tracker.getStageInfo(one) for one in tracker.getActiveStageIds()]
        done = max((one.numCompletedTasks for one in stages if one and one.numTasks == 30), default=0)
    assert not ranked.done()
    cluster.kill(0)
    ranked.result()
    cluster.revive(0)
    whole = Sessions.of(some(600_000), ["DE"] * 600_000)
    assert read_run(tmp_path / "lists.parquet").predictions.to_pylist() == Covisit.load(model).rank(whole).to_list()
