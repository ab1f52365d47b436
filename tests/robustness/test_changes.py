"""Changed files of every family: a few of the mutations that `make attack` makes many of."""

from __future__ import annotations

from typing import Any

import pytest

from tests.robustness.attacked import attacked, failures
from tests.robustness.families import FAMILIES

MUTATIONS, SEED = 5, 14
UNDER_REPAIR: frozenset[str] = frozenset()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    words = [word for name in FAMILIES if name not in UNDER_REPAIR for word in ("--family", name)]
    parts = ("--part", "controls", "--part", "changes")
    return attacked(tmp_path_factory.mktemp("attack"), *parts, "--mutations", MUTATIONS, "--seed", SEED, *words)


def test_the_judge_sees_what_it_is_there_for(made: dict[str, dict[str, Any]]) -> None:
    assert not failures(made["controls"])


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in UNDER_REPAIR])
def test_a_changed_file_is_refused_in_a_line_or_read_as_what_it_is(
    made: dict[str, dict[str, Any]], family: str
) -> None:
    assert not failures(made[family])
    assert sum(made[family]["counts"].values()) == MUTATIONS
