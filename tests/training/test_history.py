from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmrec.errors import ModelError
from llmrec.training.checkpoint import Progress, finish, is_finished, load_progress
from llmrec.training.history import read_history, write_history

ENTRIES = [{"step": 4, "train_loss": 2.5, "score": 0.25}, {"step": 8, "train_loss": float("nan"), "score": 0.5}]


def test_entries_are_read_until_a_step_and_a_loss_that_is_no_number_is_none(tmp_path: Path) -> None:
    assert read_history(tmp_path) == []
    write_history(tmp_path, ENTRIES)
    assert read_history(tmp_path) == [ENTRIES[0], {**ENTRIES[1], "train_loss": None}]
    assert read_history(tmp_path, until=7) == ENTRIES[:1]
    (tmp_path / "history.jsonl").write_text('{"step": 4, "train_loss": NaN}\n')  # as before
    assert read_history(tmp_path) == [{"step": 4, "train_loss": None}]


@pytest.mark.parametrize(
    "change", [("2.5", "3.5"), ('"step": 8', '"step": 7'), ("0.25", '"a"'), ("}\n{", "}\n}"), ("}\n{", "}{")]
)
def test_a_history_that_somebody_changed_is_one_line(tmp_path: Path, change: tuple[str, str]) -> None:
    write_history(tmp_path, ENTRIES)
    file = tmp_path / "history.jsonl"
    file.write_text(file.read_text().replace(*change))
    with pytest.raises(ModelError, match=r"history\.jsonl, line \d: damaged .*; remove it, or train again"):
        read_history(tmp_path)
    file.write_text('{"step": 4}\n{"step": 4}\n')
    with pytest.raises(ModelError, match="its steps do not rise"):
        read_history(tmp_path)


def test_where_a_training_was_is_read_as_it_was_written_and_before(tmp_path: Path) -> None:
    folder = tmp_path / "step-00000003"
    folder.mkdir()
    progress = {"step": 3, "loss_sum": 7.5, "loss_steps": 3, "best_step": -1, "best_score": float("-inf")}
    (folder / "progress.json").write_text(json.dumps({"progress": progress, "settings": {"seed": 0}}))  # "-Infinity"
    assert load_progress(tmp_path, {"seed": 0}) == Progress(step=3, loss_sum=7.5, loss_steps=3)
    for wrong in ({"step": 3.0}, {"best_step": 9}, {"loss_sum": "7"}, {"steps": 3}):
        (folder / "progress.json").write_text(json.dumps({"progress": progress | wrong, "settings": {"seed": 0}}))
        with pytest.raises(ModelError, match=r"progress\.json: damaged .*; start over without --resume"):
            load_progress(tmp_path, {"seed": 0})
    finish(tmp_path, Progress(step=8, best_step=4, best_score=0.5), {"seed": 0})
    assert is_finished(tmp_path, {"seed": 0})
