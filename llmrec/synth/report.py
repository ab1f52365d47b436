"""The report of a synthetic data set: each figure beside the paper's, as a table and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from llmrec.console import Table, table
from llmrec.output import write_text
from llmrec.synth.measure import Figure

__all__ = ["REPORT", "render_report", "write_report"]

REPORT: Final = "synth_report.json"


def render_report(figures: Sequence[Figure]) -> Table:
    """Render the figures; ``off`` marks one outside its bounds."""
    off = sum(not figure.ok for figure in figures)
    title = f"{len(figures)} figures, {off} off" if off else f"{len(figures)} figures, all as they should be"
    rows = (
        (
            figure.name,
            _number(figure.measured),
            "" if figure.paper is None else _number(figure.paper),
            f"{_number(figure.low)} to {_number(figure.high)}",
            "ok" if figure.ok else "off",
            figure.source,
        )
        for figure in figures
    )
    return table(title, ("figure", "measured", "paper", "accepted", "", "source"), rows)


def write_report(figures: Sequence[Figure], out: Path) -> Path:
    """Write the figures to ``synth_report.json`` in the folder ``out``; a figure that has no value is null.

    Raises:
        DiskError: the file cannot be written.
    """
    rows = [
        {
            "name": figure.name,
            "measured": figure.measured if math.isfinite(figure.measured) else None,
            "paper": figure.paper,
            "low": figure.low,
            "high": figure.high,
            "ok": figure.ok,
            "source": figure.source,
        }
        for figure in figures
    ]
    write_text(out / REPORT, json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    return out / REPORT


def _number(value: float) -> str:
    if value == int(value) if math.isfinite(value) else False:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.2f}"
