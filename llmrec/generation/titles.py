"""From a store to scored titles: what ``scripts/gen.py`` runs."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, ProjectConfiguration
from datasets import Dataset

from llmrec.config import GenerateConfig
from llmrec.console import notice, out
from llmrec.data.importing import import_dataset
from llmrec.data.sessions import connect, read_products, read_sessions
from llmrec.data.store import Store
from llmrec.errors import ConfigError, StoreError
from llmrec.evaluation.evaluate import evaluate_run
from llmrec.evaluation.provenance import collect_provenance
from llmrec.evaluation.results import Result, write_result
from llmrec.evaluation.runs import write_run
from llmrec.evaluation.tables import render_markdown
from llmrec.evaluation.targets import read_targets
from llmrec.files import disk_errors, sha256_of
from llmrec.generation import checkpoint
from llmrec.generation.decode import write_titles
from llmrec.generation.model import ModelCard, build_tiny_mt5, load_model, read_model_card
from llmrec.generation.prompt_sessions import build_prompt_sessions
from llmrec.generation.report import Outcome, write_generation_report
from llmrec.generation.tokenizer import build_tokenizer
from llmrec.generation.train import train
from llmrec.prompts import Prompt, load_prompt

__all__ = ["run_generation"]

RUNS = Path("runs")
BASELINE = "Last Product Title"  # paper §4.3
TOKENIZER_TITLES = 200_000  # more add minutes and change few pieces
LABELLED_SPLITS = ("validation", "development")
# Settings that decide the weights; a resumed training must share them.
TRAINING_SETTINGS = (
    "seed",
    "base_model",
    "tiny_width",
    "tiny_layers",
    "tiny_vocab",
    "train_sample",
    "validation_sample",
    "max_source_tokens",
    "max_target_tokens",
    "epochs",
    "max_steps",
    "batch_size",
    "learning_rate",
    "weight_decay",
    "schedule",
    "warmup_steps",
    "max_grad_norm",
    "eval_every",
    "best_by",
)


@dataclass(frozen=True)
class _Job:
    """One call of `run_generation` with every open setting decided."""

    config: GenerateConfig
    accelerator: Any
    store: Store
    folder: Path
    split: str
    prompt: Prompt
    card: ModelCard
    started: float
    loaded: tuple[Any, Any] | None  # model and tokenizer that were named


def run_generation(config: GenerateConfig) -> Result | None:
    """See `llmrec.generation.generate_titles`."""
    job = _prepare(config)
    model, tokenizer = _trained_model(job)
    sessions = _sessions(job, job.split, tokenizer, limit=config.limit)
    titles = write_titles(
        job.accelerator,
        model.to(job.accelerator.device),
        tokenizer,
        sessions,
        config=job.config,
        parts=job.folder / f"parts_{job.split}",
        key=_decoding_key(job),
    )
    result = _publish(job, sessions, titles) if titles is not None else None
    job.accelerator.wait_for_everyone()
    job.accelerator.end_training()
    return result


def _prepare(config: GenerateConfig) -> _Job:
    """Decide every open setting, and refuse what cannot work before anything slow starts."""
    started = time.monotonic()
    if os.environ.get("ACCELERATE_MIXED_PRECISION") == "fp16":
        raise ConfigError("mT5 overflows in fp16; use --mixed_precision bf16 or no")
    card = read_model_card(config.model) if config.model else None
    prompt = load_prompt(config.prompt or (card.prompt if card else "plain"))
    if card and prompt.name == card.prompt and prompt.hash != card.prompt_hash:
        raise ConfigError(f"{config.model}: trained on another text of prompt {prompt.name}; its file was edited since")
    k = config.k or (card.k if card else 1)
    config = dataclasses.replace(config, k=k)
    store = Store.load(config.data) if config.data else None
    loaded = load_model(config.model) if config.model else None
    folder = config.output_dir or RUNS / _default_name(config)
    accelerator = _accelerator(folder)
    if accelerator.is_main_process:
        _announce(config, folder)
    with accelerator.main_process_first():
        store = store or _built_in_store(config.synthetic, config.seed)
    split = config.split if config.split in LABELLED_SPLITS else store.resolve_test(config.split, task=3)
    return _Job(
        config=config,
        accelerator=accelerator,
        store=store,
        folder=folder,
        split=split,
        prompt=prompt,
        card=ModelCard(prompt.name, prompt.hash, k, config.max_source_tokens, config.max_target_tokens),
        started=started,
        loaded=loaded,
    )


def _default_name(config: GenerateConfig) -> str:
    """Name of the output folder: what was run, on what, with which K."""
    what = config.recipe or Path(config.model or config.base_model).name
    if config.model:
        what = f"{Path(config.model).resolve().parent.name}-titles"
    return "-".join([Path(what).stem, *([config.data.name] if config.data else []), f"k{config.k}"])


def _accelerator(folder: Path) -> Any:
    if not torch.accelerator.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # else DeepSpeed, where installed, warns that it found no GPU
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1  # with one process the backend must not be named
    handlers = [InitProcessGroupKwargs(backend="gloo")] if several and not torch.cuda.is_available() else []
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return Accelerator(
        kwargs_handlers=handlers,
        log_with="tensorboard",
        project_config=ProjectConfiguration(project_dir=str(folder), logging_dir=str(folder / "logs")),
        step_scheduler_with_optimizer=False,
    )


def _announce(config: GenerateConfig, folder: Path) -> None:
    if config.recipe == "demo" and not config.data:
        notice(
            f"demo recipe: built-in synthetic data ({config.synthetic}) and a tiny mT5 trained from scratch; for the "
            "paper's setting: accelerate launch scripts/gen.py --data STORE --recipe mt5_small_k3 --k 3"
        )
    notice(f"K = {config.k}; everything is written to {folder}")


def _built_in_store(size: str, seed: int) -> Store:
    """Synthetic sessions, made once and imported like any other source."""
    folder = RUNS / f"synthetic-{size}-{seed}"
    try:
        return Store.load(folder / "store")
    except StoreError:
        from llmrec.data.synth import synthesize

        synthesize(folder / "csv", size=size, seed=seed)
        import_dataset(folder / "csv", folder / "store", seed=seed)
        return Store.load(folder / "store")


def _trained_model(job: _Job) -> tuple[Any, Any]:
    """The model to write titles with: the one named, or the best state of a training."""
    config, states = job.config, job.folder / "checkpoints"
    if job.loaded:
        return job.loaded
    settings = _training_settings(job)
    if not (config.resume and checkpoint.is_finished(states, settings)):
        _start(job, states)
        _train(job, settings)
    return load_model(str(job.folder / "model"))


def _training_settings(job: _Job) -> dict[str, Any]:
    """Everything that decides the weights, by name."""
    values = {name: getattr(job.config, name) for name in TRAINING_SETTINGS}
    return {**values, "k": job.card.k, "prompt": job.prompt.hash, "data": job.store.fingerprint}


def _start(job: _Job, states: Path) -> None:
    """Make room for a new training, but never throw away an unfinished one unasked."""
    if job.config.resume:
        return
    unfinished = checkpoint.checkpoints(states)
    if unfinished and not job.config.overwrite:
        raise ConfigError(
            f"{states}: holds an unfinished training ({unfinished[-1].name}); go on with --resume, or start over "
            "with --overwrite"
        )
    job.accelerator.wait_for_everyone()
    if job.accelerator.is_main_process:
        shutil.rmtree(states, ignore_errors=True)
        (job.folder / "history.jsonl").unlink(missing_ok=True)
    job.accelerator.wait_for_everyone()


def _train(job: _Job, settings: Mapping[str, Any]) -> None:
    config = job.config
    if config.base_model == "tiny":
        tokenizer = build_tokenizer(_training_titles(job.store), config.tiny_vocab)
        model = build_tiny_mt5(len(tokenizer), config.tiny_width, config.tiny_layers, config.seed)
    else:
        model, tokenizer = load_model(config.base_model)
    job.accelerator.init_trackers("")
    train(
        job.accelerator,
        model,
        tokenizer,
        _sessions(job, "development", tokenizer, sample=config.train_sample),
        _sessions(job, "validation", tokenizer, sample=config.validation_sample),
        config=config,
        card=job.card,
        folder=job.folder,
        settings=settings,
    )


def _training_titles(store: Store) -> list[str]:
    """Titles to learn a tokenizer from: of the products in development sessions, so none is a test target's alone."""
    con = connect()
    sessions = read_sessions(con, store.labelled("development").files)
    items = sessions.select("locale", id=sessions.prev_items.unnest()).union(
        sessions.select("locale", id=sessions.next_item), distinct=True
    )
    products = read_products(con, store.products).semi_join(items, ["locale", "id"])
    sample = products.filter(products.title != "").order_by(products.title.hexdigest("md5"), products.locale)
    return [str(title) for title in sample.limit(TOKENIZER_TITLES).title.to_pyarrow().to_pylist()]


def _sessions(job: _Job, split: str, tokenizer: Any, *, limit: int | None = None, sample: int | None = None) -> Dataset:
    """Tokenised prompt sessions of a split; the main process builds them, the others read its file."""
    with job.accelerator.main_process_first():
        return build_prompt_sessions(
            job.store,
            split,
            k=job.card.k,
            prompt=job.prompt,
            cache=job.folder / "prompt_sessions",
            tokenizer=tokenizer,
            max_source_tokens=job.config.max_source_tokens,
            max_target_tokens=job.config.max_target_tokens,
            limit=limit,
            sample=sample,
        )


def _decoding_key(job: _Job) -> str:
    """Names everything that decides a title, so that `--resume` never mixes titles of two models."""
    model = Path(job.config.model or job.folder / "model")
    weights = [sha256_of(file) for file in sorted(model.glob("*.safetensors"))] or [str(model)]
    config = job.config
    parts = [*weights, job.store.fingerprint, job.split, asdict(job.card), config.num_beams, config.generate_batch_size]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _publish(job: _Job, sessions: Dataset, titles: list[str]) -> Result | None:
    """Write the run and its baseline, and score them where the store has targets."""
    config = job.config
    run = config.out or job.folder / f"titles_{job.split}.parquet"
    baseline = job.folder / f"last_title_{job.split}.parquet"
    provenance = collect_provenance(
        recipe=config.recipe, seed=config.seed, fingerprint=job.store.fingerprint, started=job.started
    )
    locales = sessions.data.column("locale").to_pylist()
    last_titles = sessions.data.column("last_title").to_pylist()
    partial = config.limit is not None
    write_run(run, locales, titles, {**provenance, "settings": _plain(config)}, partial=partial)
    write_run(baseline, locales, last_titles, {**provenance, "method": BASELINE}, partial=partial)
    shutil.rmtree(job.folder / f"parts_{job.split}", ignore_errors=True)
    notice(f"wrote {run}")
    targets = _targets(job.store, job.split)
    if targets is None:
        notice(f"{job.split} has no targets in this store; to score a model: --split validation")
        return None
    result = _named(evaluate_run(run, targets, products=job.store.products, compare=baseline))
    write_result(job.folder / f"{run.stem}.result.json", result)
    out.print(render_markdown(result), markup=False)
    if config.report:
        outcome = Outcome(
            split=job.split,
            sessions=sessions,
            titles=titles,
            targets=_target_titles(job, targets, sessions),
            result=result,
            summary=_summary(job),
        )
        notice(f"wrote {write_generation_report(job.folder, job.store, outcome)}")
    return result


def _named(result: Result) -> Result:
    """Call the baseline by the paper's name instead of its file's."""
    comparison = dataclasses.replace(result.comparison, baseline=BASELINE) if result.comparison else None
    return dataclasses.replace(result, comparison=comparison)


def _target_titles(job: _Job, targets: Path, sessions: Dataset) -> list[str | None]:
    """Titles to show beside the written ones; of a test split they are read here, after everything is written."""
    if job.split in LABELLED_SPLITS:
        return [title or None for title in sessions.data.column("target_title").to_pylist()]
    titles = read_targets(targets).titles
    return [None] * len(sessions) if titles is None else list(titles.slice(0, len(sessions)).to_pylist())


def _summary(job: _Job) -> str:
    config = job.config
    model = Path(config.model).name if config.model else config.base_model
    kind = "a tiny mT5 trained from scratch" if model == "tiny" else model
    data = f"the store {config.data.name}" if config.data else f"built-in synthetic data ({config.synthetic})"
    return (
        f"Task 3 of the Amazon-M2 paper: the next product's title, written by {kind} from the {job.card.k} most recent "
        f"titles (prompt {job.prompt.name}) for the split {job.split} of {data}; beside it the last product's title."
    )


def _targets(store: Store, split: str) -> Path | None:
    if split in LABELLED_SPLITS:
        return store.labelled(split).files[0]
    held_out = store.targets(split)
    return held_out.file if held_out else None


def _plain(config: GenerateConfig) -> dict[str, Any]:
    """Settings as JSON can hold them; paths by their last part, for a run is read on other machines."""
    return {key: value.name if isinstance(value, Path) else value for key, value in asdict(config).items()}
