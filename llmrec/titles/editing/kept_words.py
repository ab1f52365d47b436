"""Words of titles as their readers see them: kept ones are cut out of the title with the spaces that they had."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Final

from llmrec.arrays import Bools
from llmrec.evaluation.bleu import tokenize_title
from llmrec.languages import bleu_tokenizer, locale_of

__all__ = ["kept_text", "word_tokenizer"]

_ENTITY: Final = re.compile("&(?:quot|amp|lt|gt);")  # which 13a reads as characters


def word_tokenizer(locale: str) -> str:
    """Tokenizer that tells what a word of a locale's titles is: that of its BLEU, or characters where no spaces are."""
    return "char" if locale_of(locale).words == "characters" else bleu_tokenizer(locale)


def kept_text(title: str, kept: Bools, tokenize: str) -> str:
    """A title without the words that are not kept.

    Args:
        title: The title.
        kept: Whether to keep each of its words, shape ``(T,)``; words are those of `tokenize_title`.
        tokenize: Their tokenizer.

    Returns:
        What is left, one space where words between were dropped (none where characters are words); the title itself
        where all are kept.
    """
    if kept.all():
        return title
    words = tokenize_title(title, tokenize)
    spans = _located(title, words)
    if spans is None:
        return " ".join(word for word, stays in zip(words, kept, strict=True) if stays)
    parts: list[str] = []
    for place, (start, end) in enumerate(spans):
        if not kept[place]:
            continue
        if parts:
            before = spans[place - 1][1]
            gap = "" if tokenize == "char" else " "
            parts.append(title[before:start] if kept[place - 1] else gap)
        parts.append(title[start:end])
    return "".join(parts)


def _located(title: str, words: Sequence[str]) -> list[tuple[int, int]] | None:
    """Where each word is in its title; None where a tokenizer has changed one beyond what it is found by."""
    spans, place = [], 0
    for word in words:
        while place < len(title) and title[place].isspace():
            place += 1
        entity = _ENTITY.match(title, place)
        if entity and html.unescape(entity[0]) == word:
            end = entity.end()
        elif title.startswith(word, place):
            end = place + len(word)
        else:
            return None
        spans.append((place, end))
        place = end
    return spans
