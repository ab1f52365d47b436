"""What ``llmrec stats`` is asked for, in a module that loads nothing: help need not wait for counting."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llmrec.settings import option

__all__ = ["StatisticsJob"]


@dataclass(frozen=True, kw_only=True)
class StatisticsJob:
    """What ``llmrec stats`` is asked for.

    Example: llmrec stats stores/m2 --out runs/stats
    """

    data: Path = option(..., "Store, folder of raw files, or sessions file.", argument=True, metavar="STORE")
    out: Path | None = option(None, "Folder for report.html, and each figure as CSV, PNG and SVG.", output="place")
    split: str | None = option(None, "Split for the figures. Default: training sessions, or all if there are none.")
    sknn_sample: int = option(10_000, "Sessions to score for Figure 2f. 0 leaves it out.", minimum=0)
    seed: int = option(0, "Random seed for drawing them.", minimum=0)
    engine: Literal["duckdb", "spark"] | None = option(
        None, "Where to count: in this process, or on a Spark cluster, where STORE is a URI."
    )
    master: str | None = option(
        None, "Spark master: spark://HOST:7077, yarn … Default: what spark-submit says, or this machine."
    )
