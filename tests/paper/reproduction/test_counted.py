"""Counts of Tables 1 and 2 and Figures 2, 4 and 5, worked by hand on a few sessions."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmrec.errors import DataError
from llmrec.paper.reproduction.counted import count_cells
from llmrec.paper.reproduction.recipe import load_table
from llmrec.paper.reproduction.source import open_data

SESSIONS = {
    "sessions_test_task1_phase1.csv": [("['A' 'B' 'A' 'C']", "UK"), ("['A' 'B']", "DE")],
    "sessions_test_task2_phase1.csv": [("['A' 'B' 'A' 'B']", "ES")],
    "sessions_test_task2_phase2.csv": [("['A' 'D']", "ES"), ("['D' 'D']", "ES")],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, rows in SESSIONS.items():
        lines = "".join(f'"{items}",{locale}\n' for items, locale in rows)
        (tmp_path / name).write_text(f"prev_items,locale\n{lines}", encoding="utf-8")
    return tmp_path


def values(table: str, row: str, data: Path) -> dict[str, float]:
    cells, seconds = count_cells(load_table(table).rows[row], data)
    assert seconds > 0
    return {column: cell.value for column, cell in cells.items()}


def test_the_test_columns_are_phase_1_of_tasks_1_and_2(folder: Path) -> None:
    assert values("table2", "ES", folder) == {"test_sessions": 1, "test_interactions": 4, "test_length": 4}
    assert values("table2", "FR", folder) == {}
    assert values("table2", "Total", folder) == {
        "test_sessions": 3,
        "test_interactions": 10,
        "test_length": pytest.approx(10 / 3),
    }
    assert values("table1", "amazon_m2", folder) == {"test_sessions": 3}


def test_task_2_alone_gives_no_total(folder: Path) -> None:
    (folder / "sessions_test_task1_phase1.csv").unlink()
    assert values("table2", "ES", folder)["test_sessions"] == 1
    assert values("table2", "Total", folder) == {}


def test_figures_count_all_files_where_there_is_no_training_set(folder: Path) -> None:
    assert values("figure2", "lengths", folder) == {"mean": 14 / 5, "longest": 4, "longer_than_100": 0}
    assert values("figure2", "repeats", folder) == {"all": 3 / 5, "UK": 1, "DE": 0, "ES": 2 / 3}
    assert values("figure2", "repeated_items", folder) == {"one_item": 2 / 3, "most": 2}
    # A is seen 6 times, B 4, C once, D 3 times
    assert values("figure2", "long_tail", folder) == {"products_seen_once": 1 / 4, "most_seen": 6}
    assert values("figure2", "overlap", folder) == {"most_of_small_in_DE": pytest.approx(2 / 3)}  # ES has A, B, D
    assert values("figure4", "ES", folder) == {"mean": pytest.approx(8 / 3), "longest": 4, "longer_than_100": 0}
    assert values("figure5", "ES", folder) == {"one_item": 1 / 2, "most": 2}


def test_a_file_beside_those_that_are_read_changes_no_fingerprint(folder: Path) -> None:
    read = ["sessions_test_task1_phase1.csv"]
    before = open_data(folder)
    (folder / "products_real.csv").write_text("id,locale,title\nA,UK,Kettle\n", encoding="utf-8")
    after = open_data(folder)
    assert after.fingerprint != before.fingerprint
    assert after.fingerprint_of(read) == before.fingerprint_of(read)
    (folder / read[0]).write_text("prev_items,locale\n\"['A' 'B']\",UK\n", encoding="utf-8")
    assert open_data(folder).fingerprint_of(read) != before.fingerprint_of(read)


def test_a_model_beside_the_data_counts_as_part_of_it(folder: Path) -> None:
    before = open_data(folder)
    (folder / "small.gguf").write_bytes(b"GGUF1")
    one = open_data(folder)
    assert one.fingerprint != before.fingerprint
    needed = ["sessions_test_task1_phase1.csv", "small.gguf"]
    (folder / "small.gguf").write_bytes(b"GGUF2")
    assert open_data(folder).fingerprint_of(needed) != one.fingerprint_of(needed)
    (folder / "alone").mkdir()
    (folder / "alone" / "small.gguf").write_bytes(b"GGUF")
    with pytest.raises(DataError, match="neither a store nor raw files"):
        open_data(folder / "alone")
