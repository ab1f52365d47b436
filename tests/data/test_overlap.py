"""Training rows that repeat the sessions to rank with their labels, and repeats that are chance."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmrec.cli import main
from llmrec.data.overlap import Overlap, find_overlap, overlap_of_files
from tests.places import REAL

TASK2 = REAL / "amazon-m2" / "task2_phase1.parquet"


def found(training: list[list[str]], sessions: list[list[str]], locales: str = "UK") -> Overlap | None:
    lists = [pa.array(rows, pa.list_(pa.string())) for rows in (training, sessions)]
    names = [pa.array([locales] * len(rows), pa.string()) for rows in (training, sessions)]
    return find_overlap(lists[0], names[0], lists[1], names[1])


def random_sessions(number: int, seed: int, length: int = 5) -> list[list[str]]:
    return [[f"X{item}" for item in row] for row in np.random.default_rng(seed).integers(1000, size=(number, length))]


def test_the_very_sessions_are_found_even_in_a_toy() -> None:
    training = [["A", "B", "C"], ["D", "E", "F"], ["A", "C", "B", "D"]]
    overlap = found(training, [row[:-1] for row in training])
    assert overlap is not None
    assert (overlap.sessions, overlap.of) == (3, 3)


def test_bare_sessions_whose_last_item_was_held_out_are_found_as_well() -> None:
    whole = random_sessions(50, 0)
    assert found(whole, [row[:-1] for row in whole]) is not None
    assert found([row[:-1] for row in whole], [row[:-1] for row in whole]) is None  # transductive use by hand


def test_a_few_leaked_rows_among_many_are_found_and_named() -> None:
    training, asked = random_sessions(2000, 0), [row[:-1] for row in random_sessions(2000, 1)]
    asked[7:1000:100] = [row[:-1] for row in training[3:1000:100]]
    overlap = found(training, asked)
    assert overlap is not None
    assert (overlap.sessions, overlap.first_row, overlap.training_row) == (10, 8, 4)


def test_another_locale_repeats_nothing() -> None:
    rows = random_sessions(20, 0)
    lists, asked = pa.array(rows), pa.array([row[:-1] for row in rows])
    assert find_overlap(lists, pa.array(["UK"] * 20), asked, pa.array(["DE"] * 20)) is None


def test_short_sessions_that_come_again_as_often_as_in_training_are_chance() -> None:
    rng = np.random.default_rng(0)
    every = [[f"X{item}" for item in row] for row in rng.geometric(0.2, size=(4000, 3))]  # two items: many twins
    training, asked = every[:2000], [row[:2] for row in every[2000:]]
    twins = {tuple(row[:2]) for row in training} & {tuple(row) for row in asked}
    assert len(twins) > 50
    assert found(training, asked) is None
    assert found([*training, *every[2000:]], asked) is not None  # the same twins, and the rows themselves


def test_one_short_session_seen_before_with_another_target_is_no_leak() -> None:
    training = [["A", "B", "C"], ["D", "E", "F"], ["G", "H", "I"]]
    assert found(training, [["A", "B"], ["E", "D"], ["G", "I"]]) is None
    assert found(training, [["A", "B"]]) is None


@pytest.mark.skipif(not TASK2.is_file(), reason=f"no real data at {TASK2}")
def test_real_test_sessions_repeat_by_chance_alone_and_a_leak_of_one_percent_is_found() -> None:
    assert overlap_of_files([TASK2], TASK2.with_name("task2_phase2_sessions.parquet")) is None
    table = pq.read_table(TASK2)
    leaked = table.slice(0, len(table) // 100)
    test = pq.read_table(TASK2.with_name("task2_phase2_sessions.parquet"))
    lists = pa.chunked_array([*test["prev_items"].chunks, *leaked["prev_items"].chunks]).combine_chunks()
    names = pa.chunked_array([*test["locale"].chunks, *leaked["locale"].chunks]).combine_chunks()
    whole = pa.array([[*row["prev_items"], row["next_item"]] for row in table.to_pylist()])
    overlap = find_overlap(whole, table["locale"], lists, names)
    assert overlap is not None
    assert overlap.sessions >= len(leaked)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Targets of 40 sessions, with the sessions; and the sessions alone."""
    rows = random_sessions(40, 0)
    lines = [(" ".join(f"'{item}'" for item in row[:-1]), row[-1]) for row in rows]
    labelled, bare = tmp_path / "targets.csv", tmp_path / "sessions.csv"
    labelled.write_text("prev_items,next_item,locale\n" + "".join(f"[{a}],{b},UK\n" for a, b in lines), "utf-8")
    bare.write_text("prev_items,locale\n" + "".join(f"[{a}],UK\n" for a, _ in lines), "utf-8")
    return labelled, bare


def call(*words: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    return int(stop.value.code or 0)


def test_rank_refuses_the_labels_of_the_sessions_to_rank(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labelled, bare = files
    command = ("rank", "covisit", "--train", labelled, "--sessions", bare, "--out", tmp_path / "run.parquet")
    assert call(*command) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert "40 of the 40 sessions of sessions.csv" in told[0]
    assert "--allow-overlap" in told[0]
    assert not (tmp_path / "run.parquet").exists()
    assert call(*command, "--allow-overlap") == 0
    sidecar = json.loads((tmp_path / "run.json").read_text())
    assert sidecar["provenance"]["overlap"]["sessions"] == 40
    capsys.readouterr()
    result = tmp_path / "result.json"
    assert call("evaluate", tmp_path / "run.parquet", "--targets", labelled, "--json", result) == 0
    assert "OVERLAP: training rows repeat 40 of these sessions" in capsys.readouterr().out
    assert json.loads(result.read_text())["provenance"]["overlap"]["of"] == 40


def test_a_pretraining_file_is_looked_at_as_well(files: tuple[Path, Path], tmp_path: Path) -> None:
    labelled, bare = files
    other = tmp_path / "other.csv"
    other.write_text("prev_items,next_item,locale\n['A' 'B'],C,UK\n", "utf-8")
    out = ("--sessions", bare, "--out", tmp_path / "run.parquet")
    assert call("rank", "gru4rec", "--pretrain", labelled, "--train", other, *out) == 2


def test_the_same_file_twice_is_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    labelled, _ = files
    save = ("--save", tmp_path / "kept")
    assert call("rank", "covisit", "--train", labelled, labelled.parent / "." / labelled.name, *save) == 2


def test_tune_refuses_validation_sessions_that_are_learnt_from(files: tuple[Path, Path], tmp_path: Path) -> None:
    labelled, _ = files
    copy = tmp_path / "copy.csv"
    copy.write_bytes(labelled.read_bytes())
    command = ("tune", "covisit", "--train", labelled, "--bare", copy, "--out", tmp_path / "best.yaml")
    assert call(*command, "--trials", 1, "--validation-share", 0.5) == 2
    assert call(*command, "--trials", 1, "--validation-share", 0.5, "--allow-overlap") == 0


def test_select_and_embed_train_refuse_them_too(files: tuple[Path, Path], tmp_path: Path) -> None:
    labelled, bare = files
    items = sorted({item for row in random_sessions(40, 0) for item in row})
    products = tmp_path / "products.parquet"
    columns = {"id": items, "locale": ["UK"] * len(items), "title": [f"Kettle number {item}" for item in items]}
    none = {name: [None] * len(items) for name in ("brand", "color", "size", "model", "material", "author", "desc")}
    pq.write_table(pa.table({**columns, "price": [1.0] * len(items), **none}), products)
    given = ("--train", labelled, "--sessions", bare, "--products", products)
    assert call("select", *given, "--out", tmp_path / "titles.parquet") == 2
    assert call("embed", "train", *given, "--out", tmp_path / "encoder") == 2
    assert not (tmp_path / "encoder").exists()
