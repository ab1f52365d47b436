"""What a chat model is told of a session, and how a person reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llmrec.data.store import Store
from llmrec.text.prompts import Prompt
from llmrec.titles.lab.sample import SampledSession, draw_examples
from llmrec.titles.lab.settings import Cell
from llmrec.titles.prompting.recent_products import read_session

__all__ = ["Messages", "chat_messages", "conversation_text", "render_chat"]

Messages = list[dict[str, str]]


def chat_messages(
    cell: Cell, sample: Sequence[SampledSession], examples: Mapping[str, Sequence[SampledSession]]
) -> list[Messages]:
    """What a model is told of each session, with the cell's K in examples and question alike."""
    conversations = []
    for session in sample:
        shown = examples.get(session.locale, ())[: cell.shots or 0]
        shots = [(example.products[-cell.k :], example.target) for example in shown]
        conversations.append(cell.prompt.messages(session.products[-cell.k :], session.locale, shots))
    return conversations


def conversation_text(messages: Messages) -> str:
    """Messages as one reads them: each below its role in brackets."""
    return "\n\n".join(f"[{message['role']}]\n{message['content']}" for message in messages)


def render_chat(prompt: Prompt, store: Store, split: str, session_id: int, *, k: int, shots: int, seed: int) -> str:
    """Write what a chat model is told of one session of a store, as `conversation_text`.

    Raises:
        DataError: the split has no such session.
        StoreError: the store has no such split.
    """
    locale, products = read_session(store, split, session_id, k, prompt.fields)
    session = SampledSession(session_id, locale, products, target="")
    examples = draw_examples(store, [session], shots, k=k, fields=prompt.fields, seed=seed)
    cell = Cell(model="", local=False, prompt=prompt, k=k, shots=shots)
    return conversation_text(chat_messages(cell, [session], examples)[0])
