"""A prompt with a session in it, and the title that the served model writes to it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

from llmrec.errors import LlmrecError
from llmrec.serving.page.page_messages import Filled, Prompted
from llmrec.serving.service import RequestError, Service
from llmrec.text.prompts import Prompt, load_prompt, prompt_names

__all__ = ["fill"]


def fill(asked: Prompted, service: Service) -> Filled:
    """Fill a prompt in, and let the title model answer it where one is served.

    Raises:
        RequestError: the prompt is not among the shipped ones, or no product of the session has a title.
    """
    if asked.prompt not in prompt_names():  # a path would read a file of the machine
        raise RequestError(f"no prompt {asked.prompt[:60]!r}; there are: {', '.join(prompt_names())}", "prompt")
    locale, prompt = service.locale(asked.locale), load_prompt(asked.prompt)
    given = [{"title": title} for title in asked.titles] or service.details_of(list(asked.items), locale)
    history = [{name: str(value) for name, value in one.items()} for one in given if one.get("title")][-asked.k :]
    if not history:
        raise RequestError("no product of the session has a title, which a prompt is made of", "items")
    try:
        filled = Filled(prompt=prompt.name, text=prompt.render(history, locale), last_title=history[-1]["title"])
        return filled if service.loaded.writer is None else _answered(filled, prompt, history, locale, asked.k, service)
    except LlmrecError as error:
        raise RequestError(str(error), "prompt") from error


def _answered(
    filled: Filled, prompt: Prompt, history: Sequence[Mapping[str, str]], locale: str, k: int, service: Service
) -> Filled:
    served: Any = service.loaded.writer
    writer = copy(served)  # the same model, decoded as it is decoded otherwise
    writer.card, writer.prompt = replace(served.card, prompt=prompt.name, prompt_hash=prompt.hash, k=k), prompt
    start = time.perf_counter()
    (title,) = writer.write([history], locale)
    filled.seconds = round(time.perf_counter() - start, 3)
    filled.title, filled.by = title, service.loaded.versions.get("titles", "titles")
    filled.read_tokens, filled.written_tokens = (
        len(served.tokenizer(text)["input_ids"]) for text in (filled.text, title)
    )
    return filled
