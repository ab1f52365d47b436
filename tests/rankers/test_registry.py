"""Rankers by name: one's own beside those of the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmrec.errors import ConfigError
from llmrec.rankers import load_ranker, ranker_class, register_ranker, registry
from llmrec.rankers.counting.popularity import GlobalPopularity
from llmrec.testing.ranker_contract import training_sessions


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry._ADDED, "_registered", {})


def test_a_registered_ranker_is_found_and_read_by_its_name(tmp_path: Path) -> None:
    @register_ranker
    class Own(GlobalPopularity):
        name = "own_popularity"

    ranker = ranker_class("own_popularity")(Own.settings_class()).fit(training_sessions())
    ranker.save(tmp_path / "model")
    assert type(load_ranker(tmp_path / "model")) is Own
    assert register_ranker(Own) is Own  # a module that is read twice
    with pytest.raises(ConfigError, match="no ranker 'own_popularty'; did you mean 'own_popularity'"):
        ranker_class("own_popularty")


def test_a_class_defined_again_takes_the_place_of_the_first_as_when_a_cell_is_run_again() -> None:
    first, again = (type("Own", (GlobalPopularity,), {"name": "own_popularity"}) for _ in range(2))
    register_ranker(first)
    assert register_ranker(again) is again
    assert ranker_class("own_popularity") is again


@pytest.mark.parametrize("taken", ["covisit", "title_vectors", "own_popularity"])
def test_a_taken_name_is_one_line(taken: str) -> None:
    register_ranker(type("Own", (GlobalPopularity,), {"name": "own_popularity"}))
    other = type("Other", (GlobalPopularity,), {"name": taken})
    with pytest.raises(ConfigError, match=rf"Other: there is a ranker '{taken}' already; name it otherwise"):
        register_ranker(other)
