"""A model behind a server: it writes an order, or says how probable yes and no are; one request for each text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from llmrec.console import notice
from llmrec.errors import ConfigError, ModelError
from llmrec.reranking.methods import Ask, odds_of, order_of
from llmrec.reranking.settings import RerankSettings
from llmrec.text.prompts import Prompt
from llmrec.titles.lab.answers import Answer
from llmrec.titles.lab.asking import ask_all
from llmrec.titles.lab.cache import AnswerCache
from llmrec.titles.lab.server import ChatServer
from llmrec.titles.lab.settings import check_server

__all__ = ["check_method", "written_by_server"]

_LISTED: Final = 20  # first tokens that a server is asked for: OpenAI's limit


def check_method(settings: RerankSettings) -> None:
    """Refuse what no chat server answers.

    Raises:
        ConfigError: the method needs the probability of a given text.
    """
    if settings.method in ("likelihood", "pmi"):
        raise ConfigError(
            f"--method {settings.method} needs the log-probability of given titles, which chat servers do not tell; "
            "take --method list or yes, or a model on this machine"
        )


def written_by_server(
    settings: RerankSettings, prompt: Prompt, asks: Sequence[Ask], cache: AnswerCache
) -> tuple[list[list[float]], list[Answer]]:
    """Have a server answer; each answer is in the cache as soon as it came.

    Args:
        settings: Server, model and method.
        prompt: What is rendered.
        asks: What is asked.
        cache: Answers that were given before.

    Returns:
        What came of each ask, see `llmrec.reranking.methods.scores_of`, and the answers that say it.

    Raises:
        ConfigError: the URL is none.
        ModelError: the server refused a request, failed too often, or tells no probabilities; answers that came are
            kept.
    """
    server = ChatServer(check_server(settings.server or ""), settings.timeout_s, settings.retries)
    sampling: dict[str, Any] = {"temperature": 0.0, "max_tokens": settings.max_tokens, "seed": settings.seed}
    if settings.method == "yes":
        sampling |= {"max_tokens": 1, "logprobs": True, "top_logprobs": _LISTED}
    messages = [prompt.messages(ask.products, ask.locale, (), ask.shown) for ask in asks]
    written = ask_all(server, settings.model, messages, sampling, cache, settings.concurrency, "rerank")
    read = _odds if settings.method == "yes" else _orders
    return read(server.name, prompt, asks, written.answers), list(written.answers)


def _odds(name: str, prompt: Prompt, asks: Sequence[Ask], answers: Sequence[Answer]) -> list[list[float]]:
    if any(not answer.logprobs for answer in answers):
        raise ModelError(f"{name}: its answers hold no log-probabilities, which --method yes needs; take --method list")
    words = [prompt.words(ask.locale) for ask in asks]
    return [
        [odds_of(answer.logprobs or {}, some.get("yes", "Yes"), some.get("no", "No"))]
        for some, answer in zip(words, answers, strict=True)
    ]


def _orders(_: str, __: Prompt, asks: Sequence[Ask], answers: Sequence[Answer]) -> list[list[float]]:
    read = [order_of(answer.text, len(ask.shown)) for ask, answer in zip(asks, answers, strict=True)]
    dropped, missing = sum(one for _, one, _ in read), sum(one for _, _, one in read)
    if dropped or missing:
        notice(
            f"{len(read):,} orders: {dropped:,} labels named no candidate or one again and were dropped, "
            f"{missing:,} candidates were not named and follow in the order shown"
        )
    return [values for values, _, _ in read]
