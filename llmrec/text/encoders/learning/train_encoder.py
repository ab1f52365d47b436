"""One command: an encoder that learns from sessions which titles belong together."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from llmrec.console import notice
from llmrec.data.overlap import overlap_of_files, refuse_overlap
from llmrec.data.products import load_products
from llmrec.errors import ConfigError, DataError, require
from llmrec.output import claimed
from llmrec.processes import is_first_process
from llmrec.ragged import Ragged
from llmrec.settings import load_recipe, resolve
from llmrec.text.encoders.base import ENCODER, Encoder
from llmrec.text.encoders.learning.pairs import (
    HeldSessions,
    read_session_items,
    session_pairs,
    without_futures,
)
from llmrec.text.encoders.learning.session_recall import target_hits
from llmrec.text.encoders.learning.settings import EncoderSettings
from llmrec.text.encoders.settings import TrainEncoderJob
from llmrec.text.encoders.texts import load_template, render_texts, template_columns
from llmrec.training.trackers import tracker_names
from llmrec.vocabulary import Vocabulary, product_keys

__all__ = ["TrainEncoderJob", "encoder_settings", "run_train_encoder_job"]

RECIPE = "encoder_static"


def encoder_settings(recipe: str | None, changes: Mapping[str, Any]) -> EncoderSettings:
    """Settings of a recipe, `RECIPE` where none is named, with changes.

    Raises:
        ConfigError: there is no such recipe, it is for something else, or a setting is wrong.
    """
    return resolve(EncoderSettings, changes, load_recipe(recipe or RECIPE))


def run_train_encoder_job(job: TrainEncoderJob, finder: Callable[[Any], Any] | None = None) -> Encoder:
    """Train an encoder and save it; without sessions, what its settings start from.

    Args:
        job: What to train, and on what.
        finder: Makes an index of vectors; for ``hard_negatives``.

    Raises:
        ConfigError: a setting is wrong, or a folder holds something else.
        DataError: a file is missing or malformed, or there is nothing to learn.
        ModelError: the encoder to start from cannot be read.
    """
    require("torch", "text")
    settings = encoder_settings(job.recipe, job.changes)
    folder = job.checkpoints or job.out.with_name(f"{job.out.name}.training")
    tracker_names(settings.log_to, folder)  # before anything slow starts
    with claimed((job.out, "folder"), (folder, "place")):
        return _trained(job, settings, folder, finder)


def _trained(
    job: TrainEncoderJob, settings: EncoderSettings, folder: Path, finder: Callable[[Any], Any] | None
) -> Encoder:
    _check(job, settings, folder)
    if job.sessions is not None and job.train:
        refuse_overlap(overlap_of_files(job.train, job.sessions), job.train, job.sessions.name, job.allow_overlap)
    corpus, products = _texts(job.products, settings)
    if not job.train:
        return _saved(job, settings, _trainable(settings, [], corpus))
    sessions = read_session_items(job.train, products)
    seen, items = np.unique(sessions.values, return_inverse=True)
    texts = [corpus[place] for place in seen]
    sessions, held = _validation(replace(sessions, values=items.astype(np.int64)), settings)
    pairs = session_pairs(sessions, len(seen), window=settings.window, decay=settings.pair_decay)
    notice(f"{len(pairs):,} pairs of {len(seen):,} products; {len(held.targets):,} sessions to validate on")
    from llmrec.text.encoders.learning.contrastive import train_encoder

    k = min(100, max(1, len(seen) // 10))  # of a few products, the first 100 are all of them
    trainable = _trainable(settings, texts, corpus)
    _, same_text = np.unique(np.array(texts, dtype=object), return_inverse=True)
    train_encoder(
        trainable,
        pairs,
        same_text.astype(np.int64),
        settings,
        validate=lambda now: float(target_hits(now.vectors(), held, k, settings.recency).mean()),
        folder=folder,
        resume=job.resume,
        finder=finder,
    )
    return _saved(job, settings, trainable)


def _saved(job: TrainEncoderJob, settings: EncoderSettings, trainable: Any) -> Encoder:
    encoder: Encoder = trainable.encoder()
    if is_first_process():
        encoder.save(job.out)
        template = f" --template {settings.template}"
        notice(f"saved; use it: llmrec embed {job.products} --encoder {job.out}{template} --out DIR")
    return encoder


def _check(job: TrainEncoderJob, settings: EncoderSettings, folder: Path) -> None:
    ENCODER.refuse_foreign(job.out)
    if not job.train and settings.start_from is None:
        raise ConfigError("nothing to learn from: give sessions with --train, or an encoder with --start-from")
    if job.overwrite and not job.resume and is_first_process():
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    if not job.resume and not job.overwrite and any(folder.glob("checkpoints/step-*")):
        raise ConfigError(
            f"{folder}: holds an unfinished training; go on with --resume, or start over with --overwrite"
        )


def _texts(products: Path, settings: EncoderSettings) -> tuple[list[str], Vocabulary]:
    """Texts of all products, and the keys that sessions know them by."""
    template = load_template(settings.template)
    table = load_products(products, template_columns(template)).combine_chunks()
    texts = render_texts(template, table)
    if not any(texts):
        raise DataError(f"{products.name}: no product has a text by the template '{settings.template}'")
    return texts, Vocabulary(product_keys(table["locale"], table["id"]))


def _validation(sessions: Ragged, settings: EncoderSettings) -> tuple[Ragged, HeldSessions]:
    """Part the last items of some sessions; what came before them is still learnt from."""
    num = max(1, round(settings.validation_share * len(sessions)))
    if num >= len(sessions):
        raise DataError(f"{len(sessions)} sessions are too few to learn from and validate on; give more to --train")
    drawn = np.zeros(len(sessions), dtype=np.bool_)
    drawn[np.random.default_rng(settings.seed).permutation(len(sessions))[:num]] = True
    held = HeldSessions.of(sessions.take(np.flatnonzero(drawn)))
    kept = without_futures(sessions.take(np.flatnonzero(~drawn)), held)
    return Ragged.joined([kept, held.prefixes]), held


def _trainable(settings: EncoderSettings, texts: list[str], corpus: list[str]) -> Any:
    require("tokenizers", "text")
    from llmrec.text.encoders.learning.distil import distilled_table
    from llmrec.text.encoders.learning.trainable import TrainableStaticEncoder, learn_tokenizer, tfidf_table
    from llmrec.text.encoders.registry import load_encoder

    if settings.base == "static":
        if settings.lora_rank:
            raise ConfigError("lora_rank is for transformers; leave it out, or name one with base")
        dim, seed = settings.dim, settings.seed
        teacher = None if settings.start_from is None else load_encoder(settings.start_from, texts=corpus, seed=seed)
        tokenizer = learn_tokenizer(corpus, settings.vocabulary, seed)
        table = (
            tfidf_table(tokenizer, corpus, dim, seed)
            if teacher is None
            else distilled_table(teacher, tokenizer, corpus, dim, settings.start_titles, seed)
        )
        return TrainableStaticEncoder(tokenizer, table, texts, settings.token_dropout)
    if settings.start_from is not None:
        raise ConfigError(f"start_from is for base static; base {settings.base} has its own weights")
    from llmrec.text.encoders.registry import open_trainable_sentence

    return open_trainable_sentence(settings.base, texts, lora_rank=settings.lora_rank)
