"""The one title in what a model said that nobody taught to write nothing else."""

from __future__ import annotations

import re
from typing import Final

from llmrec.text.prompts import one_line

__all__ = ["clean_title", "holds_title"]

_QUOTES: Final = ('""', "''", "“”", "„“", "””", "‘’", "«»", "»«", "「」", "『』", "``", "**")
_LABEL: Final = re.compile(
    r"\**(?:(?:next|predicted|product|nächster|produkt|prochain|próximo|siguiente|prossimo)\s+)*"
    r"(?:product[- ]?title|title|produkttitel|titel|título|titre|titolo|タイトル)\**\s*[:：]\s*\**\s*",
    re.IGNORECASE,
)
_NUMBER: Final = re.compile(r"^(?:\d{1,2}[.)]\s+)+")


def holds_title(text: str) -> bool:
    """Whether the title of an answer is known at the end of one of its lines, whatever would follow."""
    _, _, answer = text.rpartition("</think>")
    return "<think>" not in answer and any(not line.endswith((":", "：")) for line in _lines(answer))


def clean_title(text: str) -> str:
    """Cut an answer to one title.

    In this order: thoughts in ``<think>`` go, all of the answer where they were cut off before their end; the first
    line that is not empty stays, or the next one where it ends in a colon (an introduction); then go a number as of a
    list, a label such as ``Title:``, in the six languages, and quotation marks or asterisks that enclose the whole.

    Returns:
        The title on one line; "" where the answer holds none.
    """
    _, _, answer = text.rpartition("</think>")
    if "<think>" in answer:
        return ""
    lines = _lines(answer)
    while len(lines) > 1 and lines[0].endswith((":", "：")):
        del lines[0]
    if not lines:
        return ""
    line = _bare(lines[0])
    label = _LABEL.match(line)
    return _bare(line[label.end() :]) if label else line


def _bare(line: str) -> str:
    """Without a number in front and marks around, in whatever order."""
    bare = _unquoted(_NUMBER.sub("", line))
    return line if bare == line else _bare(bare)


def _lines(answer: str) -> list[str]:
    return [line for line in (one_line(_unquoted(one_line(line))) for line in answer.splitlines()) if line]


def _unquoted(text: str) -> str:
    """Without the marks around it; a mark of the title itself, as in ``24" Monitor, 15"``, stays."""
    for opening, closing in _QUOTES:
        for width in (2, 1):  # ** first
            left, right = opening * width, closing * width
            inner = text[len(left) : -len(right)]
            if text.startswith(left) and text.endswith(right) and inner and closing not in inner:
                return _unquoted(inner.strip())
    return text
