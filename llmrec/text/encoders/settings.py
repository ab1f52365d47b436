"""What ``llmrec embed`` and ``embed train`` are asked for, in a module that loads nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from llmrec.settings import option

__all__ = ["EmbedJob", "Precision", "TrainEncoderJob"]

Precision = Literal["auto", "fp32", "bf16", "int8"]


@dataclass(frozen=True, kw_only=True)
class EmbedJob:
    """What to encode, with what."""

    products: Path = option(..., "Products: Parquet, or CSV in the official form.", argument=True)
    out: Path = option(..., "Folder for vectors, keys, encoder and manifest.", output="folder")
    encoder: str = option("tfidf-svd", "tfidf-svd, a folder (of `embed train`, too), or a hub name.")
    template: str = option("title", "What of a product is read: title, brand, attributes, a file.")
    dim: int | None = option(None, "Width of the vectors; the encoder's own if not given.", maximum=65_536)
    precision: Precision = option("auto", "Numbers that sentence-transformers models reckon with.")
    batch_size: int = option(32, "Texts such a model reads at once.", minimum=1, maximum=1_000_000)
    seed: int = option(0, "Of what tfidf-svd draws.", minimum=0)


@dataclass(frozen=True, kw_only=True)
class TrainEncoderJob:
    """What ``llmrec embed train`` is asked for.

    Example: llmrec embed train --train train.parquet --products products.parquet --out models/encoder
    """

    train: Sequence[Path] = option(..., "Sessions, labelled or bare; several files may follow.", several=True)
    products: Path = option(..., "Products: Parquet, or CSV in the official form.")
    out: Path = option(..., "Folder for the encoder, which `--encoder` of `llmrec embed` takes.", output="folder")
    recipe: str | None = option(None, "encoder_static, encoder_finetune, or a file.")
    base: str | None = option(None, "static, or a sentence-transformers model to fine-tune.")
    lora_rank: int | None = option(None, "Rank of LoRA, for large models.", maximum=65_536)
    seed: int | None = option(None, "Draws validation sessions, order and initial weights.", minimum=0)
    settings: Mapping[str, Any] = option({}, "A setting of the recipe, as name=value; may be repeated.", flag="--set")
    checkpoints: Path | None = option(None, "Folder for checkpoints; OUT.training if not given.", output="place")
    resume: bool = option(False, "Go on from what a killed training left there.")
    overwrite: bool = option(False, "Throw away an unfinished training.")
    log_to: str | None = option(
        None, "tensorboard (in the checkpoints; the default there), wandb, mlflow, trackio, none; by commas."
    )
    sessions: Path | None = option(None, "Sessions to rank with it later: --train must not repeat them.")
    allow_overlap: bool = option(False, "Let training rows repeat a session with its label.")

    @property
    def changes(self) -> dict[str, Any]:
        """Settings that win over the recipe's."""
        named = {"base": self.base, "lora_rank": self.lora_rank, "seed": self.seed, "log_to": self.log_to}
        return {**self.settings, **{name: value for name, value in named.items() if value is not None}}
