"""Titles of a model in a folder or a GGUF file for the sessions of a sample, with every batch kept on disk."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch

from llmrec.console import progress_bar
from llmrec.errors import ConfigError
from llmrec.text.prompts import Prompt
from llmrec.titles.decoding.decode import decode_batch
from llmrec.titles.decoding.title_in_answer import holds_title
from llmrec.titles.lab.answers import Answer, Written
from llmrec.titles.lab.cache import AnswerCache, cache_key
from llmrec.titles.lab.messages import chat_messages
from llmrec.titles.lab.sample import SampledSession
from llmrec.titles.lab.settings import Cell
from llmrec.titles.models.causal import continue_prompts, is_causal
from llmrec.titles.models.lora import open_model
from llmrec.titles.models.model import model_digest, read_model_card
from llmrec.titles.models.precision import in_precision
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
        chat: Whether it is that template.
    """

    model: Any
    tokenizer: Any
    fingerprint: str
    max_source_tokens: int
    max_target_tokens: int
    affixes: PromptAffixes | None = None
    chat: bool = False


def load_local(name: str, precision: str = "fp32") -> LocalModel:
    """Load a model that ``scripts/gen.py`` or anybody else wrote; on a GPU where there is one.

    Args:
        name: Folder of a model or an adapter, or a GGUF file; its card, where it has one, says how long prompts and
            titles are, else 256 and 96 tokens.
        precision: Of its weights: ``fp32`` or ``bf16``.

    Raises:
        ConfigError: its chat template cannot be used.
        ModelError: it cannot be loaded.
    """
    name_processor()
    model, tokenizer = open_model(name)
    card = read_model_card(name)
    chat = card.chat if card else bool(getattr(tokenizer, "chat_template", None))
    return LocalModel(
        model=in_precision(model.eval().to("cuda" if torch.cuda.is_available() else "cpu"), precision),
        tokenizer=tokenizer,
        fingerprint=model_digest(name) + ("" if precision == "fp32" else f" {precision}"),
        max_source_tokens=card.max_source_tokens if card else SOURCE_TOKENS,
        max_target_tokens=card.max_target_tokens if card else TARGET_TOKENS,
        affixes=build_affixes(tokenizer, chat=chat) if is_causal(model) else None,
        chat=chat,
    )


def write_all(
    loaded: LocalModel,
    cell: Cell,
    sample: Sequence[SampledSession],
    examples: Mapping[str, Sequence[SampledSession]],
    cache: AnswerCache,
) -> Written:
    """Write a title for every session, greedily; a prompt that is too long loses its oldest titles first.

    Args:
        loaded: What writes.
        cell: What it is told; its examples come before the prompt, and do not count as part of it.
        sample: Sessions.
        examples: By locale.
        cache: Keeps what was written.

    Returns:
        The answers, in the sessions' order.

    Raises:
        ConfigError: the prompt's wording alone fills the model's length, or the examples its context.
    """
    asked = _ask(loaded, cell, sample, examples)
    known = cache.read([one.key for one in asked])
    missing = {one.key: one.tokens for one in asked if one.key not in known}
    encoder = TitleTokenizer(loaded.tokenizer, loaded.affixes)
    ordered = sorted(missing, key=lambda key: (len(missing[key]), key))
    with progress_bar() as bar:
        task = bar.add_task(cell.label, total=len(asked), completed=len(asked) - len(missing), note="")
        for start in range(0, len(ordered), BATCH):
            batch = ordered[start : start + BATCH]
            written = _write_batch(loaded, encoder, [missing[key] for key in batch])
            came = dict(zip(batch, written, strict=True))
            cache.add(came)
            known.update(came)
            bar.advance(task, len(batch))
    return Written([known[one.key] for one in asked], len(missing), sum(one.cut for one in asked))


@dataclass(frozen=True)
class _Asked:
    """A prompt in its frame, what its answer is kept by, and whether it lost titles."""

    tokens: Sequence[int]
    key: str
    cut: bool


def _ask(
    loaded: LocalModel, cell: Cell, sample: Sequence[SampledSession], examples: Mapping[str, Sequence[SampledSession]]
) -> list[_Asked]:
    if not cell.shots:
        return _framed(loaded, cell, cell.prompt, sample, loaded.affixes)
    asked: dict[int, _Asked] = {}
    question = replace(cell.prompt, system="")  # it is told once, before the examples
    for locale in dict.fromkeys(session.locale for session in sample):
        places = [place for place, session in enumerate(sample) if session.locale == locale]
        sessions = [sample[place] for place in places]
        encoder = TitleTokenizer(loaded.tokenizer, loaded.affixes)
        told = [
            {**message, "content": encoder.harmless(message["content"])}
            for message in chat_messages(cell, sessions[:1], examples)[0][:-1]
        ]
        affixes = build_affixes(loaded.tokenizer, chat=loaded.chat, told=told)
        asked.update(zip(places, _framed(loaded, cell, question, sessions, affixes), strict=True))
    return [asked[place] for place in range(len(sample))]


def _framed(
    loaded: LocalModel, cell: Cell, prompt: Prompt, sample: Sequence[SampledSession], affixes: PromptAffixes | None
) -> list[_Asked]:
    """Prompts of sessions of one frame, cut to the model's length; what the frame tells before them is not counted."""
    encoder = TitleTokenizer(loaded.tokenizer, affixes)
    sessions = [(session.locale, session.products[-cell.k :]) for session in sample]
    told = list(affixes.before) if affixes and affixes != loaded.affixes else []
    usual = len(loaded.affixes.before) if loaded.affixes and told else 0
    length = loaded.max_source_tokens + len(told) - usual
    context = getattr(loaded.model.config, "max_position_embeddings", None) or length + loaded.max_target_tokens
    if length + loaded.max_target_tokens > context:
        needed = f"{length + loaded.max_target_tokens:,}"
        raise ConfigError(
            f"{cell.label}: examples, prompt and title take {needed} tokens, and the model has {context:,}; take fewer "
            "--shots"
        )
    try:
        texts, tokens = encode_prompts(prompt, encoder, sessions, length)
    except ConfigError as error:
        raise ConfigError(
            f"{cell.label}: the model reads {loaded.max_source_tokens} tokens, which this prompt fills without any "
            "part of a title; leave it out, or train a model with more --max-source-tokens"
        ) from error
    whole = [prompt.render(products, locale) for locale, products in sessions]
    fixed = {"weights": loaded.fingerprint, "max_tokens": loaded.max_target_tokens} | ({"told": told} if told else {})
    return [
        _Asked(ids, cache_key({**fixed, "prompt": text}), text != full)
        for ids, text, full in zip(tokens, texts, whole, strict=True)
    ]


def _write_batch(loaded: LocalModel, encoder: TitleTokenizer, prompts: Sequence[Sequence[int]]) -> list[Answer]:
    started = time.monotonic()
    if loaded.affixes is None:
        titles = decode_batch(loaded.model, loaded.tokenizer, prompts, max_tokens=loaded.max_target_tokens)
    else:  # lines of which one is to be the title
        titles = continue_prompts(
            loaded.model, loaded.tokenizer, prompts, holds_title, max_tokens=loaded.max_target_tokens
        )
    seconds = (time.monotonic() - started) / len(prompts)
    wrote = encode_titles(encoder, titles, loaded.max_target_tokens)
    return [
        Answer(title, len(prompt), len(ids), seconds) for title, prompt, ids in zip(titles, prompts, wrote, strict=True)
    ]
