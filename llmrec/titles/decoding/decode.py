"""Titles from a trained model: length-sorted batches, shared by all processes, safe against a kill."""

from __future__ import annotations

import itertools
import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import torch
from accelerate.utils import gather_object
from datasets import Dataset
from msgspec import Meta

from llmrec.console import notice, progress_bar
from llmrec.errors import ModelError
from llmrec.evaluation.bleu import own_bleu
from llmrec.memory import readable
from llmrec.output import disk_errors
from llmrec.records import Count, line_text, read_lines
from llmrec.titles.decoding.cost import decoding_room, session_bytes
from llmrec.titles.decoding.title_in_answer import clean_title, holds_title
from llmrec.titles.models.causal import continue_prompts, generate_tokens, is_causal
from llmrec.titles.settings import GenerateConfig
from llmrec.titles.training.batches import decoding_batches, pad, read_tokens, token_lengths

__all__ = ["decode_batch", "pad_prompts", "validation_bleu", "write_titles"]


@dataclass(frozen=True)
class _Part:
    """Titles of a row, the best first; ``key`` names what they were written with."""

    key: str
    row: Count
    titles: Annotated[list[str], Meta(min_length=1)]


def pad_prompts(prompts: Sequence[Sequence[int]], device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts for a model with an encoder, and which of their tokens are theirs; both of shape ``(B, longest)``."""
    ids, mask = pad(prompts, 0), pad([[1] * len(row) for row in prompts], 0)
    return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)


def decode_batch(
    model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], *, answers: bool = False, **settings: Any
) -> list[str]:
    """Titles of some prompts.

    Args:
        model: A `transformers` sequence-to-sequence or causal model.
        tokenizer: Its tokenizer.
        prompts: Token ids of ``B`` prompts, each ended by the end token, or in the frame of a causal model.
        answers: What it writes are answers with a title in them, as of a causal model that nobody fine-tuned.
        settings: ``max_tokens``, ``num_beams`` and ``synced`` of `llmrec.titles.models.causal.generate_tokens`.

    Raises:
        ModelError: the tokenizer knows tokens that the model does not.
    """
    known, largest = model.get_input_embeddings().weight.shape[0], max((max(row) for row in prompts if row), default=0)
    if largest >= known > 0:  # ZeRO-3 holds none of it here
        raise ModelError(
            f"the tokenizer has a token {largest}, the model's weights end at {known - 1}; copy both again"
        )
    if is_causal(model):
        enough = holds_title if answers and settings.get("num_beams", 1) == 1 else None
        written = continue_prompts(model, tokenizer, prompts, enough, **settings)
        if answers:
            return [clean_title(text) for text in written]
    else:
        tokens = generate_tokens(model, *pad_prompts(prompts, model.device), **settings)
        written = tokenizer.batch_decode(tokens, skip_special_tokens=True)
    return [" ".join(text.split()) for text in written]


def validation_bleu(
    accelerator: Any, model: Any, tokenizer: Any, sessions: Dataset, *, config: GenerateConfig, max_tokens: int
) -> float:
    """`own_bleu` of a model in training on sessions with a title, the same on every process."""
    plain = accelerator.unwrap_model(model)
    plain.eval()
    plugin = accelerator.state.deepspeed_plugin
    synced = plugin is not None and plugin.zero_stage == 3
    takes = session_bytes(plain, max_tokens=max_tokens, num_beams=config.num_beams)
    batches = _batches(accelerator, sessions, config.generate_batch_size, takes)
    turns = -(-len(batches) // accelerator.num_processes)
    written: list[tuple[int, str]] = []
    for turn in range(turns):  # every process takes every turn, as ZeRO-3 needs; a batch done twice counts once
        rows = batches[(turn * accelerator.num_processes + accelerator.process_index) % len(batches)]
        tokens = read_tokens(sessions, rows)["input_ids"]
        with accelerator.autocast():
            titles = decode_batch(
                plain, tokenizer, tokens, max_tokens=max_tokens, num_beams=config.num_beams, synced=synced
            )
        written += zip(rows.tolist(), titles, strict=True)
    titles_by_row = dict(gather_object(written))
    targets, locales = (sessions.data.column(name).to_pylist() for name in ("target_title", "locale"))
    scored = [row for row, target in enumerate(targets) if target]
    written_for, wanted, shops = ([by[row] for row in scored] for by in (titles_by_row, targets, locales))
    return own_bleu(written_for, wanted, shops)


def write_titles(
    accelerator: Any,
    decode: Callable[[Sequence[Sequence[int]], Sequence[str]], list[list[str]]],
    sessions: Dataset,
    *,
    config: GenerateConfig,
    parts: Path,
    key: str,
    takes: Callable[[int], int],
) -> list[list[str]] | None:
    """Write the titles of every session; each finished batch is on disk at once, so a killed run goes on behind it.

    Args:
        accelerator: `accelerate.Accelerator`; every process calls this and does its share of the batches.
        decode: From `llmrec.titles.decoding.backends.build_decoder`.
        sessions: Prompt sessions, in the order of the split.
        config: Settings; what ``parts`` holds of the same ``key`` is kept unless ``config.overwrite``.
        parts: Folder for the unfinished titles.
        key: Names model, prompt and decoding; parts of another key are thrown away.
        takes: Bytes of a session, from `session_bytes`.

    Returns:
        On the main process the titles of each session, the best first, in their order; None on the others.
    """
    if accelerator.is_main_process:
        if config.overwrite:
            shutil.rmtree(parts, ignore_errors=True)
        with disk_errors(parts):
            parts.mkdir(parents=True, exist_ok=True)
    accelerator.wait_for_everyone()
    done = _read_parts(parts, key)
    batches = _batches(accelerator, sessions, config.generate_batch_size, takes)
    mine = batches[accelerator.process_index :: accelerator.num_processes]
    locales = sessions.data.column("locale")
    file = parts / f"{accelerator.process_index}-of-{accelerator.num_processes}-{uuid.uuid4().hex}.jsonl"
    numbers = itertools.count(1)
    with disk_errors(file), file.open("a", encoding="utf-8") as handle, progress_bar() as bar:
        task = bar.add_task("write titles", total=sum(map(len, mine)), note="")
        for rows in mine:
            if not all(row in done for row in rows.tolist()):
                tokens = read_tokens(sessions, rows)["input_ids"]
                titles = decode(tokens, locales.take(pa.array(rows)).to_pylist())
                written = (_Part(key, row, some) for row, some in zip(rows.tolist(), titles, strict=True))
                handle.write("".join(line_text(one, next(numbers)) for one in written))
                handle.flush()
                os.fsync(handle.fileno())
            bar.advance(task, len(rows))
    accelerator.wait_for_everyone()
    if not accelerator.is_main_process:
        return None
    done = _read_parts(parts, key)
    return [done[row] for row in range(len(sessions))]


def _batches(accelerator: Any, sessions: Dataset, size: int, takes: Callable[[int], int]) -> list[Any]:
    """Batches of up to ``size`` sessions that fit, the same on every process."""
    lengths = token_lengths(sessions, "input_ids")
    longest = int(lengths.max(initial=0))
    room = decoding_room(accelerator, takes, longest)
    batches = decoding_batches(lengths, size, takes, room)
    if accelerator.is_main_process and batches and len(batches[0]) < min(size, len(lengths)):
        notice(
            f"{len(batches[0])} of the longest sessions are decoded at once, not {size}: each takes about "
            f"{readable(takes(longest))} of the {readable(room)} that are free"
        )
    return batches


def _read_parts(parts: Path, key: str) -> dict[int, list[str]]:
    """Titles by row from all parts; the last line of a killed process may be torn and is then left out."""
    again = "remove it and give the same command again"
    lines = (line for file in sorted(parts.glob("*.jsonl")) for line in read_lines(file, _Part, again, appended=True))
    return {line.row: line.titles for line in lines if line.key == key}
