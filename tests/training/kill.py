"""A process that dies within a training, whatever is trained."""

from __future__ import annotations

from typing import Any

import pytest

from llmrec.training import loop


class KilledError(Exception):
    """Stands for the end of the process."""


def kill_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a training die before its optimizer step ``step``, from 0."""
    undisturbed = loop._step

    def dies(run: Any, *given: Any) -> float:
        if run.progress.step == step:
            raise KilledError
        return undisturbed(run, *given)

    monkeypatch.setattr(loop, "_step", dies)
