"""A decision that fusion took, and why; how several are told and taken back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from llmrec.evaluation.bootstrap import Interval
from llmrec.evaluation.differences import difference_of
from llmrec.rankers.fusion.settings import FusionSettings

__all__ = ["Decision", "decided", "gain", "undecided", "with_gain"]


class Decision(msgspec.Struct, frozen=True):
    """A setting that was ``auto``.

    Attributes:
        setting: Its name.
        value: What it became.
        why: The figures behind it, in words.
    """

    setting: str
    value: bool | float | str | list[str]
    why: str

    def told(self) -> str:
        """It in a line."""
        value = msgspec.json.encode(self.value).decode().replace('"', "")
        return f"{self.setting}={value}: {self.why}"


def decided(settings: FusionSettings, decisions: Iterable[Decision]) -> FusionSettings:
    """Settings as they were decided."""
    values: dict[str, Any] = {
        one.setting: tuple(one.value) if isinstance(one.value, list) else one.value for one in decisions
    }
    return replace(settings, **values)


def undecided(settings: FusionSettings, decisions: Sequence[Decision]) -> FusionSettings:
    """Settings as they were before: `decided` taken back."""
    taken: dict[str, Any] = {one.setting: "auto" for one in decisions}
    return replace(settings, **taken)


def gain(ours: NDArray[np.float64], theirs: NDArray[np.float64], seed: int) -> Interval:
    """Mean of what each of the same ``S`` sessions gains, with its paired interval; nothing of no sessions."""
    return difference_of(ours, theirs, seed=seed) if len(ours) else Interval(0.0, 0.0, 0.0, 0)


def with_gain(interval: Interval, sessions: int) -> str:
    """A gain in words."""
    low, high = interval.low, interval.high
    return f"{interval.difference:+.4f} [{low:+.4f}, {high:+.4f}] MRR@100 on {sessions:,} sessions out of fold"
