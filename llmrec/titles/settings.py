"""Settings of title generation: flags of ``scripts/gen.py``, and keys of its recipes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from llmrec.settings import Decides, RecipeKind, option

__all__ = ["GenerateConfig"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerateConfig:
    """Settings of `llmrec.titles.generate_titles`: each a flag of ``scripts/gen.py`` and a key of its recipes.

    What decides the weights or the titles by what it comes to (the store of ``data``, the sessions of ``split``, the
    files of ``model``) is compared as such by `llmrec.titles.writer`. With nothing but ``--k`` it is the `demo` recipe:
    built-in synthetic data and a tiny mT5 trained from scratch. On several devices: accelerate launch scripts/gen.py.

    Example: llmrec generate --data stores/m2 --model runs/mt5_small_k3/model --split test_task3_phase2

    Example: accelerate launch --config_file accelerate_configs/zero2.yaml scripts/gen.py --data stores/m2 --recipe
    mt5_small_k3
    """

    DECIDES: ClassVar[Decides] = "weights"
    RECIPE_KIND: ClassVar[RecipeKind] = "titles"

    data: Path | None = option(
        None, "Store made by `llmrec data import`; without it the built-in synthetic data.", decides=None
    )
    recipe: str | None = option(
        None, "Recipe by name or path; `demo` where neither a recipe nor a model is named.", decides=None
    )
    synthetic: Literal["tiny", "small", "full"] = option(
        "tiny", "Size of the built-in data, used without --data.", decides=None
    )
    k: int | None = option(
        None, "Number of most recent titles that the prompt holds (paper §4.3); the model's own, or 1.", minimum=1
    )
    prompt: str | None = option(None, "Prompt by name (`llmrec prompts list`) or file; the model's own, or `plain`.")
    split: str = option("validation", "Split to write titles for: validation, test, test_task3_phase2 …", decides=None)
    limit: int | None = option(
        None, "Only the first sessions of the split; the run is stamped partial.", minimum=1, decides=None
    )
    out: Path | None = option(
        None, "Run file (Parquet); titles_SPLIT.parquet in the output folder if not given.", decides=None, output="run"
    )
    output_dir: Path | None = option(
        None, "Folder for model, checkpoints, logs and run; under runs/ if not given.", decides=None
    )
    select: bool = option(
        False, "Then choose among written titles, the session's and likely products' (llmrec select).", decides=None
    )
    report: bool = option(False, "Write report.html with tables and plots into the output folder.", decides=None)
    model: str | None = option(
        None, "Folder or hub name of a trained model: generates at once, no training.", decides=None
    )
    resume: bool = option(False, "Go on with what a killed run left in the output folder.", decides=None)
    overwrite: bool = option(
        False, "Throw away an unfinished training in the output folder and start over.", decides=None
    )
    allow_overlap: bool = option(
        False, "Let training rows repeat a session of the split with its label; the run says so.", decides=None
    )
    seed: int = option(0, "Seed of initial weights, order and dropout.", minimum=0)

    base_model: str = option("tiny", "Model to fine-tune: hub name, folder, or `tiny` for a small mT5 from scratch.")
    trim_vocabulary: bool = option(False, "Fine-tune with the tokens of the store's titles alone; see `llmrec trim`.")
    tiny_width: int = option(128, "Width of the `tiny` model.", minimum=8, maximum=16_384)
    tiny_layers: int = option(2, "Encoder and decoder layers of the `tiny` model.", minimum=1, maximum=256)
    tiny_vocab: int = option(
        4000, "Vocabulary of the `tiny` model, learnt from the training titles.", minimum=300, maximum=1_000_000
    )
    lora_rank: int | None = option(
        None,
        "Train low-rank adapters of this rank, not the weights themselves (pip install 'llmrec[lora]').",
        minimum=1,
        maximum=65_536,
    )
    lora_alpha: float | None = option(
        None, "Scale of the adapters, over their rank; twice the rank.", above=0, maximum=10_000
    )
    lora_dropout: float = option(0.0, "Share of an adapter's inputs left out while training.", minimum=0, below=1)
    lora_targets: str = option("all-linear", "Layers with an adapter, by the end of their names: q_proj,v_proj …")
    quantize: Literal["none", "4bit"] = option("none", "Hold the base's weights in 4 bits (QLoRA, bitsandbytes).")
    chat: bool = option(False, "Causal models: write the prompt as one turn of the model's chat template.")
    pack: bool = option(False, "Causal models: train on sessions one behind the other in one row, without padding.")
    gradient_checkpointing: bool = option(
        False, "Compute activations again in the backward pass: less memory.", decides=None
    )
    train_sample: int | None = option(None, "Train on so many sessions, drawn from all locales.", minimum=1)
    validation_sample: int | None = option(2000, "Validation sessions scored while training.", minimum=1)
    max_source_tokens: int | None = option(
        None,
        "Prompt length; the oldest titles go first, the last one stays; the model's own, or 256.",
        minimum=4,
        maximum=131_072,
    )
    max_target_tokens: int | None = option(
        None, "Title length, learnt and written; the model's own, or 96.", minimum=2, maximum=65_536
    )
    epochs: float = option(10.0, "Passes over the training sessions (paper: 10).", above=0, maximum=100_000)
    max_steps: int | None = option(None, "Stop after so many optimizer steps.", minimum=1)
    batch_size: int = option(
        12, "Sessions per optimizer step, over all devices (paper: 12).", minimum=1, maximum=1_000_000
    )
    micro_batch_size: int | None = option(
        None, "Most sessions on one device at once; the rest accumulates.", minimum=1, decides=None
    )
    learning_rate: float = option(2e-4, "Peak learning rate (paper: 2e-5 or 2e-4).", above=0, maximum=1_000)
    weight_decay: float = option(0.0, "AdamW weight decay (paper: 0 or 1e-8).", minimum=0, maximum=1_000)
    schedule: Literal["linear", "cosine", "constant"] = option("linear", "Course of the learning rate after warm-up.")
    warmup_steps: int = option(0, "Steps to reach the peak learning rate.", minimum=0)
    max_grad_norm: float = option(1.0, "Clip the gradient to this norm.", above=0)
    eval_every: int | None = option(None, "Steps between validations; once an epoch if not given.", minimum=1)
    checkpoint_every: int = option(
        500, "Steps between checkpoints that --resume goes on from.", minimum=1, decides=None
    )
    best_by: Literal["loss", "bleu"] = option("loss", "What the best checkpoint is chosen by, on validation.")
    log_to: str = option(
        "tensorboard",
        "Trackers, with commas between: tensorboard (in the output folder), wandb, mlflow, trackio; none.",
        decides=None,
    )

    num_beams: int = option(1, "Beams; 1 is greedy (paper: 1 or 5).", minimum=1, decides="validation", maximum=1_000)
    generate_batch_size: int = option(64, "Sessions decoded at once.", minimum=1, decides="titles", maximum=1_000_000)
    backend: Literal["transformers", "ctranslate2"] = option(
        "transformers", "What writes the titles: transformers, or ctranslate2 (faster; extra `fast`).", decides="titles"
    )
    decode_precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = option(
        "auto",
        "Numbers to decode with: fp32, bf16, fp16, int8; auto: int8 on a CPU and bf16 on a GPU in ctranslate2.",
        decides="titles",
    )
    constrain: Literal["none", "catalogue"] = option(
        "none", "`catalogue`: write only titles of existing products of the session's locale.", decides="titles"
    )
    items: Path | None = option(
        None,
        "With --constrain catalogue: also write the products of all beams as a run of ranked lists.",
        decides=None,
        output="run",
    )

    @property
    def weights_by(self) -> tuple[Decides, ...]:
        """What a setting must decide to decide the weights: to choose by BLEU, titles of validation are written."""
        return ("weights", "validation") if self.best_by == "bleu" else ("weights",)

    @staticmethod
    def default_recipe(flags: Mapping[str, Any]) -> str | None:
        """Recipe where none is named: ``demo``, unless the flags name a model to use or to fine-tune."""
        return None if flags.get("model") or flags.get("base_model") else "demo"
