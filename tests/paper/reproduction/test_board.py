"""A public board: both its shops from a made-up clone, runs without targets, and other files than the board's."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from llmrec.cli import main
from llmrec.data.download.minionerec import convert_clone
from llmrec.errors import ConfigError
from llmrec.paper.reproduction import steps
from llmrec.paper.reproduction.recipe import FOLDER, load_table
from tests.clone import small_shops, write_clone


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("board")
    with pytest.MonkeyPatch.context() as patch:
        small_shops(patch)
        convert_clone(write_clone(write_clone(folder / "clone"), "Office_Products"), folder / "shops")
    return folder / "shops"


@pytest.fixture
def shops(converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    small_shops(monkeypatch)
    return Path(shutil.copytree(converted, tmp_path / "board"))


def call(*words: Any) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["reproduce", *map(str, words), "--recorded", "nowhere"])
    return int(stop.value.code or 0)


def test_a_shop_is_ranked_and_scored_and_without_targets_the_run_is_written(
    shops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["minionerec_office", "--data", shops / "office", "--only", "global_popularity", "--out", tmp_path / "out"]
    words += ["--protocol", "minionerec_office_valid"]
    assert call(*words) == 0
    printed = capsys.readouterr().out
    assert "| published: MiniOneRec | – | 0.1217 |" in printed
    assert "| global_popularity | 0" in printed
    assert "minionerec_office_train: " not in printed
    assert (tmp_path / "out" / "runs" / "minionerec_office_valid" / "global_popularity.json").is_file()
    shutil.rmtree(shops / "office" / "targets")
    shutil.rmtree(tmp_path / "out" / "records")
    monkeypatch.setattr(steps.subprocess, "run", lambda *_, **__: pytest.fail("a finished command was run again"))
    assert call(*words, "--resume") == 0
    printed = capsys.readouterr().out
    assert "| global_popularity | – | – | – | – | – | – | – | – | – | run written |" in printed
    assert "global_popularity.parquet --targets TARGETS --cutoffs 1 3 5 10 50" in printed


def test_every_use_whose_files_are_there_is_measured(
    shops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = subprocess.CompletedProcess([], 1)
    monkeypatch.setattr(steps.subprocess, "run", lambda *_, stdout, **__: stdout.write(b"broken\n") and broken)
    words = ["minionerec", "--data", shops / "industrial", "--only", "covisit", "--out", tmp_path / "out"]
    assert call(*words) == 1
    printed = capsys.readouterr().out
    for use in ("train", "valid", "last"):
        assert f"minionerec_{use}: " in printed
    assert printed.count("| – | ERROR |") == 3


def test_another_shops_files_are_refused_before_anything_is_run(
    shops: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--only", "global_popularity", "--out", tmp_path / "out"]
    products = shops / "industrial" / "products_train.parquet"
    pq.write_table(pq.read_table(products).slice(1), products)
    assert call("minionerec", "--data", shops / "industrial", *words) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "products_train.parquet has 11 rows, the board's products 12" in error
    assert not (tmp_path / "out" / "runs").exists()


def test_a_training_file_that_holds_test_sessions_is_refused(
    shops: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = shops / "office"
    apart = [([f"OFF{row % 12:06d}", f"OFF{row // 12:06d}", "OFF000003"], "OFF000001") for row in range(100)]
    lists, goals = zip(*apart, strict=True)
    whole = {"prev_items": list(lists), "next_item": list(goals), "locale": ["US"] * 100}
    pq.write_table(pq.read_table(shop / "sessions_train.parquet").from_pydict(whole), shop / "sessions_train.parquet")
    asked = {"prev_items": list(lists[:20]), "locale": ["US"] * 20}
    pq.write_table(pq.read_table(shop / "sessions_test.parquet").from_pydict(asked), shop / "sessions_test.parquet")
    assert call("minionerec_office", "--data", shop, "--only", "global_popularity", "--out", tmp_path / "out") == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "sessions_train.parquet: training rows repeat 20 of the 20 sessions of sessions_test.parquet" in error


def test_without_data_others_rows_are_shown_and_where_to_get_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("minionerec", "--only", "covisit/recall@10*") == 0
    printed = capsys.readouterr().out
    assert "| published: SASRec | – | 0.0790 |" in printed
    assert "minionerec_train needs sessions_train.parquet" in printed


def test_an_unknown_protocol_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("minionerec", "--protocol", "minionerec_vald") == 2
    assert "did you mean 'minionerec_valid'" in " ".join(capsys.readouterr().err.split())


def test_both_shops_have_the_same_rows_and_others_have_a_value_a_column(tmp_path: Path) -> None:
    here, office = load_table("minionerec"), load_table("minionerec_office")
    assert list(here.rows) == list(office.rows)
    assert here.rows["fusion"].columns == office.rows["fusion"].columns
    folder = tmp_path / "paper"
    shutil.copytree(FOLDER, folder)
    text = (folder / "minionerec.yaml").read_text(encoding="utf-8")
    (folder / "minionerec.yaml").write_text(text.replace("SASRec: [0.0790, ", "SASRec: ["), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"minionerec\.yaml: 'others': 'SASRec' must have 6 values"):
        load_table("minionerec", folder)
