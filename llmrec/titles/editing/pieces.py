"""What an edited title is made of, and what is known of each n-gram in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Floats, Ints
from llmrec.evaluation.bleu import ORDERS
from llmrec.ragged import Ragged, offsets_of
from llmrec.text.ngrams import NO_TITLE, TitleBook, numbered, occurrences, plain_grams, with_row
from llmrec.titles.editing.counts import Counts
from llmrec.within import places_among

__all__ = ["AGES", "FEATURES", "Grams", "Pieces", "describe", "labels", "recent_pieces"]

Hashes = NDArray[np.uint64]
AGES: Final = 6  # most recent titles that an n-gram is looked for in
_PIECE: Final = (
    "age", "told", "weight", "length", "titles", "rate_mean", "rate_highest", "in_last", "in_own", "in_own_mean",
    "copies", "last_in_second", "last_in_third", "second_in_third",
)  # fmt: skip
_GRAM: Final = ("place", "rest", "rate", "seen", "wanted", "rate_lowest", "held", "before", "support")
FEATURES: Final = (
    *(f"order.{order}" for order in range(1, ORDERS + 1)), *_PIECE, *_GRAM, *(f"age.{age}" for age in range(3)),
)  # fmt: skip


@dataclass(frozen=True)
class Pieces:
    """Titles, or phrases, that ``S`` sessions' titles are made of; a session's in the order of the title.

    Attributes:
        rows: Shape ``(P,)``, ascending; session.
        titles: Shape ``(P,)``; places in a book.
        ages: Shape ``(P,)``; how many titles of the session came after it; -1 for one that is not the session's.
        weights: Shape ``(P,)``; probability of the next title to be this one, where that is told; else 0.
    """

    rows: Ints
    titles: Ints
    ages: Ints
    weights: NDArray[np.float64]

    def joined(self, other: Pieces) -> Pieces:
        """These, and behind them the other's, session by session."""
        rows = np.concatenate([self.rows, other.rows])
        order = np.argsort(rows, kind="stable")
        columns = ((getattr(self, name), getattr(other, name)) for name in ("titles", "ages", "weights"))
        return Pieces(rows[order], *(np.concatenate(pair)[order] for pair in columns))


@dataclass(frozen=True)
class Grams:
    """n-grams of pieces, order after order.

    Attributes:
        pieces: Shape ``(G,)``; piece of each.
        orders: Shape ``(G,)``; tokens of each, less one.
        starts: Shape ``(G,)``; place of its first token among the tokens of all pieces.
        keys: Shape ``(G,)``; its hash, session and number of equal ones before it in the session included.
    """

    pieces: Ints
    orders: Ints
    starts: Ints
    keys: Hashes


def recent_pieces(own: Ragged, k: int) -> Pieces:
    """The K most recent titles of sessions (oldest first in ``own``), the last one first."""
    parts = [own.from_end(np.arange(len(own)), age) for age in range(k)]
    rows = np.concatenate([rows for rows, _ in parts])
    ages = np.concatenate([np.full(len(rows), age) for age, (rows, _) in enumerate(parts)])
    order = np.argsort(rows, kind="stable")
    return Pieces(rows[order], np.concatenate([titles for _, titles in parts])[order], ages[order], np.zeros(len(rows)))


def describe(
    book: TitleBook, own: Ragged, pieces: Pieces, counts: Counts, evidence: tuple[Ints, Ints, Floats] | None = None
) -> tuple[Grams, Floats]:
    """n-grams of pieces, and features ``(G, F)`` of each by `FEATURES`.

    Args:
        book: Titles.
        own: Titles of ``S`` sessions, oldest first.
        pieces: What their titles are made of.
        counts: What other sessions say of n-grams.
        evidence: Session, title and probability of titles that may be the next.
    """
    owner, tokens = book.flat_tokens(pieces.titles)
    lengths = np.bincount(owner, minlength=len(pieces.titles))
    rates, _, _ = counts.of(tokens, 1)
    held_words = _held(book, own, *plain_grams(owner, tokens, 1)[:2], pieces.rows, 1)
    shared = _of_pieces(pieces, own, owner, lengths, held_words, rates)
    starts = offsets_of(lengths)[:-1]
    parts, columns = [], []
    for order in range(1, ORDERS + 1):
        which, keys, places = plain_grams(owner, tokens, order)
        rows = pieces.rows[which]
        before = occurrences(rows, keys)
        held = held_words if order == 1 else _held(book, own, which, keys, pieces.rows, order)
        rate, seen, wanted = counts.of(keys, order)
        lowest = rates[places]
        for step in range(1, order):
            lowest = np.minimum(lowest, rates[places + step])
        place = places - starts[which]
        support = _support(book, evidence, rows, keys, order)
        own_columns = [
            *(np.full(len(keys), one == order) for one in range(1, ORDERS + 1)), *shared[which].T, place,
            lengths[which] - place - order, rate, seen, wanted, lowest, held.mean(axis=1), before, support,
            *held[:, :3].T,
        ]  # fmt: skip
        columns.append(np.column_stack(own_columns).astype(np.float32))
        parts.append((which, np.full(len(which), order - 1), places, numbered(with_row(keys, rows), before)))
    joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Grams(*joined), np.concatenate(columns)


def labels(book: TitleBook, grams: Grams, targets: Ints) -> Floats:
    """1 for each n-gram that the target of its session (`NO_TITLE`: none) has as often as it comes; shape ``(G,)``."""
    known = np.flatnonzero(targets != NO_TITLE)
    found = np.zeros(len(grams.keys), dtype=np.float32)
    owner, tokens = book.flat_tokens(targets[known])
    for order in range(ORDERS):
        rows, keys, _ = plain_grams(owner, tokens, order + 1)
        asked = np.sort(numbered(with_row(keys, known[rows]), occurrences(rows, keys)))
        mine = np.flatnonzero(grams.orders == order)
        found[mine] = places_among(asked, grams.keys[mine]) >= 0
    return found


def _held(book: TitleBook, own: Ragged, which: Ints, keys: Hashes, rows: Ints, order: int) -> Floats:
    """Whether each n-gram is in each of its session's most recent titles, shape ``(G, AGES)``."""
    wanted = with_row(keys, rows[which])
    held = np.zeros((len(keys), AGES), dtype=np.float32)
    for age in range(AGES):
        sessions, titles = own.from_end(np.arange(len(own)), age)
        if not len(sessions):
            break
        owner, mine, _ = plain_grams(*book.flat_tokens(titles), order)
        held[:, age] = places_among(np.unique(with_row(mine, sessions[owner])), wanted) >= 0
    return held


def _of_pieces(
    pieces: Pieces, own: Ragged, owner: Ints, lengths: Ints, held: Floats, rates: Floats
) -> NDArray[np.float64]:
    """Features of pieces, shape ``(P, len(_PIECE))``."""
    number, length = len(lengths), np.maximum(lengths, 1)
    shares = np.column_stack([np.bincount(owner, held[:, age], number) / length for age in range(AGES)])
    others = shares.copy()
    mine = np.flatnonzero((pieces.ages >= 0) & (pieces.ages < AGES))
    others[mine, pieces.ages[mine]] = 0.0
    there = np.minimum(own.lengths[pieces.rows], AGES) - (pieces.ages >= 0)
    highest = np.zeros(number)
    np.maximum.at(highest, owner, rates)
    same = _same_titles(own, pieces)
    first, second = (_age_shares(pieces, shares, len(own), age) for age in range(2))
    columns = [
        pieces.ages, pieces.ages < 0, pieces.weights, lengths, own.lengths[pieces.rows],
        np.bincount(owner, rates, number) / length, highest, others[:, 0], others.max(axis=1),
        others.sum(axis=1) / np.maximum(there, 1), same, first[:, 1][pieces.rows], first[:, 2][pieces.rows],
        second[:, 2][pieces.rows],
    ]  # fmt: skip
    return np.column_stack(columns)


def _same_titles(own: Ragged, pieces: Pieces) -> NDArray[np.float64]:
    """How often the session holds a piece's title."""
    number = int(max(own.values.max(initial=0), pieces.titles.max(initial=0))) + 1
    held, times = np.unique(own.rows * number + own.values, return_counts=True)
    return np.append(times, 0).astype(np.float64)[places_among(held, pieces.rows * number + pieces.titles)]


def _age_shares(pieces: Pieces, shares: NDArray[np.float64], number: int, age: int) -> NDArray[np.float64]:
    """For each session, what share of its title of some age is in its titles of the others; 0 where it is no piece."""
    found = np.zeros((number, AGES))
    mine = np.flatnonzero(pieces.ages == age)
    found[pieces.rows[mine]] = shares[mine]
    return found


def _support(
    book: TitleBook, evidence: tuple[Ints, Ints, Floats] | None, rows: Ints, keys: Hashes, order: int
) -> NDArray[np.float64]:
    """Probability of the titles told that have each n-gram, shape ``(G,)``."""
    if evidence is None:
        return np.zeros(len(keys))
    told, titles, weights = evidence
    owner, mine, _ = plain_grams(*book.flat_tokens(titles), order)
    kept = occurrences(owner, mine) == 0
    owner, mine = owner[kept], mine[kept]
    held, where = np.unique(with_row(mine, told[owner]), return_inverse=True)
    sums = np.bincount(where, weights=weights[owner], minlength=len(held))
    return np.append(sums, 0.0)[places_among(held, with_row(keys, rows))]
