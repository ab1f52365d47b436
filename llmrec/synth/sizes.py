"""How many sessions and products a synthetic data set has: the paper's Table 2, whole or in proportion."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from llmrec.errors import ConfigError, nearest
from llmrec.schema import LOCALES

__all__ = ["FULL", "SCALES", "LocalePlan", "TestPlan", "plan", "test_name"]


@dataclass(frozen=True)
class TestPlan:
    """One test file's share of a locale.

    Attributes:
        task: 1, 2 or 3.
        phase: 1 or 2.
        sessions: Number of sessions.
        mean_length: Mean length of ``prev_items``.
    """

    __test__ = False  # pytest collects classes named Test*

    task: int
    phase: int
    sessions: int
    mean_length: float


@dataclass(frozen=True)
class LocalePlan:
    """What is made for a locale: product rows, training sessions with their mean length, and the tests."""

    locale: str
    products: int
    sessions: int
    mean_length: float
    tests: tuple[TestPlan, ...]


def _full(
    locale: str,
    products: int,
    train: tuple[int, int],
    test: tuple[int, int],
    second_phase: int,
    cold: tuple[int, int, float],
) -> LocalePlan:
    task = 1 if locale in LOCALES[:3] else 2
    mean = test[1] / test[0]
    return LocalePlan(
        locale,
        products,
        train[0],
        train[1] / train[0],
        (
            TestPlan(task, 1, test[0], mean),
            TestPlan(task, 2, second_phase, mean),
            TestPlan(3, 1, cold[0], cold[2]),
            TestPlan(3, 2, cold[1], cold[2]),
        ),
    )


# Table 2: products; (sessions, interactions) of training; the same of the test, which is phase 1 of Tasks 1 and 2.
# Its interactions count prev_items alone: the released Task-2 prefixes have a mean length of 3.8 without next_item.
# Then phase 2 (316,972 and 34,690 in all) and Task 3: both phases and the released prefixes' mean length.
FULL: Final = {
    item.locale: item
    for item in (
        _full("DE", 518_327, (1_111_416, 4_836_983), (104_568, 450_090), 104_568, (10_000, 10_000, 2.99)),
        _full("JP", 395_009, (979_119, 4_388_790), (96_467, 434_777), 96_467, (10_000, 10_000, 3.01)),
        _full("UK", 500_180, (1_182_181, 4_872_506), (115_936, 466_265), 115_937, (10_000, 10_000, 3.67)),
        _full("ES", 42_503, (89_047, 326_256), (8_176, 31_133), 8_177, (6_421, 6_422, 3.35)),
        _full("FR", 44_577, (117_561, 416_797), (12_520, 48_143), 12_521, (10_000, 10_000, 3.19)),
        _full("IT", 50_461, (126_925, 464_851), (13_992, 53_414), 13_992, (10_000, 10_000, 3.25)),
    )
}

SCALES: Final = {"tiny": 1 / 1000, "small": 1 / 50, "full": 1.0}

_MIN_PRODUCTS = 120  # fewer than that and a small locale has no neighbouring lines to walk to
_MIN_SESSIONS = 150
_MIN_TEST = 20
_MIN_COLD_TEST = 100  # as in the release, small locales weigh as much as large ones; with fewer, BLEU is chance


def plan(size: str) -> tuple[LocalePlan, ...]:
    """What to make for each locale, in the order of the files.

    Raises:
        ConfigError: ``size`` is none of tiny, small, full.
    """
    if size not in SCALES:
        raise ConfigError(f"unknown size '{size}'{nearest(size, SCALES)}")
    scale = SCALES[size]
    return tuple(
        LocalePlan(
            whole.locale,
            max(_MIN_PRODUCTS, round(whole.products * scale)),
            max(_MIN_SESSIONS, round(whole.sessions * scale)),
            whole.mean_length,
            tuple(
                replace(
                    test, sessions=max(_MIN_COLD_TEST if test.task == 3 else _MIN_TEST, round(test.sessions * scale))
                )
                for test in whole.tests
            ),
        )
        for whole in FULL.values()
    )


def test_name(task: int, phase: int) -> str:
    """Name of a test file in the official release."""
    return f"sessions_test_task{task}_phase{phase}.csv"


test_name.__test__ = False  # type: ignore[attr-defined]  # pytest collects functions named test_*
