"""Low-rank adapters (LoRA) for any model that writes titles: made, saved, checked against their base, merged."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors.torch import load_file, save_file

from llmrec.console import notice
from llmrec.errors import ConfigError, ModelError, require
from llmrec.hub.pull import shared_model
from llmrec.output import check
from llmrec.records import Digest, read_record
from llmrec.titles.models.causal import is_causal
from llmrec.titles.models.gguf_header import is_gguf
from llmrec.titles.models.model import (
    BASE,
    check_weights,
    checkpoint_activations,
    fingerprint,
    load_model,
    load_tokenizer,
    read_model_card,
    save_model,
)
from llmrec.titles.settings import GenerateConfig

__all__ = ["adapt", "add_adapters", "is_adapter", "merge_adapter", "open_model", "weight_settings"]

ADAPTER = "adapter_config.json"
ALL = "all-linear"
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # on every CPU it misses an optional package for speed
CHECKPOINT = "adapters.safetensors"


class _Adapter(msgspec.Struct):  # peft's, which says more
    base_model_name_or_path: str


class _Base(msgspec.Struct, forbid_unknown_fields=True):
    fingerprint: Digest


def weight_settings(accelerator: Any, config: GenerateConfig) -> dict[str, Any]:
    """How to load the model that a training starts from, for `load_model`.

    A base that stays as it is needs no float32: it is held in bf16 where the training computes in bf16.
    """
    halved = config.lora_rank is not None and accelerator.mixed_precision == "bf16"
    if config.quantize == "4bit" and config.lora_rank is None:
        raise ConfigError("--quantize 4bit: weights of 4 bits cannot be trained; add adapters with --lora-rank 16")
    return {"dtype": torch.bfloat16 if halved else torch.float32, "four_bit": config.quantize == "4bit"}


def adapt(accelerator: Any, model: Any, config: GenerateConfig) -> Any:
    """Make a model ready to be trained as the settings say: gradient checkpointing, adapters.

    Raises:
        ConfigError: adapters on a model that is saved nowhere, or for a layer that it does not have.
        MissingExtraError: `peft` is not installed.
    """
    if config.gradient_checkpointing:
        checkpoint_activations(model)
    if config.lora_rank is None:
        return model
    if config.base_model == "tiny":
        raise ConfigError("--lora-rank: adapters need a base that can be loaded again; name one with --base-model")
    if accelerator.state.deepspeed_plugin is None:  # which saves its parts in its own way
        save_adapters_only(accelerator)
    return add_adapters(model, config)


def add_adapters(model: Any, config: GenerateConfig) -> Any:
    """Freeze a model and put adapters beside its linear layers; they start as no change.

    Raises:
        ConfigError: a target is not a linear layer of the model; names those that are.
        MissingExtraError: `peft` is not installed.
    """
    peft = require("peft", "lora")
    targets = [part.strip() for part in config.lora_targets.split(",") if part.strip()]
    _check_targets(model, targets)
    torch.manual_seed(config.seed)
    if config.quantize == "4bit":
        model = peft.prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
        _keep_differentiable(model)
    rank = config.lora_rank or 1
    settings = peft.LoraConfig(
        task_type="CAUSAL_LM" if is_causal(model) else "SEQ_2_SEQ_LM",
        r=rank,
        lora_alpha=config.lora_alpha or 2 * rank,
        lora_dropout=config.lora_dropout,
        target_modules=ALL if ALL in targets else targets,
    )
    with _older_names():
        return peft.get_peft_model(model, settings)


@contextmanager
def _older_names() -> Iterator[None]:
    """Say nothing where peft 0.21 asks transformers 5 by names that will go."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def _keep_differentiable(model: Any) -> None:
    """Stop bitsandbytes from repacking weights for fast inference on a CPU at the first validation.

    It never packs them back (0.50.2), and what is computed with them then has no gradient: adapters would go on
    learning from wrong ones.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _check_targets(model: Any, targets: Sequence[str]) -> None:
    if ALL in targets:
        return
    linear = {
        name.rsplit(".", 1)[-1]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not model.get_output_embeddings()
    }
    for target in targets:
        if target not in linear:
            raise ConfigError(
                f"--lora-targets: {type(model).__name__} has no linear layer '{target}'; it has "
                f"{', '.join(sorted(linear))}, or {ALL}"
            )


def is_adapter(name: str) -> bool:
    """Whether a folder holds an adapter rather than a model."""
    return not is_gguf(name) and (Path(shared_model(name)) / ADAPTER).is_file()


def open_model(name: str, *, base: str | None = None, four_bit: bool = False) -> tuple[Any, Any]:
    """Load a model, or an adapter on its base, and the tokenizer, to write titles with.

    An adapter is merged into its base in memory, which decodes as fast as the base alone; on a 4-bit base it stays
    beside it.

    Args:
        name: Folder or hub name of a model, or an adapter's folder.
        base: The adapter's base, where it is no longer where it was in training.
        four_bit: Hold the base's weights in 4 bits.

    Raises:
        ModelError: a model cannot be loaded, or the base is not the one that the adapter was trained on.
    """
    if not is_adapter(name):
        return load_model(name, four_bit=four_bit)
    name, peft = shared_model(name), require("peft", "lora")
    wanted = base or _base_name(Path(name))
    try:
        plain, _ = load_model(wanted, four_bit=four_bit)
    except ModelError as error:
        raise ModelError(f"{name}: its base model: {error}; or name where it is now with --base-model") from error
    _check_base(Path(name), wanted, plain)
    try:
        with _older_names():
            model = peft.PeftModel.from_pretrained(plain, name)
        tokenizer = load_tokenizer(name)
    except Exception as error:  # safetensors and peft raise a dozen kinds for a bad file
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{name}: cannot be loaded as an adapter ({reason}); train it again") from error
    check_weights(name, model)
    return (model if four_bit else model.merge_and_unload()), tokenizer


def _base_name(folder: Path) -> str:
    return read_record(folder / ADAPTER, _Adapter, "train it again", error=ModelError).base_model_name_or_path


def _check_base(folder: Path, base: str, model: Any) -> None:
    """An adapter from elsewhere has no note, and is taken at its word."""
    file = folder / BASE
    if not file.is_file():
        return
    if read_record(file, _Base, "train it again", error=ModelError).fingerprint != fingerprint(model):
        raise ModelError(f"{folder}: an adapter for another base model than {base}; name its own with --base-model")


def save_adapters_only(accelerator: Any) -> None:
    """Keep a frozen base out of checkpoints: they hold the adapters alone, and a resumed training loads those."""

    def save(models: list[Any], weights: list[Any], folder: str) -> None:
        for model in models:
            weights.pop()
            if accelerator.is_main_process:
                plain = accelerator.unwrap_model(model)
                own = {name: weight.detach().cpu().contiguous() for name, weight in _trained(plain).items()}
                save_file(own, Path(folder) / CHECKPOINT)

    def load(models: list[Any], folder: str) -> None:
        while models:
            plain = accelerator.unwrap_model(models.pop())
            stored = load_file(Path(folder) / CHECKPOINT)
            with torch.no_grad():
                for name, weight in _trained(plain).items():
                    weight.copy_(stored[name])

    accelerator.register_save_state_pre_hook(save)
    accelerator.register_load_state_pre_hook(load)


def _trained(model: Any) -> dict[str, Any]:
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def merge_adapter(folder: Path, out: Path, base: str | None = None) -> None:
    """Write an adapter and its base as one plain model.

    Raises:
        ConfigError: ``folder`` holds no adapter.
        ModelError: the base cannot be loaded, or is another one.
    """
    if not is_adapter(str(folder)):
        raise ConfigError(f"{folder}: no {ADAPTER} here, so nothing to merge; give the model folder of a LoRA training")
    check(out, "folder")
    model, tokenizer = open_model(str(folder), base=base)
    save_model(out, model, tokenizer, read_model_card(str(folder)))
    notice(f"wrote {out}; next: llmrec generate --data STORE --model {out}")
