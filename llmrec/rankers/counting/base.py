"""What the rankers that count have in common: they learn from sessions alone, on the engine of their settings."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

import ibis.expr.types as ir
import pyarrow as pa

from llmrec.rankers.base import Ranker
from llmrec.rankers.counting.counts import events_of
from llmrec.rankers.counting.engine import counted
from llmrec.rankers.sessions import CodedSessions

__all__ = ["CountingRanker"]


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

    def _counted(self, training: CodedSessions, expression: Callable[[ir.Table], ir.Table]) -> pa.Table:
        """What an expression over the events of training sessions gives."""
        return counted(self.settings.engine, events_of(training), expression)
