"""One call of title generation with every open setting decided, and its surroundings made ready."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration

from llmrec.console import notice
from llmrec.data.importing import import_dataset
from llmrec.data.overlap import Overlap, overlap_of_files, refuse_overlap
from llmrec.data.store import Store
from llmrec.errors import ConfigError, StoreError, require
from llmrec.hub.pull import shared_model
from llmrec.output import check, disk_errors
from llmrec.processes import is_first_process
from llmrec.synth import is_current, synthesize
from llmrec.text.prompts import Prompt
from llmrec.titles.editing.edit_writer import EDIT, opened_writer
from llmrec.titles.models.card import DEFAULTS, ModelCard, decide_card
from llmrec.titles.models.lora import open_model
from llmrec.titles.models.model import check_length
from llmrec.titles.models.precision import tell_slow_bf16
from llmrec.titles.settings import GenerateConfig
from llmrec.training.devices import launch_errors, name_processor
from llmrec.training.nodes import join, require_same, require_shared
from llmrec.training.trackers import tracker_names

__all__ = ["LABELLED_SPLITS", "Job", "prepare_job", "refuse_fp16"]

RUNS = Path("runs")
NO_FP16 = "mT5 overflows in fp16; use --mixed_precision bf16 or no"
LABELLED_SPLITS = ("validation", "development")
EDITS = "edit"  # the base model that is learnt from counts and titles alone


@dataclass(frozen=True)
class Job:
    """What one call works with.

    Attributes:
        config: Its settings.
        accelerator: `accelerate.Accelerator`.
        store: Its data.
        folder: Output folder; it exists.
        split: Full name of the split that titles are written for.
        prompt: Prompt.
        card: What the model reads: K, prompt and lengths, from flags, the recipe or the model itself.
        started: `time.monotonic` at the start.
        loaded: Model and tokenizer that were named; None if one is to be trained.
        overlap: Training rows that repeat sessions of the split with their labels, where that was allowed.
    """

    config: GenerateConfig
    accelerator: Any
    store: Store
    folder: Path
    split: str
    prompt: Prompt
    card: ModelCard
    started: float
    loaded: tuple[Any, Any] | None
    overlap: Overlap | None = None

    @property
    def edits(self) -> bool:
        """Whether titles are edited, by a model that is loaded or to be learnt."""
        named = self.config.model or self.config.base_model
        return named == EDITS or EDIT.is_at(Path(shared_model(named)))


def prepare_job(config: GenerateConfig) -> Job:
    """Decide every open setting, and refuse what cannot work before anything slow starts or is written.

    Raises:
        LlmrecError: a setting, the store or the model cannot be used.
    """
    started = time.monotonic()
    _check_settings(config)
    given = Store.load(config.data) if config.data else None
    asked = {name: getattr(config, name) for name in DEFAULTS}
    card, prompt = decide_card(config.model, config.prompt, config.chat, asked)
    loaded = _named_model(config, card)
    split = _split(given, config.split) if given else config.split
    folder = config.output_dir or RUNS / _default_name(config, card.k)
    check(folder, "place")
    accelerator = _accelerator(folder)
    refuse_fp16(accelerator)
    if accelerator.is_main_process:
        if accelerator.mixed_precision == "bf16":
            tell_slow_bf16(accelerator.device)
        _announce(config, card.k, folder)
    with accelerator.main_process_first():
        store = given or _built_in_store(config.synthetic, config.seed)
    require_same(store.fingerprint, str(config.data or config.synthetic))
    split = _split(store, split)
    return Job(
        config=config,
        accelerator=accelerator,
        store=store,
        folder=folder,
        split=split,
        prompt=prompt,
        card=card,
        started=started,
        loaded=loaded,
        overlap=None if loaded else _overlap(store, split, config.allow_overlap),
    )


def _check_settings(config: GenerateConfig) -> None:
    """Refuse settings that exclude each other, and trackers that are not there."""
    tracker_names(config.log_to, RUNS)
    if os.environ.get("ACCELERATE_MIXED_PRECISION") == "fp16":
        raise ConfigError(NO_FP16)
    if config.trim_vocabulary and (config.model or config.base_model == "tiny"):
        raise ConfigError(
            "--trim-vocabulary is for a --base-model NAME to fine-tune; the tiny one is made of the titles"
        )
    if config.trim_vocabulary and config.quantize == "4bit":
        raise ConfigError(
            "--quantize 4bit: 4-bit weights are saved nowhere; run `llmrec trim` and name its folder with --base-model "
            "in place of --trim-vocabulary"
        )
    if config.select:
        require("lightgbm", "rank")
        if config.split == "development":
            raise ConfigError("--select learns from development; choose another --split")


def _named_model(config: GenerateConfig, card: ModelCard) -> tuple[Any, Any] | None:
    if not config.model:
        return None
    if EDIT.is_at(Path(shared_model(config.model))):
        return opened_writer(shared_model(config.model)), None
    base = None if config.base_model == "tiny" else config.base_model
    loaded = open_model(config.model, base=base, four_bit=config.quantize == "4bit")
    check_length(loaded[0], card)
    return loaded


def _overlap(store: Store, split: str, allow: bool) -> Overlap | None:
    """Training rows that repeat sessions of the split with their labels.

    Raises:
        DataError: there are some, and they were not allowed.
    """
    asked = store.labelled(split).files[0] if split in LABELLED_SPLITS else store.test(split).file
    train = store.labelled("development").files
    return refuse_overlap(overlap_of_files(train, asked), train, asked.name, allow)


def _split(store: Store, name: str) -> str:
    return name if name in LABELLED_SPLITS else store.resolve_test(name, task=3)


def _default_name(config: GenerateConfig, k: int) -> str:
    """Name of the output folder: what was run, on what, with which K."""
    what = config.recipe or Path(config.model or config.base_model).name
    if config.model:
        what = f"{Path(config.model).resolve().parent.name}-titles"
    return "-".join([Path(what).stem, *([config.data.name] if config.data else []), f"k{k}"])


def _accelerator(folder: Path) -> Any:
    name_processor()
    join()
    with disk_errors(folder):
        if is_first_process():
            folder.mkdir(parents=True, exist_ok=True)
        require_shared(folder)
    with launch_errors():
        return Accelerator(
            project_config=ProjectConfiguration(project_dir=str(folder)),
            step_scheduler_with_optimizer=False,
        )


def refuse_fp16(accelerator: Any) -> None:
    """Refuse fp16 that a DeepSpeed configuration of the user's own asks for.

    Raises:
        ConfigError: it does.
    """
    plugin = accelerator.state.deepspeed_plugin
    asked = plugin is not None and plugin.deepspeed_config.get("fp16", {}).get("enabled") is True
    if asked or accelerator.mixed_precision == "fp16":
        raise ConfigError(NO_FP16)


def _announce(config: GenerateConfig, k: int, folder: Path) -> None:
    if config.recipe == "demo" and not config.data:
        notice(
            f"demo recipe: built-in synthetic data ({config.synthetic}) and a tiny mT5 trained from scratch; for the "
            "paper's setting: accelerate launch scripts/gen.py --data STORE --recipe mt5_small_k3 --k 3"
        )
    notice(f"K = {k}; everything is written to {folder}")


def _built_in_store(size: str, seed: int) -> Store:
    """Synthetic sessions, imported like any other source; made once, and again where an earlier version made them."""
    folder = RUNS / f"synthetic-{size}-{seed}"
    if is_current(folder / "csv", size, seed):
        with suppress(StoreError):
            return Store.load(folder / "store")
    with disk_errors(folder):
        if (folder / "store").exists():  # first, or a stop halfway would leave it beside new files
            shutil.rmtree(folder / "store")
    synthesize(folder / "csv", size=size, seed=seed)
    import_dataset(folder / "csv", folder / "store", seed=seed)
    return Store.load(folder / "store")
