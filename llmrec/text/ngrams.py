"""Titles as n-grams in flat arrays: what any number of titles have in common, without a loop over pairs.

An n-gram that stands in a title a second time is another n-gram, so that sums over equal ones are BLEU's clipped
counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llmrec.arrays import Ints
from llmrec.console import track
from llmrec.evaluation.bleu import ORDERS, tokenize_title
from llmrec.languages import PAPER_BLEU
from llmrec.ragged import Ragged, offsets_of, row_numbers
from llmrec.within import nth_within, places_among, starts_anew

__all__ = [
    "NO_TITLE",
    "TitleBook",
    "agreement",
    "lengths_by_order",
    "numbered",
    "occurrences",
    "plain_grams",
    "summed",
    "token_support",
    "with_row",
]

Floats = NDArray[np.float64]
Hashes = NDArray[np.uint64]

NO_TITLE: Final = -1
_ODD: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX: Final = np.uint64(0xBF58476D1CE4E5B9)
_SHIFT: Final = np.uint64(31)


@dataclass(frozen=True)
class TitleBook:
    """``N`` titles and their tokens.

    Attributes:
        texts: Arrow strings, shape ``(N,)``.
        tokens: Of each title; a 64-bit hash of each, the same in every process.
        locales: Arrow strings, shape ``(N,)``.
        tokenizers: BLEU tokenizer of each locale that has another than the paper's.
    """

    texts: Any
    tokens: Ragged
    locales: Any
    tokenizers: Mapping[str, str]

    @classmethod
    def of(cls, texts: Sequence[str] | Any, locales: Any = None, tokenizers: Mapping[str, str] | None = None) -> Self:
        """Tokenize titles as BLEU does in their locales; by the paper's tokenizer where these are not given."""
        column = texts if isinstance(texts, pa.Array) else pa.array(list(texts), pa.string())
        shops = pa.repeat("", len(column)) if locales is None else locales
        ways = tokenizers or {}
        known: dict[tuple[str, str], int] = {}
        lengths, hashes = np.zeros(len(column), dtype=np.int64), []
        titles = zip(column.to_pylist(), shops.to_pylist(), strict=True)
        for place, (text, locale) in enumerate(track(titles, "titles", len(column))):
            way = ways.get(locale, PAPER_BLEU)
            words = tokenize_title(text, way)
            lengths[place] = len(words)
            for word in words:
                if (way, word) not in known:
                    known[way, word] = _hash(word, way)
                hashes.append(known[way, word])
        return cls(column, Ragged(offsets_of(lengths), np.array(hashes, dtype=np.uint64)), shops, ways)

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def lengths(self) -> Ints:
        """Tokens of each title, shape ``(N,)``."""
        return self.tokens.lengths

    def way(self, locale: str) -> str:
        """BLEU tokenizer of a locale's titles."""
        return self.tokenizers.get(locale, PAPER_BLEU)

    def ways(self, titles: Ints) -> NDArray[np.str_]:
        """BLEU tokenizer of each of some titles; empty for `NO_TITLE`."""
        names = self.locales.take(pa.array(titles.clip(0))).to_pylist() if len(self) else [""] * len(titles)
        told = zip(names, titles.tolist(), strict=True)
        return np.array([self.way(name) if title != NO_TITLE else "" for name, title in told], dtype=np.str_)

    def joined(self, other: TitleBook) -> TitleBook:
        """These titles, then the other's."""
        texts, locales = (
            pa.concat_arrays([mine, theirs])
            for mine, theirs in ((self.texts, other.texts), (self.locales, other.locales))
        )
        return TitleBook(texts, Ragged.joined([self.tokens, other.tokens]), locales, self.tokenizers)

    def taken(self, titles: Ints) -> TitleBook:
        """Some of the titles."""
        rows = pa.array(titles)
        return TitleBook(self.texts.take(rows), self.tokens.take(titles), self.locales.take(rows), self.tokenizers)

    def flat_tokens(self, titles: Ints) -> tuple[Ints, Hashes]:
        """Tokens of some titles, title after title: the place in ``titles`` of each, and its hash."""
        lengths, places = self.tokens.places(titles)
        return row_numbers(lengths), self.tokens.values[places]

    def grams(self, titles: Ints, order: int) -> tuple[Ints, Hashes]:
        """The same for n-grams of ``order`` tokens; equal hashes are equal n-grams at equal counts."""
        distinct, where = np.unique(titles, return_inverse=True)
        rows, keys = _grams_of_distinct(self, distinct, order)
        grams = Ragged(offsets_of(np.bincount(rows, minlength=len(distinct))), keys).take(where)
        return grams.rows, grams.values


def _hash(word: str, way: str) -> int:
    """A character of one tokenizer is no word of another."""
    key = word if way == PAPER_BLEU else f"{way}\0{word}"
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")


def agreement(
    book: TitleBook, rows: Ints, titles: Ints, evidence_rows: Ints, evidence: Ints, weights: Floats
) -> Floats:
    """n-grams that each title shares with its session's evidence, weighed: expected matches where weights add up to 1.

    Args:
        book: The titles.
        rows: Shape ``(C,)``; session of each title.
        titles: Shape ``(C,)``; places in the book.
        evidence_rows: Shape ``(E,)``; session of each title it is held against.
        evidence: Shape ``(E,)``; places in the book.
        weights: Shape ``(E,)``.

    Returns:
        Shape ``(C, 4)``; matches of n-grams for n = 1-4, clipped as BLEU's.
    """
    shared = np.zeros((len(titles), ORDERS))
    for order in range(ORDERS):
        owner, keys = book.grams(evidence, order + 1)
        held, inverse = np.unique(with_row(keys, evidence_rows[owner]), return_inverse=True)
        if not len(held):
            continue
        sums = summed(inverse, weights[owner], len(held))
        owner, keys = book.grams(titles, order + 1)
        shared[:, order] = np.bincount(
            owner, weights=_found(with_row(keys, rows[owner]), held, sums), minlength=len(titles)
        )
    return shared


def token_support(
    book: TitleBook, rows: Ints, titles: Ints, evidence_rows: Ints, evidence: Ints, weights: Floats
) -> tuple[Ints, Floats]:
    """For each token of each title, the weight of its session's evidence that has it: places in ``titles``, weights."""
    owner, keys = book.grams(evidence, 1)
    held, inverse = np.unique(with_row(keys, evidence_rows[owner]), return_inverse=True)
    sums = summed(inverse, weights[owner], len(held))
    owner, keys = book.grams(titles, 1)
    return owner, _found(with_row(keys, rows[owner]), held, sums)


def lengths_by_order(lengths: Ints) -> Floats:
    """n-grams of titles of some lengths, shape ``(C, 4)``."""
    written: Floats = np.maximum(lengths[:, None] - np.arange(ORDERS), 0).astype(np.float64)
    return written


def summed(rows: Ints, values: Floats, number: int) -> Floats:
    """Sum of the values of each of ``number`` rows."""
    sums: Floats = np.bincount(rows, weights=values, minlength=number).astype(np.float64)
    return sums


def _found(keys: Hashes, held: Hashes, sums: Floats) -> Floats:
    return np.append(sums, 0.0)[places_among(held, keys)]


def _mixed(keys: Hashes) -> Hashes:
    """Spread the bits; whole numbers wrap around."""
    keys = (keys ^ (keys >> _SHIFT)) * _MIX
    return keys ^ (keys >> _SHIFT)


def with_row(keys: Hashes, rows: Ints) -> Hashes:
    """n-grams that differ by their session."""
    return _mixed(keys + (rows.astype(np.uint64) + np.uint64(1)) * _ODD)


def _grams_of_distinct(book: TitleBook, titles: Ints, order: int) -> tuple[Ints, Hashes]:
    rows, keys, _ = plain_grams(*book.flat_tokens(titles), order)
    return rows, numbered(keys, occurrences(rows, keys))


def plain_grams(rows: Ints, tokens: Hashes, order: int) -> tuple[Ints, Hashes, Ints]:
    """n-grams of titles, those that stand in a title twice being equal.

    Args:
        rows: Shape ``(T,)``; title of each token, ascending.
        tokens: Shape ``(T,)``; title after title.
        order: Tokens of an n-gram.

    Returns:
        Title, hash, and place in ``tokens`` of the first token of each n-gram.
    """
    ends = np.cumsum(np.bincount(rows))[rows]
    places = np.flatnonzero(np.arange(len(rows)) + order <= ends)
    keys = tokens[places]
    for step in range(1, order):
        keys = _mixed(keys) * _ODD + tokens[places + step]
    return rows[places], keys, places


def numbered(keys: Hashes, counts: Hashes) -> Hashes:
    """n-grams that differ by how many equal ones come before them."""
    return _mixed(keys + counts * _MIX)


def occurrences(rows: Ints, keys: Hashes) -> Hashes:
    """How many equal n-grams of the same title, or session, come before each, shape ``(G,)``; ``rows`` ascend."""
    order = np.lexsort((keys, rows))  # stable, so that equal ones stay in their order
    counts = np.empty(len(order), dtype=np.uint64)
    counts[order] = nth_within(np.cumsum(starts_anew(rows[order], keys[order])) - 1).astype(np.uint64)
    return counts
