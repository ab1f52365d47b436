"""What a model reads: its prompt, K and lengths, from its own card and what was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from llmrec.errors import ConfigError
from llmrec.languages import VARIABLE
from llmrec.text.prompts import Prompt, load_prompt
from llmrec.titles.models.model import ModelCard, read_model_card

__all__ = ["DEFAULTS", "ModelCard", "decide_card"]

DEFAULTS: Final = {"k": 1, "max_source_tokens": 256, "max_target_tokens": 96}


def decide_card(
    model: str | None, prompt: str | None, chat: bool, given: Mapping[str, int | None]
) -> tuple[ModelCard, Prompt]:
    """What a model is to read: what is given, else what it was trained with, else `DEFAULTS`.

    Args:
        model: Folder or name of the model; None for one that is yet to be trained.
        prompt: Name or file of a prompt.
        chat: Whether a prompt is a turn of the model's chat template.
        given: ``k``, ``max_source_tokens`` and ``max_target_tokens``; None where nothing was asked for.

    Raises:
        ConfigError: there is no such prompt, or the model was trained on another text of it.
        ModelError: the model's card is damaged.
    """
    own = read_model_card(model) if model else None
    chosen = load_prompt(prompt or (own.prompt if own else "plain"))
    if own and chosen.name == own.prompt and chosen.hash != own.prompt_hash:
        raise ConfigError(
            f"{model}: trained on another text of prompt {chosen.name}; its file was edited since, or "
            f"{VARIABLE} names another language file"
        )
    wanted = {name: given.get(name) or getattr(own, name, default) for name, default in DEFAULTS.items()}
    chat = chat or (own is not None and own.chat)
    return ModelCard(prompt=chosen.name, prompt_hash=chosen.hash, chat=chat, **wanted), chosen
