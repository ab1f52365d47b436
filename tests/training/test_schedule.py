from __future__ import annotations

import math

import pytest

from llmrec.training.schedule import learning_rate_at


@pytest.mark.parametrize(
    ("schedule", "step", "expected"),
    [
        ("linear", 0, 0.25),  # warm-up of 4: 1/4, 2/4 …
        ("linear", 3, 1.0),
        ("linear", 4, 1.0),
        ("linear", 8, 0.5),  # 4 of 8 steps after the warm-up
        ("linear", 12, 0.0),
        ("cosine", 4, 1.0),
        ("cosine", 8, 0.5),
        ("cosine", 6, 0.5 * (1 + math.cos(math.pi / 4))),
        ("cosine", 12, 0.0),
        ("constant", 11, 1.0),
        ("constant", 1, 0.5),
    ],
)
def test_the_rate_worked_by_hand(schedule: str, step: int, expected: float) -> None:
    rate = learning_rate_at(step, peak=1.0, total_steps=12, warmup_steps=4, schedule=schedule)  # type: ignore[arg-type]
    assert rate == pytest.approx(expected)


def test_no_warmup_starts_at_the_peak() -> None:
    assert learning_rate_at(0, peak=0.1, total_steps=10, warmup_steps=0, schedule="cosine") == pytest.approx(0.1)
