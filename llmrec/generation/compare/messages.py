"""What a chat model is told of a session, and how a person reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llmrec.generation.compare.sample import SampledSession
from llmrec.generation.compare.settings import Cell

__all__ = ["Messages", "chat_messages", "conversation_text"]

Messages = list[dict[str, str]]


def chat_messages(
    cell: Cell, sample: Sequence[SampledSession], examples: Mapping[str, Sequence[SampledSession]]
) -> list[Messages]:
    """What a model is told of each session, with the cell's K in examples and question alike."""
    told = []
    for session in sample:
        shown = examples.get(session.locale, ())[: cell.shots]
        shots = [(example.products[-cell.k :], example.target) for example in shown]
        told.append(cell.prompt.messages(session.products[-cell.k :], session.locale, shots))
    return told


def conversation_text(messages: Messages) -> str:
    """Messages as one reads them: each below its role in brackets."""
    return "\n\n".join(f"[{message['role']}]\n{message['content']}" for message in messages)
