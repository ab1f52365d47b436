"""What ``llmrec rank`` and ``tune`` are asked for, in a module that loads nothing: help need not wait for rankers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from llmrec.errors import ConfigError
from llmrec.settings import option

__all__ = ["NoSettings", "RankJob", "Seen", "TuneJob", "check_k"]

Seen = Literal["drop", "keep"]


def check_k(k: int) -> None:
    """Refuse a list of no item.

    Raises:
        ConfigError: ``k`` is below 1.
    """
    if k < 1:
        raise ConfigError(f"k must be at least 1; got {k}")


@dataclass(frozen=True)
class NoSettings:
    """Settings of a ranker that has none."""


@dataclass(frozen=True, kw_only=True)
class RankJob:
    """What to learn from, what to rank for, and what to keep."""

    HELP_PANELS: ClassVar[Mapping[str, str]] = {
        "Input": "train sessions products load pretrain limit",
        "Output": "out k seen save",
        "Learning": "recipe settings seed transductive per_locale allow_overlap",
        "Spark": "engine master",
        "Long trainings": "checkpoints resume log_to",
    }

    ranker: str = option(
        ..., "Ranker: popularity, covisit, gru4rec, fusion … Any other name lists them all.", argument=True
    )
    train: Sequence[Path] = option(
        (), "Sessions to learn from: CSV or Parquet, with or without next_item. Several files can follow.", several=True
    )
    sessions: Path | None = option(None, "Sessions to rank: CSV or Parquet.")
    out: Path | None = option(None, "Run to write (Parquet).", output="run")
    products: Path | None = option(None, "Products. Lists then hold only what the session's locale sells.")
    k: int = option(100, "Length of a list.", minimum=1)
    seen: Seen | None = option(
        None, "Drop or keep the session's own items. Default: drop, or what fusion decided when it was fitted."
    )
    transductive: bool = option(
        False,
        "Learn from the sessions to predict as well, without their targets. The run says so.",
        flag="--transductive/--inductive",
    )
    save: Path | None = option(None, "Save the fitted ranker in this folder.", output="folder")
    load: Path | None = option(None, "Use this saved ranker. With --train it continues to learn.")
    recipe: str | None = option(None, "Recipe, by name or file. Default: the ranker's own.")
    seed: int | None = option(None, "Random seed. Default: the recipe's, or 0.", minimum=0)
    pretrain: Sequence[Path] = option(
        (), "Sessions to learn from before --train (Task 2 of the paper). Several files can follow.", several=True
    )
    per_locale: bool = option(False, "Fit one ranker for each locale, or one for all.", flag="--per-locale/--joint")
    engine: Literal["duckdb", "spark"] | None = option(
        None, "Where to count, and with --load where to rank: in this process, or on a Spark cluster."
    )
    master: str | None = option(
        None, "Spark master: spark://HOST:7077, yarn … Default: what spark-submit says, or this machine."
    )
    settings: Mapping[str, Any] = option({}, "Change one setting, as name=value. Can be repeated.", flag="--set")
    checkpoints: Path | None = option(None, "Folder for checkpoints and logs.", output="place")
    resume: bool = option(False, "Continue an interrupted training.")
    log_to: str | None = option(
        None,
        "Experiment trackers, comma-separated: tensorboard (default with checkpoints), wandb, mlflow, trackio, none.",
    )
    limit: int | None = option(None, "Use only the first sessions. The run is marked partial.", minimum=1)
    allow_overlap: bool = option(
        False, "Allow training sessions that repeat a session to predict with its target. The run says so."
    )


@dataclass(frozen=True, kw_only=True)
class TuneJob:
    """What ``llmrec tune`` is asked for.

    An interrupted search continues: give the same command again.

    Example: llmrec tune gru4rec --train train.parquet --recipe gru4rec_stock --out runs/gru4rec_tuned.yaml
    """

    HELP_PANELS: ClassVar[Mapping[str, str]] = {
        "Input": "train bare products",
        "Output": "out storage",
        "Search": "space recipe settings trials validation_share seed",
        "Learning": "transductive allow_overlap log_to",
    }

    ranker: str = option(..., "Ranker to tune.", argument=True)
    train: Sequence[Path] = option(
        ..., "Sessions with next_item. Part of them is used for validation. Several files can follow.", several=True
    )
    out: Path = option(..., "Recipe to write (.yaml).")
    bare: Sequence[Path] = option((), "More sessions to learn from, never used for validation.", several=True)
    products: Path | None = option(None, "Products.")
    space: str | None = option(None, "Search space, by name or file. Default: the paper's (Appendix A).")
    recipe: str | None = option(None, "Recipe for the settings that are not searched.")
    settings: Mapping[str, Any] = option({}, "Fix one setting, as name=value. Can be repeated.", flag="--set")
    trials: int = option(20, "Number of trials, including those of an interrupted search.")
    log_to: str | None = option(None, "Experiment trackers of the trials, comma-separated: wandb, mlflow, trackio.")
    storage: Path | None = option(None, "Folder of the search. Default: OUT.search.")
    validation_share: float = option(0.1, "Share of the sessions to use for validation.", below=1)
    transductive: bool = option(
        False, "Learn from the validation sessions as well, without their targets.", flag="--transductive/--inductive"
    )
    seed: int = option(0, "Random seed for the validation sessions and the trials.", minimum=0)
    allow_overlap: bool = option(False, "Allow training sessions that repeat a validation session with its target.")
