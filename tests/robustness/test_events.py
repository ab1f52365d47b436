"""Commands killed and failed at some events of the file system, two writers of one output, and odd machines."""

from __future__ import annotations

from typing import Any

import pytest

from tests.robustness.attacked import attacked, failures

DEEDS = ("rank", "rank save", "import", "evaluate")
MEET = ("rank | rank of another", "index add | index add of another")
MACHINES = (
    *("working directory gone", "no home, ~", "few open files", "small files alone", "RANK=x", "LC_ALL=C, similar"),
    *("stdout full, evaluate", "stdout closed, evaluate", "stdout's reader gone, evaluate", "stdout in ascii, similar"),
    *(
        "a device: rank covisit",
        "a FIFO: evaluate $/runs/titles.parquet",
        "a name of 300: results $/results/covisit.json",
    ),
    *("a folder in the place of the file: rank covisit", "disk full, rank", "disk read-only, evaluate"),
    *("through a link, rank", "through a link, rank save"),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    words = [word for name in (*DEEDS, *MEET, *MACHINES) for word in ("--family", name)]
    parts = [word for part in ("kills", "faults", "pairs", "machines") for word in ("--part", part)]
    return attacked(tmp_path_factory.mktemp("events"), *parts, "--every", 24, "--seed", 3, *words)


@pytest.mark.parametrize("name", DEEDS)
def test_a_killed_command_leaves_old_or_new_and_a_rerun_ends_as_if_nothing_had_been(
    made: dict[str, dict[str, Any]], name: str
) -> None:
    assert made[f"kill {name}"]["counts"]
    assert not failures(made[f"kill {name}"])


@pytest.mark.parametrize("name", DEEDS)
@pytest.mark.parametrize("mode", ["full", "fault"])
def test_a_full_disk_or_a_failing_one_is_a_line_and_a_rerun_ends_as_if_nothing_had_been(
    made: dict[str, dict[str, Any]], mode: str, name: str
) -> None:
    assert not failures(made[f"{mode} {name}"])


@pytest.mark.parametrize("name", MEET)
def test_two_writers_of_one_output_end_as_one_or_the_other_would(made: dict[str, dict[str, Any]], name: str) -> None:
    assert made[name]["counts"]
    assert not failures(made[name])


def test_an_odd_machine_is_a_line_or_makes_no_difference(made: dict[str, dict[str, Any]]) -> None:
    assert made["machines"]["counts"]
    assert not failures(made["machines"])
