"""What ``llmrec demo`` is asked for, in a module that loads nothing: help need not wait for models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llmrec.settings import option

__all__ = ["DemoJob"]


@dataclass(frozen=True, kw_only=True)
class DemoJob:
    """Where the demo goes; a demo that was stopped goes on with what is there.

    An interrupted demo continues where it stopped.

    Example: llmrec demo
    """

    out: Path = option(Path("runs/demo"), "Folder for data, runs, results and the page.", output="place")
    size: str = option("tiny", "Size of the made-up data: tiny or small.")
    steps: int = option(400, "Training steps of the tiny mT5, which ends after 90 s.", minimum=1, maximum=1_000_000)
    seed: int = option(0, "Random seed.", minimum=0)
