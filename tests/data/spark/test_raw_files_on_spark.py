"""The official CSVs at a URI become, on Spark, the store that DuckDB makes; it is counted and parted there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmrec.data.connection import connected
from llmrec.data.holdout import hold_out
from llmrec.data.importing import import_dataset
from llmrec.data.sessions import read_sessions_file
from llmrec.data.spark.hash_holdout import drawn_parts
from llmrec.errors import ConfigError, DataError
from llmrec.paper.statistics.describe import run_statistics_job
from llmrec.paper.statistics.job import StatisticsJob
from llmrec.synth import synthesize
from tests.data.spark.spark_here import MARKS, assert_same_tables, parts, spark_here

pytestmark = [*MARKS, pytest.mark.slow]


@pytest.fixture(scope="module")
def session() -> Iterator[Any]:
    with spark_here() as found:
        yield found


@pytest.fixture(scope="module")
def places(session: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw files with oddities, imported here and on Spark."""
    folder = tmp_path_factory.mktemp("places")
    raw = folder / "raw"
    raw.mkdir()
    (raw / "products_train.csv").write_text(
        "id,locale,title,price,brand\n"
        'P1,UK,"Cup, ""tea""\nof two lines",9.5,Ann\nP1,UK,twice,1,Ann\n P2,UK,,40000000.07,\nP3,DE,Tasse,12345678.9,\n'
    )
    rows = [
        (
            ["['P1' 'P2']", "['P1', ' P2']", "['P1' 'P3'\n 'P2']", "[]", "['O''B'\n]"][number % 4],
            number,
            ["UK", "DE"][number % 2],
        )
        for number in range(60)
    ]
    lines = [f'"{items}",P{1 + number % 3 if number % 7 else ""},{locale}' for items, number, locale in rows]
    (raw / "sessions_train.csv").write_text("prev_items,next_item,locale\n" + "\n".join(lines) + "\n")
    (raw / "sessions_test_task1.csv").write_text("prev_items,locale\n\"['P1' 'P2']\",UK\n\"['P3']\",DE\n")
    (raw / "targets").mkdir()
    (raw / "targets" / "sessions_test_task1.csv").write_text("next_item\nP3\nP1\n")
    import_dataset(raw, folder / "here", validation_share=0.3)
    import_dataset(Path(f"file://{raw}"), Path(f"file://{folder}/there"), validation_share=0.3, engine="spark")
    return folder


def test_tables_fingerprint_and_findings_are_those_of_duckdb(places: Path) -> None:
    import json

    assert_same_tables(places / "here", places / "there")
    here, there = (json.loads((places / name / "manifest.json").read_text()) for name in ("here", "there"))
    for key in ("fingerprint", "locales", "summary", "seed", "validation_share"):
        assert there[key] == here[key], key


def test_statistics_of_the_cluster_are_those_of_duckdb(places: Path) -> None:
    here = run_statistics_job(StatisticsJob(data=places / "here", sknn_sample=0))
    there = run_statistics_job(StatisticsJob(data=Path(f"file://{places}/there"), engine="spark"))
    assert there.overview == here.overview
    assert there.tables == here.tables
    assert there.sknn is None


def test_a_holdout_by_hash_draws_the_rows_that_duckdb_draws(places: Path, tmp_path: Path) -> None:
    source = Path(f"file://{places}/there/sessions_development.parquet")
    made = hold_out(source, Path(f"file://{tmp_path}/held"), share=0.3, seed=4, engine="spark")
    with connected() as con:
        sessions = read_sessions_file(con, places / "here" / "sessions_development.parquet")
        expected = {name: con.to_pyarrow(one).to_pylist() for name, one in drawn_parts(con, sessions, 0.3, 4).items()}
    assert {name: parts(tmp_path / "held" / f"{name}.parquet") for name in expected} == expected
    assert (made.num_train, made.num_held_out) == (len(expected["train"]), len(expected["targets"]))
    by_locale = pq.read_table(places / "here" / "sessions_development.parquet")["locale"].value_counts().to_pylist()
    assert made.num_held_out == sum(int(0.3 * one["counts"] + 0.5) for one in by_locale)
    with pytest.raises(ConfigError, match="leave --grouped out"):
        hold_out(source, Path(f"file://{tmp_path}/held"), grouped=True, engine="spark")


def test_raw_files_that_cannot_be_read_are_one_line(places: Path, tmp_path: Path) -> None:
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "sessions_train.csv").write_text(
        "prev_items,next_item,locale\n['P1'],P1,UK\n\"['P1' 'P\",P2,UK\n"
    )
    (tmp_path / "column").mkdir()
    pq.write_table(pa.table({"prev_items": [["P1"]], "locale": ["UK"]}), tmp_path / "column" / "sessions_train.parquet")
    (tmp_path / "empty").mkdir()
    wrong = {
        f"{tmp_path}/list": r"sessions_train\.csv, row 2: prev_items is not a list of ids",
        f"{tmp_path}/column": "no column 'next_item'",
        f"{tmp_path}/empty": "empty: no sessions found",
        f"{tmp_path}/nowhere": "nowhere: is not there",
    }
    for place, message in wrong.items():
        with pytest.raises(DataError, match=message) as caught:
            import_dataset(Path(f"file://{place}"), Path(f"file://{tmp_path}/store"), engine="spark")
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="this is a store already"):
        import_dataset(Path(f"file://{places}/there"), Path(f"file://{tmp_path}/store"), engine="spark")
    assert not (tmp_path / "store").exists()


def test_synthetic_data_is_imported_as_duckdb_does(session: Any, tmp_path: Path) -> None:
    synthesize(tmp_path / "raw", size="small")
    here = import_dataset(tmp_path / "raw", tmp_path / "here")
    there = import_dataset(Path(f"file://{tmp_path}/raw"), Path(f"file://{tmp_path}/there"), engine="spark")
    assert there.fingerprint == here.fingerprint
    assert (there.findings, there.tables) == (here.findings, here.tables)
    assert_same_tables(tmp_path / "here", tmp_path / "there")
