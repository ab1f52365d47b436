"""A tiny table from end to end: measured, resumed, recorded, held against the record, and failing when it must."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from llmrec.cli import main
from llmrec.data.importing import import_dataset
from llmrec.evaluation.evaluate import evaluate_run
from llmrec.evaluation.metrics import RANKING_METRICS, mrr_at_k
from llmrec.paper.reproduction import steps
from llmrec.paper.reproduction.job import ReproduceJob
from llmrec.paper.reproduction.recipe import FOLDER, load_table
from llmrec.paper.reproduction.records import read_measurement
from llmrec.paper.reproduction.report import render_tables, reproduce_and_report
from llmrec.paper.reproduction.reproduce import reproduce
from llmrec.paper.reproduction.source import DataFolder, differences, open_data
from llmrec.paper.reproduction.verdict import Verdict
from llmrec.synth import synthesize
from tests.browser import needs_chromium, open_page, svg_marks
from tests.places import REAL
from tests.rewriting import rewrite

REAL_M2 = REAL / "amazon-m2"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    synthesize(folder / "raw", size="tiny", seed=0)
    import_dataset(folder / "raw", folder / "tiny")
    return folder / "tiny"


@pytest.fixture(scope="module")
def finished(store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Output folder and records of Table 4's first row, measured once."""
    folder = tmp_path_factory.mktemp("reproduced")
    out, recorded = folder / "out", folder / "recorded"
    assert call("table4", "--data", store, "--only", "popularity", "--out", out, *flags(recorded), "--record") == 0
    return out, recorded


def call(*words: Any) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["reproduce", *map(str, words)])
    return int(stop.value.code or 0)


def flags(recorded: Path) -> list[str]:
    return ["--recorded", str(recorded)]


def no_process(*_: Any, **__: Any) -> None:
    raise AssertionError("a finished command was run again")


def test_a_row_holds_what_evaluate_says_of_its_run(store: Path, finished: tuple[Path, Path]) -> None:
    out, recorded = finished
    measured = read_measurement(out / "records" / "table4" / "popularity.task2_validation.json")
    run = out / "runs" / "task2_validation" / "popularity.parquet"
    result = evaluate_run(run, out / "work" / "task2" / "validation.parquet")
    assert measured.cells["mrr@100/overall"].value == result.overall.metrics["mrr@100"]
    assert measured.cells["recall@100/FR"].value == result.locales["FR"].metrics["recall@100"]
    assert measured.cells["recall@100/FR"].n == 15
    overall = measured.cells["mrr@100/overall"]
    assert overall.low is not None
    assert overall.low < overall.value < (overall.high or 0)
    assert measured.fingerprint == open_data(store).fingerprint
    assert "Synthetic data, not Amazon-M2." in measured.differs
    assert measured.commands[-1].startswith("llmrec evaluate ")
    assert read_measurement(recorded / "table4" / "popularity.task2_validation.json") == measured
    provenance = json.loads(run.with_suffix(".json").read_text())["provenance"]
    assert provenance["command"][:3] == ["llmrec", "rank", "popularity"]


def test_a_finished_table_is_resumed_without_running_anything(
    store: Path, finished: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, recorded = finished
    monkeypatch.setattr(steps.subprocess, "run", no_process)
    words = ["table4", "--data", store, "--only", "popularity", "--out", out, *flags(recorded), "--resume"]
    assert call(*words) == 0
    printed = capsys.readouterr().out
    assert "Cells: 8 OK." in printed
    assert "| Popularity, mrr@100 overall | 0.2829 |" in printed


def test_a_broken_metric_fails(
    store: Path,
    finished: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, recorded = finished
    shutil.move(out / "records", tmp_path / "kept")
    monkeypatch.setitem(RANKING_METRICS, "mrr", lambda ranks, k: mrr_at_k(ranks + (ranks > 0), k))  # from 0, not 1
    words = ["table4", "--data", store, "--only", "popularity", "--out", out, *flags(recorded), "--resume"]
    try:
        assert call(*words) == 1
    finally:
        shutil.rmtree(out / "records")
        shutil.move(tmp_path / "kept", out / "records")
    printed = capsys.readouterr().out
    assert "Cells: 4 OK, 4 FAIL." in printed
    assert "moved by -0." in printed


def test_a_stopped_table_goes_on_where_it_was(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    real = subprocess.run

    def stopped(command: list[str], **settings: Any) -> Any:
        if command[0] == "git":
            return real(command, **settings)
        started.append(" ".join(command[3:5]))
        if started.count("last-title") or len(started) == 2:
            raise KeyboardInterrupt
        return real(command, **settings)

    monkeypatch.setattr(steps.subprocess, "run", stopped)
    words = [
        "table6",
        "--data",
        store,
        "--only",
        "last_title*",
        "--out",
        tmp_path / "out",
        "--recorded",
        tmp_path / "no",
    ]
    assert call(*words) == 130
    assert [path.name for path in (tmp_path / "out" / "records").rglob("*.json")] == [
        "last_title_validation.task3_validation.json"
    ]
    monkeypatch.setattr(steps.subprocess, "run", real)
    before = len(list((tmp_path / "out" / "logs").iterdir()))
    assert call(*words, "--resume") == 0
    assert len(list((tmp_path / "out" / "records").rglob("*.json"))) == 2
    assert before == 2  # the stopped command's log, written again
    assert len(list((tmp_path / "out" / "logs").iterdir())) == 2


def recipes(tmp_path: Path, methods: dict[str, str]) -> Path:
    """A folder of one small table: two rows, each one command on the validation sessions."""
    folder = tmp_path / "recipes"
    folder.mkdir()
    for name in ("methods", "protocols"):
        shutil.copy(FOLDER / f"{name}.yaml", folder)
    text = (folder / "methods.yaml").read_text(encoding="utf-8")
    for name, command in methods.items():
        text += f"  {name}: {{kind: ranking, band: heuristic, again: repeated, steps: ['{command}']}}\n"
    (folder / "methods.yaml").write_text(text, encoding="utf-8")
    protocol = (
        "tiny:\n  summary: s\n  place: p\n  needs: [sessions_validation.parquet]\n  get: ask\n"
        "  values: {sessions: '{data}/sessions_validation.parquet'}\n  targets: '{data}/sessions_validation.parquet'\n"
        "  sizes: {sessions_train: 3722}\n"
    )
    with (folder / "protocols.yaml").open("a", encoding="utf-8") as handle:
        handle.write(protocol)
    rows = "".join(f"  {name}: {{label: {name}, published: [0.9]}}\n" for name in methods)
    table = f"title: t\nplace: p\nprotocols: [tiny]\ncolumns: [mrr@100/overall]\nrows:\n{rows}"
    (folder / "table1.yaml").write_text(table, encoding="utf-8")
    return folder


RANK = "llmrec rank popularity --train {data}/sessions_development.parquet --sessions {sessions} --out {run}"


def test_a_failing_command_and_a_partial_run_are_errors_and_the_rest_goes_on(store: Path, tmp_path: Path) -> None:
    methods = {"broken": f"{RANK} --k 0", "partial": f"{RANK} --limit 3"}
    job = ReproduceJob(
        tables=["table1"],
        data=store,
        out=tmp_path / "out",
        recorded=tmp_path / "no",
        recipes=recipes(tmp_path, methods),
    )
    outcomes, _ = reproduce_and_report(job)
    text, failed = render_tables(outcomes), any(outcome.failed for outcome in outcomes)
    assert failed
    assert "| broken, mrr@100 overall | 0.9000 | – | – | ERROR |" in text
    assert "k must be at least 1; got 0" in text
    assert "a partial run (3 sessions) stands in no table" in text
    assert "Cells: 2 ERROR." in text


def test_the_papers_protocol_is_judged_by_the_paper(store: Path, tmp_path: Path) -> None:
    folder = recipes(tmp_path, {"whole": RANK})
    real = tmp_path / "store"
    shutil.copytree(store, real)
    rewrite(real / "manifest.json", {"synthetic": False})
    job = ReproduceJob(tables=["table1"], data=real, out=tmp_path / "out", recorded=tmp_path / "no", recipes=folder)
    (outcome,) = reproduce(job)
    (row,) = outcome.rows
    assert row.measured is not None
    assert row.measured.differs == []
    assert row.cells["mrr@100/overall"].verdict is Verdict.FAIL
    assert outcome.failed


def test_a_protocol_differs_where_rows_are_not_amazon_m2s(store: Path) -> None:
    row = load_table("table10").rows["popularity"]
    (paper, public) = row.protocols
    real = DataFolder(store, "f" * 64, {"sessions_train": 3_606_249, "sessions_test_task2_phase1": 34_688})
    assert differences(paper, row.method, real) == []
    assert differences(public, row.method, real) == list(public.differs)
    assert (
        "60 rows, Amazon-M2's 34,688" in differences(paper, row.method, open_data(store))[-1]
        or open_data(store).synthetic
    )


def test_without_data_every_cell_says_where_to_get_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("table9") == 0
    printed = capsys.readouterr().out
    assert "Cells: 48 no data." in printed
    assert "targets_test_task1_phase2.parquet" in printed
    assert "llmrec data import FOLDER stores/m2" in printed
    assert "| CORE, mrr@100 UK | 0.1755 | – | – | no data | 1 |" in printed
    assert call("table9", "--json") == 0
    assert {cell["verdict"] for cell in json.loads(capsys.readouterr().out)["result"]} == {"no data"}


def test_cells_that_a_folder_cannot_give_are_never_filled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sessions.csv").write_text("prev_items,locale\n\"['A' 'B']\",UK\n", encoding="utf-8")
    out = tmp_path / "out"
    assert call("all", "--data", tmp_path, "--out", out) == 0
    printed = capsys.readouterr().out
    assert " lacks sessions_development.parquet" in printed
    for line in printed.splitlines():
        if line.startswith("| ") and "verdict" not in line:
            assert line.split(" | ")[2:5] == ["–", "–", "no data"]
    assert not (out / "records").exists()


def test_an_output_folder_belongs_to_its_data(
    store: Path, finished: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "sessions.csv").write_text("prev_items,locale\n", encoding="utf-8")
    assert call("table4", "--data", other, "--out", finished[0]) == 2
    assert "holds measurements of other data" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tabel4"], "did you mean 'table4'"),
        (["table4", "--only", "popularty"], "fits no row"),
        (["table4", "--data", "nowhere"], "nowhere: no such folder"),
        ([], "nothing to reproduce"),
    ],
)
def test_wrong_input_is_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    if words:
        assert call(*words) == 2
    else:
        assert call("--resume") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@needs_chromium
def test_the_page_opens_in_a_browser_without_errors_and_its_plots_show_something(
    finished: tuple[Path, Path], tmp_path: Path
) -> None:
    page = open_page(finished[0] / "report.html", tmp_path)
    assert page.console == []
    assert "Table 4: Task 2" in page.document
    marks = svg_marks(page.document)
    assert len(marks) == 2  # MRR and Recall over all sessions
    assert min(marks) >= 3


def test_examples_are_written_titles_beside_the_truth(store: Path, tmp_path: Path) -> None:
    folder = recipes(tmp_path, {})
    with (folder / "methods.yaml").open("a", encoding="utf-8") as handle:
        handle.write(
            "  shown: {kind: examples, band: exact, again: exact, steps: "
            "['llmrec last-title {store} --split validation --out {run}']}\n"
        )
    table = (
        "title: t\nplace: p\nprotocols: [task3_validation]\ncolumns: [examples]\nrows:\n  shown: {label: Last title}\n"
        "examples: [[generated in the paper, true in the paper]]\n"
    )
    (folder / "table1.yaml").write_text(table, encoding="utf-8")
    job = ReproduceJob(tables=["table1"], data=store, out=tmp_path / "out", recorded=tmp_path / "no", recipes=folder)
    outcomes, page = reproduce_and_report(job)
    failed = any(outcome.failed for outcome in outcomes)
    assert not failed
    (record,) = (tmp_path / "out" / "records").rglob("*.json")
    measured = read_measurement(record)
    assert measured.cells["examples"].value == len(measured.examples) == 4
    targets = pq.read_table(store / "sessions_validation.parquet").to_pylist()
    titles = {
        (row["locale"], row["id"]): row["title"]
        for row in pq.read_table(store / "products.parquet", columns=["id", "locale", "title"]).to_pylist()
    }
    spanish = [titles[row["locale"], row["next_item"]] for row in targets if row["locale"] == "ES"]
    assert [truth for _, truth in measured.examples] == [spanish[len(spanish) * place // 4] for place in range(4)]
    assert page is not None
    assert "true in the paper" in page.read_text(encoding="utf-8")


@pytest.mark.skipif(not REAL_M2.is_dir(), reason=f"no real data at {REAL_M2}")
def test_the_public_files_still_give_the_recorded_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("public_data", "--data", REAL_M2, "--out", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "Cells: 16 OK." in printed
    for line in (  # what the files are known to hold
        "| Task 2, phase 1, mean_length | – | 3.8134 |",
        "| Task 2, phase 1, longest | – | 42 |",
        "| Task 2, phase 2, mean_length | – | 3.8328 |",
        "| Task 2, phase 2, repeat_share | – | 0.4123 |",
    ):
        assert line in printed


@pytest.mark.slow
@pytest.mark.skipif(not REAL_M2.is_dir(), reason=f"no real data at {REAL_M2}")
def test_the_public_files_still_give_the_recorded_rankings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["public", "--data", REAL_M2, "--out", tmp_path / "out"]
    assert call(*words, "--only", "popularity", "--only", "item_knn", "--only", "vmis_knn", "--only", "covisit") == 0
    assert "Cells: 36 OK." in capsys.readouterr().out
