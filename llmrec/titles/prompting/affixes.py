"""What stands around a prompt before a title follows it: nothing but a line break, or a chat template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from llmrec.errors import ConfigError

__all__ = ["PromptAffixes", "build_affixes"]

MARK: Final = "\u2402prompt\u2403"  # stands in for the prompt; no template writes it


@dataclass(frozen=True)
class PromptAffixes:
    """Token ids around a causal model's prompt; the prompt between them is data, and spells no special token.

    Attributes:
        before: Ids before it: the tokenizer's first token, or the head of a chat template.
        after: Ids behind it; the title follows.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]


def build_affixes(tokenizer: Any, *, chat: bool) -> PromptAffixes:
    """PromptAffixes of a causal model's prompts.

    Args:
        tokenizer: Its tokenizer.
        chat: As one turn of its chat template, thinking off; else the bare prompt and a line break.

    Raises:
        ConfigError: ``chat`` and the tokenizer has no chat template, or one that changes what it is given.
    """
    if not chat:
        first = [tokenizer.bos_token_id] if _starts_with_bos(tokenizer) else []
        return PromptAffixes(
            tuple(first), tuple(_ids(tokenizer, "\n") or _ids(tokenizer, " ") or [tokenizer.eos_token_id])
        )
    if not getattr(tokenizer, "chat_template", None):
        raise ConfigError("--chat: this model's tokenizer has no chat template; leave --chat out, or name a chat model")
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": MARK}],
        tokenize=False,
        add_generation_prompt=True,
        enable_thinking=False,  # a title needs none; templates without the switch ignore it
    )
    before, mark, after = rendered.partition(MARK)
    if not mark or MARK in after:
        raise ConfigError("--chat: this model's chat template does not hold the prompt once; leave --chat out")
    return PromptAffixes(tuple(_ids(tokenizer, before)), tuple(_ids(tokenizer, after)))


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _starts_with_bos(tokenizer: Any) -> bool:
    return tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
