"""The size of a cluster, worked by hand from rates; and those that come with the package."""

from __future__ import annotations

import pytest

from llmrec.cli import status_of
from llmrec.cluster.sizing import GIB, Step, Throughput, plan_cluster, throughput

RATES = Throughput(
    machine="a core",
    session_items=5,
    core_gib=2,
    two_workers=0.5,
    steps=(
        Step(name="events", what="", rows="events", per_core_s=1000, shuffle_bytes=10),
        Step(name="rank", what="", rows="sessions", per_core_s=500, shuffle_bytes=40, item_bytes=100),
    ),
)


def test_a_plan_is_rates_times_rows() -> None:
    plan = plan_cluster(7.2e6, 1e6, 4, RATES)
    assert [one.rows for one in plan.steps] == [36_000_000, 7_200_000]
    assert [one.core_hours for one in plan.steps] == [10, 4]
    assert plan.cores == 7  # 14 core hours in 4 hours are 3.5 cores, which do half of what one does alone
    assert plan.hours == pytest.approx(4)
    assert plan.nodes == 1
    assert plan.shuffle_bytes == 360_000_000
    assert [one.node_bytes for one in plan.steps] == [14 * GIB, 14 * GIB + 100_000_000]


def test_one_core_does_what_is_small() -> None:
    plan = plan_cluster(3600, 10, 1, RATES)
    assert (plan.cores, plan.hours) == (1, pytest.approx(0.007))


def test_ten_times_the_shop_takes_ten_times_the_hours_of_a_core() -> None:
    small, large = (plan_cluster(3.6e6 * times, 1.4e6 * times, 8) for times in (1, 10))
    assert [10 * one.core_hours for one in small.steps] == pytest.approx([one.core_hours for one in large.steps])
    assert all(one.shuffle_bytes >= 0 and one.per_core_s > 0 for one in throughput().steps)


def test_the_verb_plans_a_cluster_or_a_training(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["plan", "--sessions", "2e9", "--items", "5e7"]) == 0
    said = capsys.readouterr()
    assert "2,000,000,000 sessions, 50,000,000 items" in said.out
    assert "measured on" in said.err
    for words in (["--sessions", "9"], ["demo", "--sessions", "9", "--items", "9"], []):
        assert status_of(["plan", *words]) == 2
