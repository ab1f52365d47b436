"""Answers of a chat model: several requests at once, each answer asked for once in a lifetime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any

from llmrec.console import progress_bar
from llmrec.errors import ModelError
from llmrec.titles.lab.answers import Written
from llmrec.titles.lab.cache import AnswerCache, cache_key
from llmrec.titles.lab.messages import Messages

if TYPE_CHECKING:
    from llmrec.titles.lab.server import ChatServer

__all__ = ["ask_all"]


def ask_all(
    server: ChatServer,
    model: str,
    conversations: Sequence[Messages],
    settings: Mapping[str, Any],
    cache: AnswerCache,
    concurrency: int,
    label: str,
) -> Written:
    """Have a model answer every conversation; each answer is in the cache as soon as it came.

    Args:
        server: The server.
        model: Its name on the server.
        conversations: From `chat_messages`.
        settings: Sampling settings.
        cache: Answers that were given before.
        concurrency: Most requests under way at once.
        label: What the progress and errors call the work.

    Returns:
        The answers, in the conversations' order.

    Raises:
        ModelError: the server refused a request or failed too often; names the work. Answers that came are kept.
    """
    keys = [
        cache_key({"server": server.name, "model": model, "messages": messages, "settings": dict(settings)})
        for messages in conversations
    ]
    known = cache.read(keys)
    missing = {key: messages for key, messages in zip(keys, conversations, strict=True) if key not in known}

    def ask(key: str) -> None:
        # kept before the thread asks again, so that a kill costs at most what is under way
        cache.add({key: server.ask(model, missing[key], settings)})

    with ThreadPoolExecutor(max_workers=concurrency) as pool, progress_bar() as bar:
        task = bar.add_task(label, total=len(keys), completed=len(keys) - len(missing), note="")
        asked = [pool.submit(ask, key) for key in missing]
        try:
            for future in as_completed(asked):
                future.result()
                bar.advance(task)
        except BaseException as error:
            server.stop()
            pool.shutdown(cancel_futures=True)  # what is under way is waited for and kept
            if isinstance(error, ModelError):
                raise ModelError(f"{label}: {error}") from error
            raise
    answers = cache.read(keys)  # of two processes that sampled, the first one's answer stands
    return Written([answers[key] for key in keys], len(missing))
