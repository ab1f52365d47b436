"""A ranker that says no more than how it learns and how it scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmrec.errors import ConfigError
from llmrec.rankers.base import NoSettings, Ranker
from llmrec.rankers.registry import register_ranker
from llmrec.testing import RankerContract
from llmrec.testing.ranker_contract import training_sessions


@register_ranker
class Last(Ranker[NoSettings]):
    """Items by where they were last in training."""

    name = "last_of_all"

    def _fit(self, training: Any, products: Any, folder: Any, resume: Any) -> None:
        self.last = np.full(len(self.catalogue.vocabulary), -1.0)
        np.maximum.at(self.last, training.items, np.arange(len(training.items)))

    def _rank_coded(self, sessions: Any, k: int, seen: Any) -> Any:
        return self._best_of(np.broadcast_to(self.last, (len(sessions), len(self.last))), sessions, k, seen)


class TestLast(RankerContract):
    ranker = Last
    settings = NoSettings()


def test_what_is_no_array_is_told_when_it_is_saved(tmp_path: Path) -> None:
    ranker = Last(NoSettings()).fit(training_sessions())
    ranker.names = ["a"]  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"Last\.names is no array of numbers; write _state and _restore"):
        ranker.save(tmp_path / "ranker")
    assert not (tmp_path / "ranker").exists()


@pytest.mark.parametrize("name", ["settings", "rank", "__class__"])
def test_a_file_cannot_replace_what_a_ranker_is(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is no array that a ranker learns"):
        Last(NoSettings())._restore({name: np.zeros(3)})
