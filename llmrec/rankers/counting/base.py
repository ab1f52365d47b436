"""What the rankers that count have in common: they learn from sessions alone, on the engine of their settings."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, Self, TypeVar

import ibis.expr.types as ir
import pyarrow as pa

from llmrec.arrays import Ints
from llmrec.rankers.base import Ranker
from llmrec.rankers.counting.counts import events_of
from llmrec.rankers.counting.engine import counted
from llmrec.rankers.sessions import CodedSessions
from llmrec.vocabulary import UNKNOWN

__all__ = ["CountingRanker", "later_sessions"]


class _CountingSettings(Protocol):
    @property
    def engine(self) -> Literal["duckdb", "spark"]: ...


SettingsT = TypeVar("SettingsT", bound=_CountingSettings)


class CountingRanker(Ranker[SettingsT], Generic[SettingsT]):
    """A ranker that runs one expression over the training sessions and keeps what it gives in flat arrays."""

    def _fit(self, training: CodedSessions, products: Any, folder: Path | None, resume: bool) -> None:  # noqa: ARG002
        self._count(training)

    @abstractmethod
    def _count(self, training: CodedSessions) -> None:
        """Learn from training sessions; the catalogue has seen to the products."""

    def _take_in(self, earlier: Self, training: CodedSessions, start: int, places: Ints, products: Any) -> None:
        """Add what later sessions count to what is counted, where that was kept; else count all."""
        if (places == UNKNOWN).any() or not self._count_touched(earlier, training, start, places):
            super()._take_in(earlier, training, start, places, products)

    def _count_touched(self, earlier: Self, training: CodedSessions, start: int, places: Ints) -> bool:
        """As `_count`, of sessions of which ``earlier`` counted those before ``start``; whether it can.

        ``places`` are the new codes ``(N,)`` of the earlier one's items, rising.
        """
        del earlier, training, start, places
        return False

    def _counted(self, training: CodedSessions, expression: Callable[[ir.Table], ir.Table]) -> pa.Table:
        """What an expression over the events of training sessions gives."""
        return counted(self.settings.engine, events_of(training), expression)


def later_sessions(training: CodedSessions, start: int) -> tuple[CodedSessions, float]:
    """The sessions from ``start`` on; and how much those before them count of what they did, when they were last."""
    part = 1.0 if training.weights is None or not start else float(training.weights[start - 1])
    return replace(training.slice(start, len(training) - start), weights=None), part
