from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from llmrec.data.store import Store
from llmrec.evaluation.evaluate import evaluate_run
from llmrec.evaluation.runs import read_run
from llmrec.titles.last_title import write_last_titles
from tests.conftest import TITLES


def test_the_last_product_with_a_title_gives_it(tiny_store: Store, tmp_path: Path) -> None:
    run = tmp_path / "last.parquet"
    assert write_last_titles(tiny_store, "validation", run) == 35
    titles = read_run(run).predictions.to_pylist()
    # the shapes of `tests/conftest.py`, each for all locales: …X3; X1 X1; X2 absent X0 untitled; none titled; X3 X4
    for shape, place in ((0, 3), (1, 1), (2, 0), (4, 4)):
        expected = [TITLES[locale][place] for locale in TITLES]
        assert titles[shape * len(TITLES) : (shape + 1) * len(TITLES)] == expected
    assert titles[3 * len(TITLES) : 4 * len(TITLES)] == [""] * len(TITLES)


def test_test_splits_are_written_and_scored(tiny_store: Store, tmp_path: Path) -> None:
    run = tmp_path / "last.parquet"
    write_last_titles(tiny_store, "test", run)
    targets = tiny_store.path / "targets_test_task3_phase1.parquet"
    result = evaluate_run(run, targets, products=tiny_store.products)
    assert not result.partial
    assert result.provenance["method"] == "Last Product Title"
    assert result.provenance["data_fingerprint"] == tiny_store.fingerprint


def test_it_needs_no_torch() -> None:
    code = "import sys, llmrec.titles.last_title; print({'torch', 'transformers'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
