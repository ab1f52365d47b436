"""Titles of a model in a folder or a GGUF file for the sessions of a sample, with every batch kept on disk."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from llmrec.console import progress_bar
from llmrec.errors import ConfigError
from llmrec.titles.decoding.decode import decode_batch
from llmrec.titles.lab.answers import Answer, Written
from llmrec.titles.lab.cache import AnswerCache, cache_key
from llmrec.titles.lab.sample import SampledSession
from llmrec.titles.lab.settings import Cell
from llmrec.titles.models.causal import continue_prompts, is_causal
from llmrec.titles.models.lora import open_model
from llmrec.titles.models.model import model_digest, read_model_card
from llmrec.titles.prompting.affixes import PromptAffixes, build_affixes
from llmrec.titles.prompting.prompt_tokens import encode_prompts, encode_titles
from llmrec.titles.prompting.title_tokenizer import TitleTokenizer
from llmrec.training.devices import name_processor

__all__ = ["LocalModel", "load_local", "write_all"]

BATCH: Final = 16
SOURCE_TOKENS, TARGET_TOKENS = 256, 96  # as scripts/gen.py where a model does not say


@dataclass(frozen=True)
class LocalModel:
    """A loaded model.

    Attributes:
        model: `transformers` model on its device.
        tokenizer: Its tokenizer.
        fingerprint: Names its weights and its tokenizer.
        max_source_tokens: Prompt length.
        max_target_tokens: Title length.
        affixes: What stands around the prompts of a causal model: its chat template, where it has one.
    """

    model: Any
    tokenizer: Any
    fingerprint: str
    max_source_tokens: int
    max_target_tokens: int
    affixes: PromptAffixes | None = None


def load_local(name: str) -> LocalModel:
    """Load a model that ``scripts/gen.py`` or anybody else wrote; on a GPU where there is one.

    Args:
        name: Folder of a model or an adapter, or a GGUF file; its card, where it has one, says how long prompts and
            titles are, else 256 and 96 tokens.

    Raises:
        ConfigError: its chat template cannot be used.
        ModelError: it cannot be loaded.
    """
    name_processor()
    model, tokenizer = open_model(name)
    card = read_model_card(name)
    chat = card.chat if card else bool(getattr(tokenizer, "chat_template", None))
    return LocalModel(
        model=model.eval().to("cuda" if torch.cuda.is_available() else "cpu"),
        tokenizer=tokenizer,
        fingerprint=model_digest(name),
        max_source_tokens=card.max_source_tokens if card else SOURCE_TOKENS,
        max_target_tokens=card.max_target_tokens if card else TARGET_TOKENS,
        affixes=build_affixes(tokenizer, chat=chat) if is_causal(model) else None,
    )


def write_all(loaded: LocalModel, cell: Cell, sample: Sequence[SampledSession], cache: AnswerCache) -> Written:
    """Write a title for every session, greedily; a prompt that is too long loses its oldest titles first.

    Returns:
        The answers, in the sessions' order.

    Raises:
        ConfigError: the prompt's wording alone fills the model's length.
    """
    encoder = TitleTokenizer(loaded.tokenizer, loaded.affixes)
    sessions = [(session.locale, session.products[-cell.k :]) for session in sample]
    try:
        texts, tokens = encode_prompts(cell.prompt, encoder, sessions, loaded.max_source_tokens)
    except ConfigError as error:
        raise ConfigError(
            f"{cell.label}: the model reads {loaded.max_source_tokens} tokens, which this prompt fills without any "
            "part of a title; leave it out, or train a model with more --max-source-tokens"
        ) from error
    keys = [
        cache_key({"weights": loaded.fingerprint, "prompt": text, "max_tokens": loaded.max_target_tokens})
        for text in texts
    ]
    known = cache.read(keys)
    missing = {key: ids for key, ids in zip(keys, tokens, strict=True) if key not in known}
    ordered = sorted(missing, key=lambda key: (len(missing[key]), key))
    with progress_bar() as bar:
        task = bar.add_task(cell.label, total=len(keys), completed=len(keys) - len(missing), note="")
        for start in range(0, len(ordered), BATCH):
            batch = ordered[start : start + BATCH]
            written = _write_batch(loaded, encoder, [missing[key] for key in batch])
            came = dict(zip(batch, written, strict=True))
            cache.add(came)
            known.update(came)
            bar.advance(task, len(batch))
    whole = [cell.prompt.render(products, locale) for locale, products in sessions]
    num_cut = sum(text != full for text, full in zip(texts, whole, strict=True))
    return Written([known[key] for key in keys], len(missing), num_cut)


def _write_batch(loaded: LocalModel, encoder: TitleTokenizer, prompts: Sequence[Sequence[int]]) -> list[Answer]:
    started = time.monotonic()
    write = decode_batch if loaded.affixes is None else continue_prompts  # lines of which one is to be the title
    titles = write(loaded.model, loaded.tokenizer, prompts, max_tokens=loaded.max_target_tokens)
    seconds = (time.monotonic() - started) / len(prompts)
    wrote = encode_titles(encoder, titles, loaded.max_target_tokens)
    return [
        Answer(title, len(prompt), len(ids), seconds) for title, prompt, ids in zip(titles, prompts, wrote, strict=True)
    ]
