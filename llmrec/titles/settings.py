"""Settings of title generation: flags of ``scripts/gen.py``, and keys of its recipes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from llmrec.settings import Decides, RecipeKind, option

__all__ = ["GenerateConfig", "SweepJob"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerateConfig:
    """Settings of `llmrec.titles.generate_titles`: each a flag of ``scripts/gen.py`` and a key of its recipes.

    It scores them beside the last title. Without --data, --recipe and --model it runs the demo recipe: synthetic
    data, a tiny mT5.

    Example: llmrec generate --data stores/m2 --model runs/mt5_small_k3/model --split test_task3_phase2

    Example: accelerate launch --config_file accelerate_configs/zero2.yaml scripts/gen.py --data stores/m2 --recipe
    mt5_small_k3
    """

    HELP_PANELS: ClassVar[Mapping[str, str]] = {
        "Input": "data synthetic split limit model",
        "Output": "out output_dir select report resume overwrite",
        "Prompt": "k prompt max_source_tokens max_target_tokens chat",
        "Base model": "recipe base_model trim_vocabulary tiny_width tiny_layers tiny_vocab",
        "LoRA and memory": "lora_rank lora_alpha lora_dropout lora_targets quantize pack gradient_checkpointing",
        "Training": (
            "seed allow_overlap train_sample validation_sample epochs max_steps max_minutes batch_size "
            "micro_batch_size learning_rate weight_decay schedule warmup_steps max_grad_norm eval_every "
            "checkpoint_every best_by log_to"
        ),
        "On a cluster": "engine master",
        "Writing titles": "num_beams generate_batch_size backend decode_precision constrain items restore_forms",
    }

    DECIDES: ClassVar[Decides] = "weights"
    RECIPE_KIND: ClassVar[RecipeKind] = "titles"

    data: Path | None = option(
        None, "Store that `llmrec data import` wrote. Default: built-in synthetic data.", decides=None
    )
    recipe: str | None = option(None, "Recipe, by name or file. Default: demo, unless --model is given.", decides=None)
    synthetic: Literal["tiny", "small", "full"] = option(
        "tiny", "Size of the built-in data, where --data is not given.", decides=None
    )
    engine: Literal["spark"] | None = option(
        None, "Work on a Spark cluster's executors instead: places are URIs.", decides=None
    )
    master: str | None = option(
        None, "Spark master: spark://HOST:7077, yarn … Default: what spark-submit says, or this machine.", decides=None
    )
    k: int | None = option(
        None, "K: number of most recent titles in the prompt (paper §4.3). Default: the model's own, or 1.", minimum=1
    )
    prompt: str | None = option(
        None, "Prompt, by name (`llmrec prompts list`) or file. Default: the model's own, or plain."
    )
    split: str = option("validation", "Split to write titles for: validation, test, test_task3_phase2 …", decides=None)
    limit: int | None = option(None, "Use only the first sessions. The run is marked partial.", minimum=1, decides=None)
    out: Path | None = option(
        None, "Run to write (Parquet). Default: titles_SPLIT.parquet in --output-dir.", decides=None, output="run"
    )
    output_dir: Path | None = option(
        None, "Folder for model, checkpoints, logs and run. Default: a new one in runs/.", decides=None
    )
    select: bool = option(
        False, "Afterwards choose the best of written and existing titles (`llmrec select`).", decides=None
    )
    report: bool = option(False, "Write report.html with tables and plots to the output folder.", decides=None)
    model: str | None = option(
        None, "Trained model, by folder or hub name. It writes at once, without training.", decides=None
    )
    resume: bool = option(False, "Continue an interrupted training in the output folder.", decides=None)
    overwrite: bool = option(
        False, "Discard an unfinished training, or titles of a killed run, in the output folder.", decides=None
    )
    allow_overlap: bool = option(
        False,
        "Allow training sessions that repeat a session to predict with its target. The run says so.",
        decides=None,
    )
    seed: int = option(0, "Random seed of initial weights, order and dropout.", minimum=0)

    base_model: str = option(
        "tiny",
        "Model to fine-tune: hub name, folder, tiny (a small mT5 from scratch) or edit (edits the last titles).",
    )
    trim_vocabulary: bool = option(False, "Fine-tune with only the tokens of the store's titles; see `llmrec trim`.")
    tiny_width: int = option(128, "Width of the tiny model.", minimum=8, maximum=16_384)
    tiny_layers: int = option(2, "Encoder and decoder layers of the tiny model.", minimum=1, maximum=256)
    tiny_vocab: int = option(
        4000, "Vocabulary of the tiny model, learnt from training titles.", minimum=300, maximum=1_000_000
    )
    lora_rank: int | None = option(
        None,
        "Train LoRA adapters of this rank instead of all weights (pip install 'llmrec[lora]').",
        minimum=1,
        maximum=65_536,
    )
    lora_alpha: float | None = option(None, "LoRA alpha. Default: twice the rank.", above=0, maximum=10_000)
    lora_dropout: float = option(0.0, "LoRA dropout.", minimum=0, below=1)
    lora_targets: str = option("all-linear", "Layers with an adapter, by the end of their names: q_proj,v_proj …")
    quantize: Literal["none", "4bit"] = option("none", "Hold the base model in 4 bits (QLoRA, bitsandbytes).")
    chat: bool = option(False, "Causal models: write the prompt as a turn of the model's chat template.")
    pack: bool = option(False, "Causal models: pack several sessions into one row, without padding.")
    gradient_checkpointing: bool = option(
        False, "Recompute activations in the backward pass. Saves memory, takes time.", decides=None
    )
    train_sample: int | None = option(None, "Train on this many sessions, drawn from all locales.", minimum=1)
    validation_sample: int | None = option(2000, "Validation sessions to score during training.", minimum=1)
    max_source_tokens: int | None = option(
        None,
        "Longest prompt, in tokens. Older titles are cut first. Default: the model's own, or 256.",
        minimum=4,
        maximum=131_072,
    )
    max_target_tokens: int | None = option(
        None, "Longest title, in tokens. Default: the model's own, or 96.", minimum=2, maximum=65_536
    )
    epochs: float = option(10.0, "Passes over the training sessions (paper: 10).", above=0, maximum=100_000)
    max_steps: int | None = option(None, "Stop after this many optimizer steps.", minimum=1)
    max_minutes: float | None = option(None, "Stop training after so many minutes.", above=0)
    batch_size: int = option(
        12, "Sessions per optimizer step, over all devices (paper: 12).", minimum=1, maximum=1_000_000
    )
    micro_batch_size: int | None = option(
        None, "Most sessions on one device at once. The rest is accumulated.", minimum=1, decides=None
    )
    learning_rate: float = option(2e-4, "Peak learning rate (paper: 2e-5 or 2e-4).", above=0, maximum=1_000)
    weight_decay: float = option(0.0, "Weight decay of AdamW (paper: 0 or 1e-8).", minimum=0, maximum=1_000)
    schedule: Literal["linear", "cosine", "constant"] = option("linear", "Learning rate schedule after warm-up.")
    warmup_steps: int = option(0, "Steps to reach the peak learning rate.", minimum=0)
    max_grad_norm: float = option(1.0, "Clip the gradient to this norm.", above=0)
    eval_every: int | None = option(None, "Steps between validations. Default: once per epoch.", minimum=1)
    checkpoint_every: int = option(500, "Steps between checkpoints for --resume.", minimum=1, decides=None)
    best_by: Literal["loss", "bleu"] = option("loss", "Validation score that picks the best checkpoint.")
    log_to: str = option(
        "tensorboard",
        "Experiment trackers, comma-separated: tensorboard (in the output folder), wandb, mlflow, trackio, none.",
        decides=None,
    )

    num_beams: int = option(
        1, "Beams of the search. 1 is greedy (paper: 1 or 5).", minimum=1, decides="validation", maximum=1_000
    )
    generate_batch_size: int = option(64, "Sessions to decode at once.", minimum=1, decides="titles", maximum=1_000_000)
    backend: Literal["transformers", "ctranslate2"] = option(
        "transformers", "Decoder: transformers, or ctranslate2 (faster; pip install 'llmrec[fast]').", decides="titles"
    )
    decode_precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = option(
        "auto",
        "Precision of decoding. auto: int8 on a CPU and bf16 on a GPU with ctranslate2.",
        decides="titles",
    )
    constrain: Literal["none", "catalogue"] = option(
        "none", "Write only titles of products that the session's locale sells (catalogue).", decides="titles"
    )
    items: Path | None = option(
        None,
        "With --constrain catalogue: also write the products of all beams as a run of ranked lists.",
        decides=None,
        output="run",
    )

    restore_forms: bool = option(
        False, "Give written titles the full-width and other forms that their sessions' titles have.", decides=None
    )

    @property
    def weights_by(self) -> tuple[Decides, ...]:
        """What a setting must decide to decide the weights: to choose by BLEU, titles of validation are written."""
        return ("weights", "validation") if self.best_by == "bleu" else ("weights",)

    @staticmethod
    def default_recipe(flags: Mapping[str, Any]) -> str | None:
        """Recipe where none is named: ``demo``, unless the flags name a model to use or to fine-tune."""
        return None if flags.get("model") or flags.get("base_model") else "demo"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepJob:
    """What ``llmrec sweep`` is asked for.

    An interrupted sweep continues: give the same command again.

    Example: llmrec sweep mt5_small_k1 --data stores/m2 --out runs/mt5_small_k1-sweep
    """

    recipe: str = option(..., "Recipe of `llmrec generate`, by name or file.", argument=True)
    data: Path = option(..., "Store that `llmrec data import` wrote.")
    out: Path = option(..., "Folder of the sweep, with a folder for each training.", output="place")
    grid: str = option("mt5", "Grid, by name or file: settings, and the values to try.")
    settings: Mapping[str, Any] = option({}, "Fix one setting, as name=value. Can be repeated.", flag="--set")
    hardware: Path | None = option(None, "File of accelerate_configs/. Default: one process.")
    log_to: str | None = option(None, "Experiment trackers of every training; see `llmrec generate --log-to`.")
