"""Results beside each other: rows, columns, what is bold and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from llmrec.cli import main
from llmrec.errors import ConfigError
from llmrec.evaluation.results import Result, write_result
from llmrec.evaluation.scoring import score_rankings, score_titles
from llmrec.reporting.blocks import Heading
from llmrec.reporting.standings import Entry, read_entry, standings


def result(ranks: dict[str, list[int]], targets: str = "targets_test_task2_phase1.parquet", **more) -> Result:
    locales = [name for name, ones in ranks.items() for _ in ones]
    lists = [["t"] if rank == 1 else ["o", "t"] if rank == 2 else ["o"] for ones in ranks.values() for rank in ones]
    ranked, wanted = pa.chunked_array([pa.array(lists)]), pa.chunked_array([pa.array(["t"] * len(lists))])
    return replace(score_rankings("run.parquet", locales, ranked, wanted, **more), targets=targets)


GOOD, POOR = {"ES": [1, 1, 2], "FR": [2]}, {"ES": [1, 2, 0], "FR": [0]}


def test_phases_stand_beside_each_other_and_the_best_is_bold() -> None:
    entries = [
        Entry("poor", "task2 phase1", result(POOR)),
        Entry("poor", "task2 phase2", result(GOOD)),
        Entry("good", "task2 phase1", result(GOOD)),
    ]
    title, table, other, _ = standings(entries, ["mrr@100", "recall@100"])
    assert (title, other) == (Heading("MRR@100"), Heading("Recall@100"))
    header, rows = table.columns, table.rows
    phase1 = [f"task2 phase1 {name}" for name in ("ES", "FR", "overall", "macro")]
    assert header == ["method", *phase1, *(name.replace("phase1", "phase2") for name in phase1)]
    assert rows[0] == ["poor", "0.5000", "0.0000", "0.3750", "0.2500", "0.8333", "0.5000", "0.7500", "0.6667"]
    assert rows[1] == ["good", "**0.8333**", "**0.5000**", "**0.7500**", "**0.6667**", *["–"] * 4]


def test_what_does_not_stand_in_one_table_is_refused(tmp_path: Path) -> None:
    titles = score_titles("t.parquet", ["UK"], ["a b c d"], ["a b c d"])
    ours = Entry("a", "s", result(GOOD))
    for entries, metrics, message in (
        ([], [], "no results"),
        ([ours, ours], [], "two results of 'a' on 's'"),
        ([ours], ["mrr@10"], "a: no mrr@10 in its result; did you mean 'mrr@100'"),
        ([ours, Entry("b", "s", titles)], [], "no metric in common"),
    ):
        with pytest.raises(ConfigError, match=message):
            standings(entries, metrics)
    write_result(tmp_path / "part.json", result(GOOD, partial=True))
    with pytest.raises(ConfigError, match="a partial run"):
        read_entry(str(tmp_path / "part.json"))


def test_the_command_reads_names_and_files(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_result(tmp_path / "one.json", result(GOOD, provenance={"ranker": "covisit"}))
    write_result(tmp_path / "two.json", result(POOR, "targets_test_task2_phase2.parquet"))
    out = tmp_path / "table.md"
    with pytest.raises(SystemExit) as stop:
        main(["results", str(tmp_path / "one.json"), f"covisit={tmp_path / 'two.json'}", "--out", str(out)])
    assert stop.value.code == 0
    shown = capfd.readouterr().out
    assert shown.strip() == out.read_text(encoding="utf-8").strip()
    assert "| covisit | 0.8333 | 0.5000 | 0.7500 | 0.6667 | 0.5000 | 0.0000 | 0.3750 | 0.2500 |" in shown
    assert "task2 phase2 overall" in shown
