"""`scripts/gen.py --select`: titles are written, then chosen among with others."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from llmrec.cli import status_of
from llmrec.evaluation.runs import read_run
from tests.selection.shop import write_store

TINY = shlex.split(
    "--k 2 --base-model tiny --tiny-width 32 --tiny-layers 1 --tiny-vocab 400 --max-steps 2 --batch-size 4 "
    "--max-target-tokens 12 --max-source-tokens 64"
)


@pytest.mark.slow
def test_written_titles_are_chosen_among(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store")
    flags = ["--data", str(store.path), "--output-dir", str(tmp_path / "out"), "--select", "--limit", "12"]
    assert status_of(["generate", *TINY, *flags]) == 0
    chosen = read_run(tmp_path / "out" / "selected_validation.parquet")
    assert (chosen.kind, len(chosen), chosen.partial) == ("titles", 12, True)
    assert chosen.provenance["candidates"] == ["titles_validation.parquet"]
    assert (tmp_path / "out" / "selected_validation.result.json").is_file()


def test_development_cannot_be_selected_for(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    flags = ["--select", "--split", "development", "--output-dir", str(tmp_path / "out")]
    assert status_of(["generate", *flags]) == 2
    assert "learns from development" in capfd.readouterr().err
