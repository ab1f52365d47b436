"""A store as a cluster writes it, each table a folder of Parquet parts, is to every verb the store of one machine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmrec.cli import status_of
from llmrec.data.digests import (
    session_streams,
    sessions_files_fingerprint,
    sessions_fingerprint,
    streams_fingerprint,
)
from llmrec.data.holdout import hold_out
from llmrec.data.sources import find_source
from llmrec.data.store import Store
from llmrec.errors import DataError, StoreError
from llmrec.evaluation.runs import read_run
from llmrec.evaluation.targets import read_targets
from llmrec.paper.statistics.describe import run_statistics_job
from llmrec.paper.statistics.job import StatisticsJob
from tests.data.parted import parted, parted_store

# ibis 12 still calls what DuckDB 2 renamed
pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")


@pytest.fixture
def places(tiny_store: Store) -> Path:
    """``store``, one of a single machine, and ``there``, the same in parts."""
    return parted_store(tiny_store.path, tiny_store.path.with_name("there")).parent


def run(*words: str) -> None:
    assert status_of(words) == 0, words


def rank_popular(store: Path, out: Path) -> None:
    files = f"--train {store}/sessions_development.parquet --sessions {store}/sessions_validation.parquet"
    run(*f"rank popularity {files} --out {out}".split())


def test_it_opens_with_the_same_fingerprint_splits_and_files(places: Path) -> None:
    here, there = Store.load(places / "store"), Store.load(places / "there")
    assert (there.fingerprint, there.test_splits) == (here.fingerprint, here.test_splits)
    for split in ("train", "test_task3_phase1"):
        one, other = here.sessions_files(split), there.sessions_files(split)
        assert sessions_files_fingerprint(*other) == sessions_files_fingerprint(*one)
    for split in ("validation", "test_task3_phase1"):
        one, other = (read_targets(store.targets(split).file) for store in (here, there))  # type: ignore[union-attr]
        assert (other.items, other.titles, other.locales) == (one.items, one.titles, one.locales)
        assert other.sessions_fingerprint == one.sessions_fingerprint is not None


def test_verbs_write_the_same_of_it(places: Path, tmp_path: Path) -> None:
    verbs = {
        "ranked.parquet": "rank covisit --train {}/sessions_development.parquet --products {}/products.parquet "
        "--sessions {}/sessions_validation.parquet",
        "last.parquet": "last-title {} --split test_task3_phase1",
        "picked.parquet": "data pick {}/sessions_development.parquet",
        "vectors": "embed {}/products.parquet --encoder tfidf-svd",
    }
    for name, line in verbs.items():
        for place in ("store", "there"):
            out = tmp_path / "made" / place / name
            words = line.replace("{}", str(places / place)).split()
            given = ["--out", str(out)] if words[0] != "data" else ["--locale", "UK"]
            run(*words, *([str(out)] if words[0] == "data" else []), *given)
        one, other = (tmp_path / "made" / place / name for place in ("store", "there"))
        if name == "vectors":
            assert (other / "vectors.npy").read_bytes() == (one / "vectors.npy").read_bytes()
        else:
            assert pq.read_table(other).to_pylist() == pq.read_table(one).to_pylist(), name
    known = [
        read_run(tmp_path / "made" / place / "ranked.parquet").sessions_fingerprint for place in ("store", "there")
    ]
    assert known[0] == known[1] is not None


def test_scores_and_statistics_are_the_same_of_it(places: Path, tmp_path: Path) -> None:
    run_file, scores, tables = tmp_path / "run.parquet", [], []
    rank_popular(places / "there", run_file)
    for place in ("store", "there"):
        files = f"--targets {places / place}/sessions_validation.parquet"
        files += f" --train {places / place}/sessions_development.parquet --json {tmp_path}/{place}.json"
        run(*f"evaluate {run_file} {files} --by popularity --by repeats --samples 20".split())
        scores.append(json.loads((tmp_path / f"{place}.json").read_text())["overall"])
        tables.append(run_statistics_job(StatisticsJob(data=places / place, sknn_sample=0)))
    assert scores[0] == scores[1]
    assert (tables[0].overview, tables[0].tables) == (tables[1].overview, tables[1].tables)


def test_targets_held_out_there_know_the_sessions_beside_them(places: Path, tmp_path: Path) -> None:
    made = hold_out(places / "store" / "sessions_development.parquet", tmp_path / "held", share=0.4)
    for file in (made.train, made.sessions, made.targets):
        parted(file, tmp_path / "parted" / file.name)
    known = read_targets(tmp_path / "parted" / "targets.parquet").sessions_fingerprint
    assert known == read_targets(made.targets).sessions_fingerprint == sessions_files_fingerprint(made.sessions)
    found, expected = find_source(tmp_path / "parted"), find_source(tmp_path / "held")
    assert [one.sessions.name for one in found.tests] == [one.sessions.name for one in expected.tests]


def test_a_run_in_parts_goes_with_a_store_in_parts(places: Path, tmp_path: Path) -> None:
    store = places / "there"
    rank_popular(store, tmp_path / "run.parquet")
    parted(tmp_path / "run.parquet", tmp_path / "parts.parquet")
    assert read_run(tmp_path / "parts.parquet").predictions.equals(read_run(tmp_path / "run.parquet").predictions)


@pytest.mark.parametrize("table", ["products", "sessions_development"])
def test_a_part_that_is_missing_damaged_or_another_is_one_line(places: Path, tmp_path: Path, table: str) -> None:
    store = places / "there"
    part = sorted((store / f"{table}.parquet").glob("part-*"))[-1]
    whole = part.read_bytes()
    part.write_bytes(whole[:-9])
    with pytest.raises(StoreError, match=rf"{part.name}: not a whole Parquet file"):
        Store.load(store)
    pq.write_table(pa.table({"locale": ["UK"], "id": ["x"], "prev_items": [["x"]]}), part)
    with pytest.raises(DataError, match=rf"{part.name}: other columns than part-00000"):
        read_targets(store / f"{table}.parquet")
    part.unlink()
    with pytest.raises(StoreError, match=r"of [\d,]+ rows are there; copy the folder again"):
        Store.load(store)
    shutil.rmtree(store / f"{table}.parquet")
    with pytest.raises(StoreError):
        Store.load(store)


def test_what_sessions_are_known_by_can_be_put_together_from_pieces_of_them() -> None:
    sessions = pa.table(
        {
            "prev_items": pa.array([["a", "é"], [], ["b"], ["c", "a", ""], ["日本"]], pa.list_(pa.string())),
            "locale": pa.array(["UK", None, "", "DE", "JP"]),
        }
    )
    whole = sessions_fingerprint(sessions["prev_items"], sessions["locale"])
    for cuts in ([5], [2, 3], [1, 0, 1, 3], [0, 5]):
        pieces, start = [], 0
        for length in cuts:
            some = sessions.slice(start, length)
            pieces.append(session_streams(some["prev_items"], some["locale"]))
            start += length
        assert streams_fingerprint(pieces) == whole, cuts
    assert streams_fingerprint(pieces[::-1]) == whole  # an empty piece may be anywhere
    other = session_streams(pa.array([["a"]]), pa.array(["UK"]))
    assert streams_fingerprint([*pieces, other]) != streams_fingerprint([other, *pieces])


def test_a_folder_of_something_else_is_no_table(tmp_path: Path) -> None:
    folder = tmp_path / "sessions.parquet"
    folder.mkdir()
    with pytest.raises(DataError, match=r"no such targets file; .* a folder of part-\*\.parquet"):
        read_targets(folder)
    (folder / "notes.txt").write_text("")
    with pytest.raises(DataError, match="no such run but a folder"):
        read_run(folder)
