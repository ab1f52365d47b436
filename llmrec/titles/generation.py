"""From a store to scored titles: what ``scripts/gen.py`` runs."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from llmrec.console import notice
from llmrec.data.connection import connected
from llmrec.data.raw import parquet_table
from llmrec.data.sessions import read_products, read_sessions
from llmrec.data.store import Store
from llmrec.errors import ConfigError
from llmrec.evaluation.results import Result
from llmrec.files import digest_of
from llmrec.languages import PAPER_BLEU, bleu_tokenizer
from llmrec.output import claimed, disk_errors
from llmrec.settings import deciding
from llmrec.titles.ceiling import ceiling_of, forms_of, restore_forms
from llmrec.titles.decoding.backends import build_decoder
from llmrec.titles.decoding.cost import session_bytes
from llmrec.titles.decoding.decode import write_titles
from llmrec.titles.editing.edit_titles import edit_titles
from llmrec.titles.models.causal import is_causal
from llmrec.titles.models.lora import adapt, is_adapter, open_model, weight_settings
from llmrec.titles.models.model import build_tiny_mt5, check_length, load_model, model_digest, save_model
from llmrec.titles.models.tokenizer import build_tokenizer
from llmrec.titles.models.trim import trim
from llmrec.titles.prompting.affixes import build_affixes
from llmrec.titles.prompting.prompt_sessions import build_prompt_sessions, build_training_prompts
from llmrec.titles.prompting.recent_products import iterate_recent_products, open_split, session_ranges
from llmrec.titles.publish import Select, outputs, publish
from llmrec.titles.settings import GenerateConfig
from llmrec.titles.setup import Job, prepare_job
from llmrec.titles.training.train import train
from llmrec.training import checkpoint

__all__ = ["run_generation"]

TOKENIZER_TITLES = 200_000  # more add minutes and change few pieces


def run_generation(config: GenerateConfig, select: Select | None = None) -> Result | None:
    """See `llmrec.titles.generate_titles`."""
    job = prepare_job(config)
    with claimed(*outputs(job)), disk_errors(job.folder):  # logs and history are appended to, not renamed into place
        result = _train_and_write(job, select)
    job.accelerator.wait_for_everyone()
    job.accelerator.end_training()
    return result


def _train_and_write(job: Job, select: Select | None) -> Result | None:
    if job.edits:
        return publish(job, *edit_titles(job), select)
    model, tokenizer = _trained_model(job)
    settings = _prompt_settings(job, model, tokenizer)
    with job.accelerator.main_process_first():  # the others read its file
        sessions = build_prompt_sessions(job.store, job.split, limit=job.config.limit, **settings)
    parts, weights = job.folder / f"parts_{job.split}", _weights(job)
    decode = build_decoder(job, model, tokenizer, weights)
    titles = write_titles(
        job.accelerator,
        decode,
        sessions,
        config=job.config,
        parts=parts,
        key=_decoding_key(job, weights),
        takes=session_bytes(model, max_tokens=job.card.max_target_tokens, num_beams=job.config.num_beams),
    )
    if titles is None:
        return None
    if job.config.restore_forms:
        titles = _restored(job, tokenizer, titles)
    ceiling = ceiling_of(sessions, tokenizer, job.card.max_target_tokens)
    result = publish(job, sessions, titles, select, ceiling)
    shutil.rmtree(parts, ignore_errors=True)
    return result


def _restored(job: Job, tokenizer: Any, titles: list[list[str]]) -> list[list[str]]:
    """Titles with the forms of characters that their sessions' K most recent titles have."""
    form = forms_of(tokenizer)
    if form is None:
        return titles
    own: list[list[str]] = []
    with open_split(job.store, job.split, ("title",)) as (sessions, products):
        ranges = session_ranges(sessions, job.config.limit)
        for table in iterate_recent_products(sessions, products, ranges, k=job.card.k, fields=("title",)):
            own += table.column("title").to_pylist()
    return [[restore_forms(one, seen, form) for one in some] for some, seen in zip(titles, own, strict=True)]


def _trained_model(job: Job) -> tuple[Any, Any]:
    """The model to write titles with: the one named, or the best state of a training."""
    config, states = job.config, job.folder / "checkpoints"
    if job.loaded:
        return job.loaded
    settings = _training_settings(job)
    if not (config.resume and checkpoint.is_finished(states, settings)):
        _start(job, states)
        _train(job, settings)
    return open_model(str(job.folder / "model"), four_bit=job.config.quantize == "4bit")


def _training_settings(job: Job) -> dict[str, Any]:
    """Everything that decides the weights, by name."""
    values = deciding(job.config, *job.config.weights_by)
    if job.config.best_by == "bleu":  # BLEU in other tokens is another measure
        values["best_by"] += "".join(f", {one} by {way}" for one, way in _own_tokenizers(job.store).items())
    return {**values, **asdict(job.card), "data": job.store.fingerprint}


def _own_tokenizers(store: Store) -> dict[str, str]:
    """BLEU tokenizers of validation's locales that have one of their own."""
    (file,) = store.labelled("validation").files
    locales = parquet_table(file, ["locale"]).column("locale").unique().to_pylist()
    return {one: bleu_tokenizer(one) for one in sorted(locales) if bleu_tokenizer(one) != PAPER_BLEU}


def _start(job: Job, states: Path) -> None:
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


def _train(job: Job, settings: Mapping[str, Any]) -> None:
    config = job.config
    if config.base_model == "tiny":
        tokenizer = build_tokenizer(_training_titles(job.store), config.tiny_vocab)
        model = build_tiny_mt5(len(tokenizer), config.tiny_width, config.tiny_layers, config.seed)
    else:
        model, tokenizer = load_model(config.base_model, **weight_settings(job.accelerator, config))
        if config.trim_vocabulary:
            model, tokenizer = trim(model, tokenizer, job.store, [job.prompt])
            if config.lora_rank is not None:
                _keep_base(job, model, tokenizer)
    check_length(model, job.card)
    model = adapt(job.accelerator, model, config)
    asked = _prompt_settings(job, model, tokenizer)
    with job.accelerator.main_process_first():
        sessions = build_training_prompts(job.store, "development", sample=config.train_sample, **asked)
        validation = build_training_prompts(job.store, "validation", sample=config.validation_sample, **asked)
    ceiling = ceiling_of(validation.dataset, tokenizer, job.card.max_target_tokens)
    if ceiling is not None and job.accelerator.is_main_process:
        notice(ceiling.line)
    train(
        job.accelerator,
        model,
        tokenizer,
        sessions,
        validation,
        config=config,
        card=job.card,
        folder=job.folder,
        settings=settings,
    )


def _keep_base(job: Job, model: Any, tokenizer: Any) -> None:
    """Write a trimmed base beside the run: adapters alone make no model."""
    folder = (job.folder / "base").resolve()
    if job.accelerator.is_main_process:
        save_model(folder, model, tokenizer, None)
    model.name_or_path = model.config.name_or_path = str(folder)


def _training_titles(store: Store) -> list[str]:
    """Titles to learn a tokenizer from: of the products in development sessions, so none is a test target's alone."""
    with connected() as con:
        sessions = read_sessions(con, store.labelled("development").files)
        items = sessions.select("locale", id=sessions.prev_items.unnest()).union(
            sessions.select("locale", id=sessions.next_item), distinct=True
        )
        products = read_products(con, store.products).semi_join(items, ["locale", "id"])
        sample = products.filter(products.title != "").order_by(products.title.hexdigest("md5"), products.locale)
        return [str(title) for title in sample.limit(TOKENIZER_TITLES).title.to_pyarrow().to_pylist()]


def _prompt_settings(job: Job, model: Any, tokenizer: Any) -> dict[str, Any]:
    """What makes prompt sessions of a split, for `build_prompt_sessions`."""
    if job.card.chat and not is_causal(model):
        raise ConfigError("--chat is for causal models that were made to converse; leave it out")
    return {
        "affixes": build_affixes(tokenizer, chat=job.card.chat) if is_causal(model) else None,
        "k": job.card.k,
        "prompt": job.prompt,
        "cache": job.folder / "prompt_sessions",
        "tokenizer": tokenizer,
        "max_source_tokens": job.card.max_source_tokens,
        "max_target_tokens": job.card.max_target_tokens,
    }


def _weights(job: Job) -> str:
    """Names the weights that titles are written with."""
    model = str(job.config.model or job.folder / "model")
    base = [job.config.base_model, job.config.quantize] if is_adapter(model) else []
    return digest_of([model_digest(model), *base])[:16]


def _decoding_key(job: Job, weights: str) -> str:
    """Names everything that decides a title, so that `--resume` never mixes titles of two models."""
    decoding = deciding(job.config, "titles", "validation")
    parts = [weights, job.store.fingerprint, job.split, asdict(job.card), decoding]
    return digest_of(parts)[:16]
