from __future__ import annotations

import math

import pytest

from llmrec.paper.reproduction.recipe import Band, Limits
from llmrec.paper.reproduction.verdict import Verdict, judge

BAND = Band(ok=Limits(absolute=0.01), near=Limits(absolute=0.05))
AGAIN = Band(ok=Limits(absolute=0.001), near=Limits(absolute=0.002))


@pytest.mark.parametrize(
    ("value", "same", "recorded", "expected"),
    [
        (0.305, True, None, Verdict.OK),
        (0.34, True, None, Verdict.NEAR),
        (0.36, True, None, Verdict.FAIL),
        (0.24, True, None, Verdict.FAIL),  # better or worse: it is not what the paper reports
        (0.36, False, None, Verdict.NEW),  # another protocol: far from the paper is not wrong
        (0.30, False, None, Verdict.NEW),  # … and near it is not right
        (0.36, False, 0.3605, Verdict.OK),
        (0.36, False, 0.3615, Verdict.NEAR),
        (0.36, False, 0.37, Verdict.FAIL),
        (0.305, True, 0.31, Verdict.FAIL),  # near the paper still, but it moved
        (0.36, True, 0.36, Verdict.FAIL),  # as before, and as far from the paper as before
        (math.nan, True, None, Verdict.FAIL),
        (math.nan, False, 0.3, Verdict.FAIL),
    ],
)
def test_verdicts(value: float, same: bool, recorded: float | None, expected: Verdict) -> None:
    judged = judge(value, published=0.3, same_protocol=same, recorded=recorded, band=BAND, again=AGAIN)
    assert judged.verdict is expected


def test_without_a_published_value_our_record_decides() -> None:
    judged = judge(0.5, published=None, same_protocol=True, recorded=0.4, band=BAND, again=AGAIN)
    assert judged.verdict is Verdict.FAIL
    assert "moved by +0.1" in judged.reason


def test_limits_take_the_wider_of_absolute_and_relative() -> None:
    limits = Limits(absolute=1, relative=0.1)
    assert limits.allow(100, 110)
    assert not limits.allow(100, 110.1)
    assert limits.allow(5, 6)
    assert Limits().allow(0.1, 0.1)


def test_only_moved_and_broken_cells_fail_a_run() -> None:
    assert {verdict for verdict in Verdict if verdict.is_bad} == {Verdict.FAIL, Verdict.ERROR}
