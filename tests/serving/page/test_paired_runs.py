"""Two runs of a folder beside each other: what `evaluate --compare` says of them, or why there is no interval."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

import llmrec
from llmrec.evaluation.evaluate import evaluate_run
from llmrec.evaluation.results import Scores, read_result
from llmrec.rankers.sessions import Sessions
from llmrec.serving.page.paired_runs import PairedRuns
from llmrec.serving.page.run_folder import RunFolder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Runs ``one`` and ``two`` on sessions whose file, ``test.csv``, is beside the folder."""
    rows = [("['a']", "b", "UK"), ("['b']", "c", "UK"), ("['c']", "a", "DE")]
    text = "prev_items,next_item,locale\n" + "".join(f'"{items}",{item},{locale}\n' for items, item, locale in rows)
    (tmp_path / "test.csv").write_text(text, encoding="utf-8")
    asked = Sessions.of([["a"], ["b"], ["c"]], ["UK", "UK", "DE"])
    for name, learnt in (("one", [["a", "b"], ["b", "c"], ["c", "a"]]), ("two", [["a", "c"], ["b", "c"]])):
        run = tmp_path / "runs" / "here" / f"{name}.parquet"
        llmrec.fit("covisit", learnt).rank(asked).save(run)
        evaluate_run(run, tmp_path / "test.csv").save(run.with_suffix(".result.json"))
    return tmp_path / "runs"


def pairs_of(folder: Path, *targets: Path) -> PairedRuns:
    return PairedRuns(RunFolder(folder, "secret"), targets)


def test_intervals_are_those_of_evaluate(folder: Path) -> None:
    targets, here = folder.parent / "test.csv", folder / "here"
    found = pairs_of(folder, targets).difference("here/one", "here/two")
    assert found.why_not == ""
    expected = evaluate_run(here / "one.parquet", targets, compare=here / "two.parquet", by=["locale"])
    for part in ("all sessions", "UK", "DE"):
        for metric, one in expected.breakdowns["locale"][part].differences.items():
            (told,) = [each for each in found.differences if (each.part, each.metric) == (part, metric)]
            assert (told.difference, told.low, told.high) == (one.difference, one.low, one.high)
    targets.rename(here / "test.csv")
    assert pairs_of(folder).difference("here/one", "here/two") == found  # targets beside the runs are found, too


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        ("no targets", "test.csv is not at hand; put it beside the runs"),
        ("other targets", "one was scored on test.csv, the other on later.csv"),
        ("in memory", r"one was scored on test.csv, the other on targets that were no file"),
        ("no run", "two.parquet is not beside its result"),
        ("a run elsewhere", "test.csv is not beside its result"),
        ("other sessions", "^here/one.parquet: "),
        ("gone", "there is no run 'here/two' any more"),
        ("many", "200,000 sessions would hold the service up"),
    ],
)
def test_why_there_is_no_interval(folder: Path, harm: str, told: str) -> None:
    targets, here = folder.parent / "test.csv", folder / "here"
    result, many = read_result(here / "two.result.json"), Scores(200_000, {})
    if harm == "no run":
        (here / "two.parquet").unlink()
    elif harm == "gone":
        (here / "two.result.json").unlink()
    elif harm == "other sessions":
        targets.write_text("prev_items,next_item,locale\n\"['a']\",b,UK\n", encoding="utf-8")
    elif harm != "no targets":
        other = {
            "other targets": replace(result, targets="later.csv"),
            "in memory": replace(result, targets=""),
            "a run elsewhere": replace(result, run="../../test.csv"),
            "many": replace(result, n_sessions=200_000, overall=many, locales={"UK": many}),
        }[harm]
        other.save(here / "two.result.json")
    found = pairs_of(folder, *([] if harm == "no targets" else [targets])).difference("here/one", "here/two")
    assert found.differences == []
    assert re.search(told, found.why_not)
    assert str(folder) not in found.why_not
