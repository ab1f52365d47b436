"""What ``llmrec reproduce`` is asked for, in a module that loads nothing: help need not wait for measuring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llmrec.paper.reproduction.recipe import FOLDER
from llmrec.paper.reproduction.records import RECORDED
from llmrec.settings import option

__all__ = ["ReproduceJob"]


@dataclass(frozen=True, kw_only=True)
class ReproduceJob:
    """What to measure, and where to keep what."""

    tables: Sequence[str] = option(
        (),
        "table1 … table12, figure2 … figure5, all; ours: public, industrial, minionerec …; or a .yaml file.",
        argument=True,
        metavar="TABLE...",
    )
    data: Path | None = option(None, "Store, or folder of public files. Default: show the paper's values only.")
    out: Path | None = option(
        None, "Folder for runs, models, records and pages. Default: runs/reproduce-DATA.", output="place"
    )
    resume: bool = option(False, "Keep what has finished there, and continue.")
    only: Sequence[str] = option((), "Measure one cell: ROW or ROW/COLUMN, with * and ?. Can be repeated.")
    protocols: Sequence[str] = option((), "Use only this protocol. Can be repeated.", flag="--protocol")
    launch: Path | None = option(None, "Configuration of accelerate for trainings, such as one of accelerate_configs/.")
    recorded: Path | None = option(None, "Earlier measurements to compare with. Default: those of the package.")
    record: bool = option(False, "Add the new measurements to these.")
    recipes: Path = FOLDER

    @property
    def records(self) -> Path:
        """Folder of earlier measurements."""
        return self.recorded or RECORDED

    @property
    def folder(self) -> Path:
        """Output folder."""
        name = self.data.resolve().name if self.data else "nothing"
        return self.out or Path("runs") / f"reproduce-{name}"
