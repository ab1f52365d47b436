"""What a model said, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmrec.records import Count

__all__ = ["Answer", "Written"]


@dataclass(frozen=True)
class Answer:
    """A model's answer as it came, with its cost.

    Attributes:
        text: What the model said, uncleaned.
        prompt_tokens: Tokens that it read; None where a server does not say.
        completion_tokens: Tokens that it wrote; None where a server does not say.
        seconds: From the request to the answer, without failed attempts; a batch's seconds are shared evenly.
        logprobs: Log-probability of each token that the answer may start with; None where it was not asked for.
    """

    text: str
    prompt_tokens: Count | None
    completion_tokens: Count | None
    seconds: float
    logprobs: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Written:
    """What a cell gave.

    Attributes:
        answers: One for each session of the sample.
        num_new: Answers that were written now, not read from the cache.
        num_cut: Prompts that lost their oldest titles to the model's length.
    """

    answers: Sequence[Answer]
    num_new: int
    num_cut: int = 0
