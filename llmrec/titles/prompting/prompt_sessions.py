"""Prompt sessions: what a model reads and should write for every session, as a memory-mapped `datasets.Dataset`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from datasets import Dataset

from llmrec.console import progress_bar
from llmrec.data.store import Store
from llmrec.errors import ConfigError
from llmrec.files import digest_of
from llmrec.output import atomic_file, scratch_folder
from llmrec.text.prompts import Prompt
from llmrec.titles.prompting.affixes import PromptAffixes
from llmrec.titles.prompting.prompt_tokens import check_room, encode_prompts, encode_titles
from llmrec.titles.prompting.recent_products import (
    draw_sessions,
    iterate_recent_products,
    open_split,
    products_of,
    session_ranges,
)
from llmrec.titles.prompting.title_tokenizer import TitleTokenizer

__all__ = ["TrainingPrompts", "build_prompt_sessions", "build_training_prompts"]

FORM: Final = 1  # counts up when the same inputs give other rows, so that no older cache file is taken
BATCH_SESSIONS: Final = 4096

_COLUMNS: Final = [
    ("session_id", pa.int64()),
    ("locale", pa.string()),
    ("prompt", pa.string()),
    ("last_title", pa.string()),
    ("target_title", pa.string()),
]
_TOKENS: Final = [("input_ids", pa.list_(pa.int32())), ("labels", pa.list_(pa.int32()))]


def build_prompt_sessions(
    store: Store,
    split: str,
    *,
    k: int,
    prompt: Prompt,
    cache: Path,
    tokenizer: Any = None,
    affixes: PromptAffixes | None = None,
    max_source_tokens: int = 256,
    max_target_tokens: int = 96,
    limit: int | None = None,
    sample: int | None = None,
) -> Dataset:
    """Build the prompt of every session of a split, or take it from ``cache`` if it was built before.

    Rows are in session order. ``last_title`` is the most recent title of the session, whatever ``k`` and the length, ""
    where no item has one: the paper's Last Product Title (§4.3).

    Args:
        store: Sessions and products.
        split: ``development``, ``validation``, ``train`` (both), or a test split, whose targets are never read.
        k: Number of most recent titles in a prompt (paper §4.3).
        prompt: How they are written.
        cache: Folder for the Arrow file; a file there is complete, for it appears whole or not at all.
        tokenizer: A fast `transformers` tokenizer; without it there are no token columns and no prompt is cut.
        affixes: What stands around the prompts of a causal model; its title follows them.
        max_source_tokens: Most tokens of a prompt; the oldest titles go first, the most recent one never wholly.
        max_target_tokens: Most tokens of a title to learn, the end token included.
        limit: Only the first so many sessions.
        sample: Only so many sessions, drawn from the whole split, always the same ones.

    Returns:
        ``session_id``, ``locale``, ``prompt``, ``last_title``, ``target_title`` (null where the next product is not
        known or has no title) and, with a tokenizer, ``input_ids`` and ``labels``: int32, unpadded, ended by the end
        token; ``labels`` is empty where ``target_title`` is null.

    Raises:
        ConfigError: ``k`` or ``limit`` is below 1, ``max_source_tokens`` leaves no room for a title, or the tokenizer
            is not a fast one.
        StoreError: the store has no such split.
        DiskError: the cache cannot be written.
    """
    for name, value in (("k", k), ("limit", limit), ("sample", sample), ("max-target-tokens", max_target_tokens)):
        if value is not None and value < 1:
            raise ConfigError(f"--{name} must be at least 1; got {value}")
    encoder = TitleTokenizer(tokenizer, affixes) if tokenizer is not None else None
    plan = _Plan(prompt, encoder, max_source_tokens, max_target_tokens)
    tokens: list[Any] = [_fingerprint(tokenizer), max_source_tokens, max_target_tokens] if tokenizer is not None else []
    tokens += [list(affixes.before), list(affixes.after)] if affixes is not None else []
    key = [FORM, store.fingerprint, split, k, limit, sample, prompt.hash, *tokens]
    file = cache / f"{split}-k{k}-{digest_of(key)[:16]}.arrow"
    if not file.is_file():
        if encoder is not None:
            check_room(prompt, encoder, max_source_tokens)
        with atomic_file(file) as temporary:
            _write(temporary, store, split, k, limit, sample, plan)
    return Dataset.from_file(str(file))


@dataclass(frozen=True)
class TrainingPrompts:
    """Prompt sessions whose target titles may be learnt; training takes nothing else.

    Only `build_training_prompts` makes them, from splits that a store hands out as labelled.
    """

    dataset: Dataset


def build_training_prompts(store: Store, split: str, **settings: Any) -> TrainingPrompts:
    """`build_prompt_sessions` of ``development``, ``validation`` or ``train``, with the same settings.

    Raises:
        StoreError: ``split`` is a test split, whose targets are for scoring alone.
    """
    store.labelled(split)
    return TrainingPrompts(build_prompt_sessions(store, split, **settings))


@dataclass(frozen=True)
class _Plan:
    """How a batch of sessions becomes rows."""

    prompt: Prompt
    encoder: TitleTokenizer | None
    max_source_tokens: int
    max_target_tokens: int

    @property
    def schema(self) -> pa.Schema:
        """Columns of the Arrow file."""
        return pa.schema(_COLUMNS + (_TOKENS if self.encoder is not None else []))

    def batch(self, table: pa.Table) -> pa.RecordBatch:
        """Rows of some sessions, from a slice of what `iterate_recent_products` yields."""
        fields = self.prompt.fields
        rows = table.select(["locale", *fields]).to_pylist()
        sessions = [(row["locale"], products_of(row, fields)) for row in rows]
        last = [row["title"][-1] if row["title"] else "" for row in rows]
        targets = table.column("target_title").to_pylist()
        columns: list[Any] = [table.column("session_id").combine_chunks(), [row["locale"] for row in rows]]
        if self.encoder is None:
            prompts = [self.prompt.render(products, locale) for locale, products in sessions]
            columns += [prompts, last, targets]
        else:
            prompts, inputs = encode_prompts(self.prompt, self.encoder, sessions, self.max_source_tokens)
            labels = encode_titles(self.encoder, targets, self.max_target_tokens)
            columns += [prompts, last, targets, inputs, labels]
        arrays = [pa.array(column, kind) for column, kind in zip(columns, self.schema.types, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def _write(file: Path, store: Store, split: str, k: int, limit: int | None, sample: int | None, plan: _Plan) -> None:
    """Write the rows of all sessions as an Arrow stream, one batch in memory at a time."""
    with (
        scratch_folder(file) as scratch,
        pa.OSFile(str(file), "wb") as sink,
        pa.ipc.new_stream(sink, plan.schema) as stream,
        progress_bar() as bar,
        open_split(store, split, plan.prompt.fields, scratch) as (sessions, products),
    ):
        sessions = draw_sessions(sessions, sample) if sample is not None else sessions
        ranges = session_ranges(sessions, limit)
        task = bar.add_task(f"prompts of {split}", total=sum(count for _, _, count in ranges), note="")
        for table in iterate_recent_products(sessions, products, ranges, k=k, fields=plan.prompt.fields):
            for start in range(0, table.num_rows, BATCH_SESSIONS):
                part = table.slice(start, BATCH_SESSIONS)
                stream.write_batch(plan.batch(part))
                bar.advance(task, part.num_rows)


def _fingerprint(tokenizer: Any) -> str:
    """SHA-256 of everything that decides a fast tokenizer's ids."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    settled = {key: value for key, value in state.items() if key not in ("truncation", "padding")}  # set by each call
    return digest_of([settled, tokenizer.eos_token_id])
