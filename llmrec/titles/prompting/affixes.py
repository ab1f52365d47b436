"""What stands around a prompt before a title follows it: nothing but a line break, or a chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from llmrec.errors import ConfigError
from llmrec.text.sandbox.limited import LimitedEnvironment, compile_template, render

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


def build_affixes(tokenizer: Any, *, chat: bool, told: Sequence[Mapping[str, str]] = ()) -> PromptAffixes:
    """PromptAffixes of a causal model's prompts.

    Args:
        tokenizer: Its tokenizer.
        chat: As one turn of its chat template, thinking off; else the bare prompt and a line break.
        told: Messages that come before the prompt, with ``role`` and ``content``: a system message, examples as turns
            of user and assistant. They may hold no special token: the caller sees to that.

    Raises:
        ConfigError: ``chat`` and the tokenizer has no chat template, or one that changes what it is given.
    """
    if not chat:
        first = [tokenizer.bos_token_id] if _starts_with_bos(tokenizer) else []
        lines = "".join(f"{one['content']}\n" + "\n" * (one["role"] == "assistant") for one in told)
        return PromptAffixes(
            (*first, *_ids(tokenizer, lines)),
            tuple(_ids(tokenizer, "\n") or _ids(tokenizer, " ") or [tokenizer.eos_token_id]),
        )
    if not getattr(tokenizer, "chat_template", None):
        raise ConfigError("--chat: this model's tokenizer has no chat template; say --no-chat, or name a chat model")
    try:
        rendered = _in_chat(tokenizer, told)
    except Exception as error:  # a template is a model's own, and whatever it does is its error
        reason = " ".join(f"{error or type(error).__name__}".split())
        raise ConfigError(f"--chat: this model's chat template fails ({reason}); say --no-chat") from error
    before, mark, after = rendered.partition(MARK)
    if not mark or MARK in after:
        raise ConfigError("--chat: this model's chat template does not hold the prompt once; say --no-chat")
    return PromptAffixes(tuple(_ids(tokenizer, before)), tuple(_ids(tokenizer, after)))


def _in_chat(tokenizer: Any, told: Sequence[Mapping[str, str]]) -> str:
    """The mark as the last turn of a tokenizer's chat template, rendered as transformers does, but within limits."""
    from transformers.utils.chat_template_utils import _compile_jinja_template  # its filters, `raise_exception` …

    like = _compile_jinja_template("").environment
    environment = LimitedEnvironment(like, trim_blocks=True, lstrip_blocks=True)
    values = {
        **tokenizer.special_tokens_map,
        "messages": [*map(dict, told), {"role": "user", "content": MARK}],
        "tools": None,
        "documents": None,
        "add_generation_prompt": True,
        "enable_thinking": False,  # a title needs none; templates without the switch ignore it
    }
    return render(compile_template(environment, tokenizer.get_chat_template()), values)


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _starts_with_bos(tokenizer: Any) -> bool:
    return tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
