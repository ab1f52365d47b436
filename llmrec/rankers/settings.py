"""What ``llmrec rank`` is asked for, in a module that loads nothing: its help need not wait for rankers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from llmrec.settings import option

__all__ = ["RankJob", "Seen"]

Seen = Literal["drop", "keep"]


@dataclass(frozen=True, kw_only=True)
class RankJob:
    """What to learn from, what to rank for, and what to keep."""

    ranker: str = option(..., "popularity, covisit, gru4rec … (an unknown name lists them all).", argument=True)
    train: Sequence[Path] = option(
        (), "Sessions to learn from, labelled or bare; several files may follow.", several=True
    )
    sessions: Path | None = option(None, "Sessions to rank for: Parquet or CSV.")
    out: Path | None = option(None, "Run to write (Parquet).", output="run")
    products: Path | None = option(None, "Products: lists hold what the locale sells.")
    k: int = option(100, "Most items of a list.", minimum=1)
    seen: Seen = option("drop", "The session's own items in its list.")
    transductive: bool = option(False, "Learn from the sessions' own prefixes too.", flag="--transductive/--inductive")
    save: Path | None = option(None, "Keep the ranker in this folder.", output="folder")
    load: Path | None = option(None, "A kept ranker; with --train it goes on learning.")
    recipe: str | None = option(None, "Recipe by name or file; RANKER's own if not given.")
    seed: int | None = option(None, "Seed of a ranker that draws; the recipe's, or 0.", minimum=0)
    pretrain: Sequence[Path] = option(
        (), "Sessions to learn from before --train (Task 2); several files.", several=True
    )
    per_locale: bool = option(False, "One ranker a locale, or one.", flag="--per-locale/--joint")
    engine: Literal["duckdb", "spark"] | None = option(None, "Where the counting runs.")
    settings: Mapping[str, Any] = option({}, "A setting of the recipe, as name=value; may be repeated.", flag="--set")
    checkpoints: Path | None = option(None, "Folder for checkpoints and logs.", output="place")
    resume: bool = option(False, "Go on from what a killed training left there.")
    log_to: str | None = option(
        None, "tensorboard (in the checkpoints; the default there), wandb, mlflow, trackio, none; by commas."
    )
    limit: int | None = option(None, "Only the first sessions; the run is stamped partial.", minimum=1)
    allow_overlap: bool = option(False, "Let training rows repeat a session with its label; the run says so.")
