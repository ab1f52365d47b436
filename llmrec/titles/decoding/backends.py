"""What writes the titles: transformers, CTranslate2, or transformers held to the titles of the catalogue."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from typing import Any

import torch

from llmrec.errors import ConfigError, require
from llmrec.titles.decoding.decode import decode_batch
from llmrec.titles.models.causal import is_causal
from llmrec.titles.models.model import read_model_card
from llmrec.titles.models.precision import in_precision
from llmrec.titles.settings import GenerateConfig
from llmrec.titles.setup import Job

__all__ = ["Decode", "build_decoder", "check_decoding"]

Decode = Callable[[Sequence[Sequence[int]], Sequence[str]], list[list[str]]]
"""Prompts as token ids and the locale of each; for each its titles, the best first."""


def check_decoding(config: GenerateConfig) -> None:
    """Refuse what cannot work together, before anything slow starts.

    Raises:
        ConfigError: two settings exclude each other.
        MissingExtraError: CTranslate2 is wanted and not installed.
    """
    if config.backend == "ctranslate2":
        require("ctranslate2", "fast")
        if config.constrain == "catalogue":
            raise ConfigError("--constrain catalogue needs --backend transformers; CTranslate2 has no such constraint")
    elif config.decode_precision in ("int8", "fp16"):
        hint = "mT5 overflows in it; use bf16" if config.decode_precision == "fp16" else "use --backend ctranslate2"
        raise ConfigError(f"--decode-precision {config.decode_precision} with --backend transformers: {hint}")
    if config.items is not None and config.constrain != "catalogue":
        raise ConfigError("--items needs --constrain catalogue: free titles are no products; see `llmrec ground`")


def build_decoder(job: Job, model: Any, tokenizer: Any, key: str) -> Decode:
    """Make ready what writes the titles of a job.

    Args:
        job: Its settings; ``job.accelerator`` says where.
        model: A `transformers` model in float32; CTranslate2 and the catalogue take sequence-to-sequence models alone.
        tokenizer: Its tokenizer.
        key: Names the weights, so that what was converted from others is not taken.

    Raises:
        LlmrecError: the settings, the packages or the model do not allow it.
    """
    config = job.config
    if is_causal(model) and (config.backend == "ctranslate2" or config.constrain == "catalogue"):
        given = "--backend ctranslate2" if config.backend == "ctranslate2" else "--constrain catalogue"
        raise ConfigError(f"{given}: for models with an encoder, such as mT5; leave it out for a causal one")
    untaught = is_causal(model) and config.model is not None and read_model_card(config.model) is None
    limits: dict[str, Any] = {"max_tokens": job.card.max_target_tokens, "num_beams": config.num_beams}
    if config.backend == "ctranslate2":
        return _ctranslate(job, model, tokenizer, key, limits)
    model.eval().to(job.accelerator.device)
    if config.decode_precision == "bf16":
        in_precision(model, "bf16")
    if config.constrain == "catalogue":
        from llmrec.titles.decoding.constrain import decode_constrained
        from llmrec.titles.decoding.trie import build_trie, catalogue_titles

        trie = build_trie(catalogue_titles(job.store), tokenizer, job.card.max_target_tokens)

        def constrained(prompts: Sequence[Sequence[int]], locales: Sequence[str]) -> list[list[str]]:
            with job.accelerator.autocast():
                return decode_constrained(model, tokenizer, prompts, locales, trie, **limits)

        return constrained

    def free(prompts: Sequence[Sequence[int]], _: Sequence[str]) -> list[list[str]]:
        with job.accelerator.autocast():
            return [[title] for title in decode_batch(model, tokenizer, prompts, answers=untaught, **limits)]

    return free


def _ctranslate(job: Job, model: Any, tokenizer: Any, key: str, limits: dict[str, Any]) -> Decode:
    from llmrec.titles.decoding import ctranslate

    device, folder = job.accelerator.device, job.folder / f"ctranslate2-{key}"
    with job.accelerator.main_process_first():
        if not folder.is_dir():
            for older in job.folder.glob("ctranslate2-*"):
                shutil.rmtree(older, ignore_errors=True)
            ctranslate.convert_model(job.config.model or str(job.folder / "model"), model, tokenizer, folder)
    kind = "cuda" if device.type == "cuda" else "cpu"
    translator = ctranslate.load_translator(
        folder, kind, device.index or 0, job.config.decode_precision, torch.get_num_threads()
    )

    titles = ctranslate.decoding_in_its_place(translator, model.eval(), tokenizer)

    def decode(prompts: Sequence[Sequence[int]], _: Sequence[str]) -> list[list[str]]:
        return [[title] for title in titles(prompts, **limits)]

    return decode
