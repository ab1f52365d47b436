"""Blending runs: weights worked by hand, and runs that do not belong together."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from llmrec.cli.runs import BlendJob, blend
from llmrec.errors import ConfigError, DataError
from llmrec.evaluation.blend import blend_lists, blend_runs
from llmrec.evaluation.runs import read_run, write_run


def lists(*rows: list[str]) -> pa.Array:
    return pa.array(rows, pa.list_(pa.string()))


def test_ranks_are_worth_their_inverse_and_add_up() -> None:
    # damping 0: a 1 + 1/3, b 1/2 + 1, c 1/3 + 1/2
    blended = blend_lists([lists(["a", "b", "c"]), lists(["b", "c", "a"])], [1, 1], 0, 100)
    assert blended.to_pylist() == [["b", "a", "c"]]


def test_a_weight_counts() -> None:
    blended = blend_lists([lists(["a", "b", "c"]), lists(["b", "c", "a"])], [3, 1], 0, 2)
    assert blended.to_pylist() == [["a", "b"]]  # a 3 + 1/3, b 3/2 + 1, c 1 + 1/2


def test_ties_go_to_the_smaller_id_and_empty_lists_stay() -> None:
    blended = blend_lists([lists(["b"], [], ["x"]), lists(["a"], [], [])], [1, 1], 10, 100)
    assert blended.to_pylist() == [["a", "b"], [], ["x"]]


def run_of(path: Path, rows: list[list[str]], locales: list[str]) -> Path:
    write_run(path, locales, lists(*rows), {})
    return path


def test_a_blend_is_a_run(tmp_path: Path) -> None:
    one = run_of(tmp_path / "one.parquet", [["a", "b"], ["c"]], ["DE", "FR"])
    two = run_of(tmp_path / "two.parquet", [["b"], ["d"]], ["DE", "FR"])
    blend_runs([one, two], tmp_path / "out.parquet")
    read = read_run(tmp_path / "out.parquet")
    assert read.predictions.to_pylist() == [["b", "a"], ["c", "d"]]
    assert read.provenance["blend"] == ["one.parquet", "two.parquet"]


def test_the_verb_says_how_a_blend_came_about(tmp_path: Path) -> None:
    one = run_of(tmp_path / "one.parquet", [["a"]], ["DE"])
    blend(BlendJob(runs=[one, one], out=tmp_path / "out.parquet"))
    told = read_run(tmp_path / "out.parquet").provenance
    assert {"blend", "weights", "damping", "command", "git_commit", "versions", "seconds"} <= set(told)


def test_runs_of_other_splits_are_refused(tmp_path: Path) -> None:
    one = run_of(tmp_path / "one.parquet", [["a"], ["c"]], ["DE", "FR"])
    short = run_of(tmp_path / "short.parquet", [["a"]], ["DE"])
    other = run_of(tmp_path / "other.parquet", [["a"], ["c"]], ["DE", "IT"])
    with pytest.raises(DataError, match=r"1 lists, one\.parquet has 2"):
        blend_runs([one, short], tmp_path / "out.parquet")
    with pytest.raises(DataError, match=r"row 2: locale 'IT', but one\.parquet has 'FR'"):
        blend_runs([one, other], tmp_path / "out.parquet")


@pytest.mark.parametrize(
    ("number", "weights", "message"),
    [(1, None, "two runs or more"), (2, [1.0], "1 weights for 2 runs"), (2, [0.0, 0.0], "one of them above")],
)
def test_wrong_requests_are_refused(tmp_path: Path, number: int, weights: list[float] | None, message: str) -> None:
    one = run_of(tmp_path / "one.parquet", [["a"]], ["DE"])
    with pytest.raises(ConfigError, match=message):
        blend_runs([one] * number, tmp_path / "out.parquet", weights)
