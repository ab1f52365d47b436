"""The demo as a newcomer runs it, cut short: tables, a page, and a second start that makes nothing again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llmrec.demo import stages
from llmrec.demo.demo import run_demo
from llmrec.demo.job import DemoJob


def test_it_shows_everything_and_goes_on_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stages, "RANKERS", {"popularity": {}, "covisit": {}})
    monkeypatch.setattr(stages, "SELECTOR", {"max_sessions": 200, "folds": 2, "rounds": 5, "choice_rounds": 5})
    monkeypatch.setattr(stages, "MODEL", {**stages.MODEL, "max_target_tokens": 4, "batch_size": 8})
    job = DemoJob(out=tmp_path / "demo", steps=2)
    first = run_demo(job)
    printed = capsys.readouterr().out
    for table in ("Made-up data", "The next product", "Similar products in other languages", "The next title"):
        assert table in printed
    page = (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")
    assert "Tiny mT5 from scratch" in page
    assert "has learnt for 2 steps" in page
    assert "llmrec data import YOUR_FOLDER" in page
    assert set(first["metrics"]) == {"popularity", "covisit", "last_title", "tiny_mt5", "select"}
    made = {file: file.stat().st_mtime_ns for file in (tmp_path / "demo").rglob("*.parquet")}
    (lost,) = (file for file in made if file.name == "covisit.parquet")
    lost.unlink()
    os.utime(tmp_path / "demo" / "ranked" / "covisit.result.json", (0, 0))
    assert run_demo(job)["metrics"] == first["metrics"], "what was lost is made again, the rest stands"
    assert {file for file, at in made.items() if file.stat().st_mtime_ns != at} == {lost}
