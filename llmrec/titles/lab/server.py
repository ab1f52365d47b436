"""Chat models behind any server that speaks OpenAI's protocol."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from llmrec.servers.openai_server import Failure, OpenAIServer
from llmrec.titles.lab.answers import Answer

__all__ = ["ChatServer"]

_MOST_TOKENS: Final = 1 << 40


@dataclass
class ChatServer(OpenAIServer):
    """A server of chat models, asked from several threads at once."""

    WAYS: ClassVar[Mapping[str, str]] = {
        "404": "check --model and --server, which mostly ends in /v1",
        "429": "lower --concurrency or wait for more quota, then run the same command again: answers are kept",
        "again": "see to the server, then run the same command again: answers that came are kept",
        "refused": "check --model and --max-tokens; a smaller --k or --shots makes a shorter prompt",
    }

    def ask(self, model: str, messages: Sequence[Mapping[str, str]], settings: Mapping[str, Any]) -> Answer:
        """Have a model answer; an attempt that fails for the moment is repeated, later and later.

        Args:
            model: Its name on the server.
            messages: From `llmrec.text.prompts.Prompt.messages`.
            settings: ``temperature``, ``max_tokens``, ``seed``; ``logprobs`` for those of the answer's first token.

        Raises:
            ModelError: the server refuses the request, or has failed too often; one line that names server and reason.
        """

        def create(client: Any) -> Any:
            chat = client.chat.completions.with_raw_response
            return chat.create(model=model, messages=list(messages), **settings)

        return self.call(create, self._read)

    def _read(self, body: str, seconds: float) -> Answer:
        """Answer in a reply's body.

        Raises:
            Failure: half a JSON, or one without an answer in it.
        """
        try:
            content = json.loads(body)
            choice = content["choices"][0]
            text = choice["message"]["content"]
            usage = content.get("usage") or {}
            tokens = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            raise self.unreadable(body) from None
        if text is not None and not isinstance(text, str):
            raise Failure("a reply whose content is no text", again=True)
        read, wrote = (count if type(count) is int and 0 <= count < _MOST_TOKENS else None for count in tokens)
        whole = (text or "").encode("utf-8", "replace").decode()  # half of a surrogate pair is no character
        return Answer(self.hidden(whole), read, wrote, seconds, _first_token(choice))


def _first_token(choice: Mapping[str, Any]) -> dict[str, float] | None:
    """Log-probabilities of the tokens that an answer may start with; None where the server does not say."""
    try:
        listed = choice["logprobs"]["content"][0]["top_logprobs"]
        found = {str(one["token"]): min(0.0, float(one["logprob"])) for one in listed}
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return None
    return {token: value for token, value in found.items() if value == value} or None
