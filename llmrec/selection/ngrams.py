"""Titles as n-grams in flat arrays: what any number of titles have in common, without a loop over pairs.

An n-gram that stands in a title a second time is another n-gram, so that sums over equal ones are BLEU's clipped
counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llmrec.console import track
from llmrec.evaluation.bleu import ORDERS, tokenize_title
from llmrec.ragged import Ragged, offsets_of, row_numbers
from llmrec.within import nth_within, starts_anew

__all__ = ["NO_TITLE", "TitleBook", "agreement", "lengths_by_order", "summed", "token_support"]

Ints = NDArray[np.int64]
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
    """

    texts: Any
    tokens: Ragged

    @classmethod
    def of(cls, texts: Sequence[str] | Any) -> TitleBook:
        """Tokenize titles as BLEU does."""
        column = texts if isinstance(texts, pa.Array) else pa.array(list(texts), pa.string())
        known: dict[str, int] = {}
        lengths, hashes = np.zeros(len(column), dtype=np.int64), []
        for place, text in enumerate(track(column.to_pylist(), "titles", len(column))):
            words = tokenize_title(text)
            lengths[place] = len(words)
            for word in words:
                if word not in known:
                    known[word] = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
                hashes.append(known[word])
        return cls(column, Ragged(offsets_of(lengths), np.array(hashes, dtype=np.uint64)))

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def lengths(self) -> Ints:
        """Tokens of each title, shape ``(N,)``."""
        return self.tokens.lengths

    def joined(self, other: TitleBook) -> TitleBook:
        """These titles, then the other's."""
        return TitleBook(pa.concat_arrays([self.texts, other.texts]), Ragged.joined([self.tokens, other.tokens]))

    def taken(self, titles: Ints) -> TitleBook:
        """Some of the titles."""
        return TitleBook(self.texts.take(pa.array(titles)), self.tokens.take(titles))

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
        held, inverse = np.unique(_with_row(keys, evidence_rows[owner]), return_inverse=True)
        if not len(held):
            continue
        sums = summed(inverse, weights[owner], len(held))
        owner, keys = book.grams(titles, order + 1)
        shared[:, order] = np.bincount(
            owner, weights=_found(_with_row(keys, rows[owner]), held, sums), minlength=len(titles)
        )
    return shared


def token_support(
    book: TitleBook, rows: Ints, titles: Ints, evidence_rows: Ints, evidence: Ints, weights: Floats
) -> tuple[Ints, Floats]:
    """For each token of each title, the weight of its session's evidence that has it: places in ``titles``, weights."""
    owner, keys = book.grams(evidence, 1)
    held, inverse = np.unique(_with_row(keys, evidence_rows[owner]), return_inverse=True)
    sums = summed(inverse, weights[owner], len(held))
    owner, keys = book.grams(titles, 1)
    return owner, _found(_with_row(keys, rows[owner]), held, sums)


def lengths_by_order(lengths: Ints) -> Floats:
    """n-grams of titles of some lengths, shape ``(C, 4)``."""
    written: Floats = np.maximum(lengths[:, None] - np.arange(ORDERS), 0).astype(np.float64)
    return written


def summed(rows: Ints, values: Floats, number: int) -> Floats:
    """Sum of the values of each of ``number`` rows."""
    sums: Floats = np.bincount(rows, weights=values, minlength=number).astype(np.float64)
    return sums


def _found(keys: Hashes, held: Hashes, sums: Floats) -> Floats:
    if not len(held):
        return np.zeros(len(keys))
    places = np.minimum(np.searchsorted(held, keys), len(held) - 1)
    return np.where(held[places] == keys, sums[places], 0.0)


def _mixed(keys: Hashes) -> Hashes:
    """Spread the bits; whole numbers wrap around."""
    keys = (keys ^ (keys >> _SHIFT)) * _MIX
    return keys ^ (keys >> _SHIFT)


def _with_row(keys: Hashes, rows: Ints) -> Hashes:
    return _mixed(keys + (rows.astype(np.uint64) + np.uint64(1)) * _ODD)


def _grams_of_distinct(book: TitleBook, titles: Ints, order: int) -> tuple[Ints, Hashes]:
    rows, tokens = book.flat_tokens(titles)
    counts = np.bincount(rows, minlength=len(titles))
    ends = np.cumsum(counts)[rows]
    places = np.flatnonzero(np.arange(len(rows)) + order <= ends)
    keys = tokens[places]
    for step in range(1, order):
        keys = _mixed(keys) * _ODD + tokens[places + step]
    rows = rows[places]
    return rows, _mixed(keys + _occurrences(rows, keys) * _MIX)


def _occurrences(rows: Ints, keys: Hashes) -> Hashes:
    """How many equal n-grams of the same title come before each, shape ``(G,)``."""
    order = np.lexsort((keys, rows))  # stable, so that equal ones stay in their order
    counts = np.empty(len(order), dtype=np.uint64)
    counts[order] = nth_within(np.cumsum(starts_anew(rows[order], keys[order])) - 1).astype(np.uint64)
    return counts
