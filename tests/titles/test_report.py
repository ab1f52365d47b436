"""The page of a run of title generation: what a reader finds on it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from llmrec.data.store import Store
from llmrec.evaluation.scoring import score_titles
from llmrec.titles.report import ReportedRun, write_generation_report

# ibis 12 still calls what DuckDB 2 renamed
pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")


def test_the_page_shows_scores_curves_data_and_examples_in_their_language(tiny_store: Store, tmp_path: Path) -> None:
    rows = pq.read_table(tiny_store.path / "sessions_validation.parquet").select(["session_id", "locale"])
    locales = rows["locale"].to_pylist()
    targets = [None if place % 5 == 0 else "a b c d <i>" for place in range(len(rows))]
    titles = ["a b c d <b>"] * len(rows)
    result = score_titles("run", locales, titles, targets, baseline=("last", ["a b c d"] * len(rows)), samples=9)
    losses = [(10, 4.0, 3.5), (20, 3.0, 2.5), (30, 2.0, 2.75)]
    lines = [json.dumps({"step": step, "train_loss": a, "validation_loss": b}) for step, a, b in losses]
    (tmp_path / "history.jsonl").write_text("\n".join(lines), encoding="utf-8")
    outcome = ReportedRun("validation", Dataset.from_list(rows.to_pylist()), titles, targets, result, "What was run.")
    page = write_generation_report(tmp_path, tiny_store, outcome).read_text(encoding="utf-8")
    assert "<p>What was run.</p>" in page
    assert page.count("<svg") == 3  # BLEU beside the baseline, losses, long tail
    assert "the lowest is 2.500 at step 20" in page
    examples = page[page.index(">Examples<") : page.index(">Training<")]
    assert examples.count("<ol>") == 2 * len(set(locales))
    assert examples.count("a b c d &lt;b&gt;") == 2 * len(set(locales))
    assert len(re.findall(r'lang="ja"', examples)) == 2 * 3
    assert re.search(r'lang="de"><ol>(<li>[^<]*</li>)*<li>[^<]+</li></ol>', examples)
