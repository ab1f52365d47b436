"""Learnt phrases: runs of words that next titles have often, and how likely each is after the words of a last title."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Floats, Ints, checked
from llmrec.ragged import Ragged
from llmrec.text.ngrams import NO_TITLE, TitleBook, plain_grams, with_row
from llmrec.titles.editing.kept_words import kept_text
from llmrec.titles.editing.told import Told
from llmrec.within import places_among

__all__ = ["Phrases", "learn_phrases"]

LONGEST: Final = 40  # words of a phrase
LEAST: Final = 4  # next titles that have one
_SHORTEST: Final = 2
_INSIDE: Final = 0.7  # a phrase goes where a longer one around it has so much of its count
_PRIOR: Final = 5.0  # a word counts as if it had been seen so often more, followed by a phrase as often as any word
_WORDS: Final = 4  # of these sessions at least a last title has a word that tells of phrases


@dataclass(frozen=True)
class Phrases:
    """``V`` phrases.

    Attributes:
        texts: The phrases.
        words: Shape ``(U,)``, ascending; hashes of words of last titles.
        rates: Shape ``(U + 1, V)``; how often the next title has each phrase after each word, last of all after any.
    """

    texts: tuple[str, ...]
    words: NDArray[np.uint64]
    rates: Floats

    def told(self, book: TitleBook, own: Ragged, first: int, number: int) -> Told:
        """The likeliest phrases after each session's last title; they are in the book from ``first`` on."""
        if not self.texts:
            return Told.none()
        sessions = np.flatnonzero(own.lengths > 0)
        owner, tokens = book.flat_tokens(own.ends[sessions])
        places = places_among(self.words, tokens)
        owner, places = owner[places >= 0], places[places >= 0]
        sums = np.zeros((len(sessions), len(self.texts)), dtype=np.float32)
        np.add.at(sums, owner, self.rates[places])
        known = np.bincount(owner, minlength=len(sessions))
        likely = np.where(known[:, None] > 0, sums / np.maximum(known, 1)[:, None], self.rates[-1])
        number = min(number, len(self.texts))
        best = np.sort(np.argpartition(-likely, number - 1, axis=1)[:, :number], axis=1)
        weights = np.take_along_axis(likely, best, axis=1).astype(np.float64)
        return Told(np.repeat(sessions, number), best.ravel() + first, weights.ravel())

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Its arrays by name, for a file."""
        return {"phrases.words": self.words, "phrases.rates": self.rates}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], texts: tuple[str, ...]) -> Phrases:
        """What `arrays` gave.

        Raises:
            ValueError: an array is of another kind or shape.
        """
        words = checked(arrays, "phrases.words", "uint64", (None,), rising="strictly")
        rates = checked(arrays, "phrases.rates", "float32", (len(words) + 1, len(texts)), least=0)
        return cls(texts, words, rates)


def learn_phrases(book: TitleBook, own: Ragged, targets: Ints, number: int) -> Phrases:
    """Learn from labelled sessions.

    Args:
        book: Titles.
        own: Titles of ``S`` sessions, oldest first.
        targets: Shape ``(S,)``; title of each session's target, or `NO_TITLE`.
        number: Most phrases.
    """
    known = np.flatnonzero((targets != NO_TITLE) & (own.lengths > 0))
    rows, keys, titles, starts, orders = _frequent(book, targets[known], number)
    texts = tuple(_text(book, *one) for one in zip(titles.tolist(), starts.tolist(), orders.tolist(), strict=True))
    owner, tokens = book.flat_tokens(own.ends[known])
    _, first = np.unique(with_row(tokens, owner), return_index=True)
    owner, tokens = owner[first], tokens[first]
    distinct, times = np.unique(tokens, return_counts=True)
    words, seen = distinct[times >= _WORDS], times[times >= _WORDS]
    places = places_among(words, tokens)
    owner, places = owner[places >= 0], places[places >= 0]
    has = np.zeros((len(known), len(texts)), dtype=np.float32)
    has[rows, keys] = 1.0
    average = has.mean(axis=0) if len(known) else np.zeros(len(texts), np.float32)
    sums = np.zeros((len(words), len(texts)), dtype=np.float32)
    np.add.at(sums, places, has[owner])
    rates = (sums + _PRIOR * average) / (seen[:, None] + _PRIOR)
    return Phrases(texts, words, np.concatenate([rates, average[None]]).astype(np.float32))


def _frequent(book: TitleBook, titles: Ints, number: int) -> tuple[Ints, Ints, Ints, Ints, Ints]:
    """Phrases of titles: which title has which, and of each phrase a title, its first word there, and its length."""
    owner, tokens = book.flat_tokens(titles)
    began = np.concatenate([[0], np.cumsum(book.lengths[titles])])
    levels = [_level(owner, tokens, order) for order in range(_SHORTEST, LONGEST + 1)]
    parts = []
    for place, (_, where, times, first, spot) in enumerate(levels):
        longer = np.zeros(len(times), dtype=np.int64)
        if place + 1 < len(levels):
            _, above, counts, _, spots = levels[place + 1]
            at = np.full(len(tokens) + 1, -1, dtype=np.int64)
            at[spot] = where
            for shift in (0, 1):  # a longer one begins or ends with it
                inner = at[spots + shift]
                np.maximum.at(longer, inner[inner >= 0], counts[above[inner >= 0]])
        good = (times >= LEAST) & (longer < _INSIDE * times)
        order = place + _SHORTEST
        parts += [(times[one] * order, order, one, place, first[one]) for one in np.flatnonzero(good).tolist()]
    chosen = sorted(parts, key=lambda one: (-one[0], one[1], one[4]))[:number]
    rows_of, keys_of = [], []
    for key, (_, _, one, place, _) in enumerate(chosen):
        rows, where, *_ = levels[place]
        mine = np.unique(rows[where == one])
        rows_of.append(mine)
        keys_of.append(np.full(len(mine), key))
    spots = np.array([levels[place][4][first] for _, _, _, place, first in chosen], dtype=np.int64)
    none = np.zeros(0, dtype=np.int64)
    return (
        np.concatenate([none, *rows_of]),
        np.concatenate([none, *keys_of]),
        titles[owner[spots]],
        spots - began[owner[spots]],
        np.array([order for _, order, *_ in chosen], dtype=np.int64),
    )


def _level(owner: Ints, tokens: NDArray[np.uint64], order: int) -> tuple[Ints, Ints, Ints, Ints, Ints]:
    """n-grams of one order: title, which one it is, titles that have each, where each is first, and their places."""
    rows, keys, spots = plain_grams(owner, tokens, order)
    distinct, first, where = np.unique(keys, return_index=True, return_inverse=True)
    pairs = np.unique(where * (int(rows.max(initial=0)) + 1) + rows)
    times = np.bincount(pairs // (int(rows.max(initial=0)) + 1), minlength=len(distinct))
    return rows, where, times, first, spots


def _text(book: TitleBook, title: int, start: int, order: int) -> str:
    kept = np.zeros(int(book.lengths[title]), dtype=np.bool_)
    kept[start : start + order] = True
    return kept_text(book.texts[title].as_py(), kept, book.way(book.locales[title].as_py()))
