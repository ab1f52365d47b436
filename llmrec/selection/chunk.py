"""From sessions to offers: what learning and choosing share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llmrec.arrays import Ints
from llmrec.ragged import Ragged
from llmrec.rankers.fusion.candidates import Candidates
from llmrec.selection.features import describe, expected_matches
from llmrec.selection.hints import Hints
from llmrec.selection.linear import Prices
from llmrec.selection.model_writer import ModelWriter
from llmrec.selection.offers import GivenTitles, Offers, make_offers
from llmrec.selection.settings import SelectSettings
from llmrec.selection.survival import Survival
from llmrec.selection.table import TitleTable
from llmrec.text.ngrams import NO_TITLE, TitleBook, agreement
from llmrec.within import best_within, highest_within

__all__ = ["Offered", "likely_titles", "localised", "matches_of", "offered"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Offered:
    """Titles that ``S`` sessions can choose from.

    Attributes:
        book: Titles.
        own: Titles of the sessions' items.
        evidence: What offers are held against.
        offers: Titles that can be chosen, ``C``.
        expected: Shape ``(C, 4)``; matches that minimum Bayes risk expects.
        hints: What an edit model says, if one is asked.
        writer: A language model that says how likely it finds offers, if one is asked.
    """

    book: TitleBook
    own: Ragged
    evidence: GivenTitles
    offers: Offers
    expected: Floats
    hints: Hints | None = None
    writer: ModelWriter | None = None

    @property
    def lengths(self) -> Ints:
        """Tokens of each offer."""
        lengths: Ints = self.book.lengths[self.offers.titles]
        return lengths

    def features(self, survival: Survival, prices: Prices) -> tuple[list[str], NDArray[np.float32]]:
        """Names ``F`` and values ``(C, F)``, as `describe` gives them."""
        hinted = None if self.hints is None else self.hints.expected(self.book, self.offers)
        told = None
        if self.writer is not None and self.writer.settings.scored:
            value = prices.worth(self.expected) - prices.cost(self.lengths, 0.0)
            told = self.writer.log_probs(self.book, self.own, self.offers, value)
        return describe(self.book, self.own, self.offers, self.evidence, self.expected, survival, prices, hinted, told)


def likely_titles(
    found: Candidates, scores: NDArray[np.floating], ids: Any, locales: Any, table: TitleTable, depth: int
) -> GivenTitles:
    """Titles of likely products, weighed by the softmax of their scores over each session's ``depth`` best.

    Args:
        found: Candidates, sorted by session.
        scores: Shape ``(C,)``; logarithms of odds.
        ids: Arrow strings; id of each code.
        locales: Arrow strings; locale of each session.
        table: Titles.
        depth: Products of a session that weigh at all.
    """
    kept = best_within(found.rows, scores, depth)
    rows, values = found.rows[kept], np.asarray(scores, dtype=np.float64)[kept]
    weights = np.exp(values - highest_within(rows, values, len(locales))[rows])
    weights /= np.bincount(rows, weights=weights, minlength=len(locales))[rows]
    titles = table.titles_of(locales.take(pa.array(rows)), ids.take(pa.array(found.codes[kept])))
    votes = (~np.isnan(found.ranks[kept])).mean(axis=1) if len(kept) else np.zeros(0)
    return GivenTitles(rows, titles, weights, votes).taken(titles != NO_TITLE)


def offered(
    book: TitleBook,
    own: Ragged,
    evidence: GivenTitles,
    given: Sequence[GivenTitles],
    settings: SelectSettings,
    share: float,
    hints: Hints | None = None,
    writer: ModelWriter | None = None,
) -> Offered:
    """Offers of some sessions, and what they are expected to match.

    Args:
        book: Titles, those of the given runs among them.
        own: Titles of the sessions' items.
        evidence: Titles of likely products.
        given: What runs given by the user say.
        settings: Settings.
        share: What the given runs weigh together.
        hints: What an edit model says of the sessions, if one is asked; its titles are in the book.
        writer: A language model that is asked for log-probabilities, if one is.
    """
    every = evidence if "given" in settings.without else evidence.joined(given, share)
    written = None if hints is None else (hints.rows, hints.titles)
    offers = make_offers(len(book), own, every, settings, written)
    return Offered(book, own, every, offers, expected_matches(book, offers, every), hints, writer)


def matches_of(one: Offered, targets: Ints) -> Floats:
    """n-grams that each offer shares with its session's target, shape ``(C, 4)``; `NO_TITLE` shares none."""
    known = np.flatnonzero(targets != NO_TITLE)
    return agreement(one.book, one.offers.rows, one.offers.titles, known, targets[known], np.ones(len(known)))


def localised(
    book: TitleBook, own: Ragged, evidence: Sequence[GivenTitles]
) -> tuple[TitleBook, Ragged, list[GivenTitles]]:
    """The same with a book of the titles in use alone, so that work does not grow with the catalogue."""
    used = np.unique(np.concatenate([own.values, *(one.titles for one in evidence)]))
    small = [GivenTitles(one.rows, np.searchsorted(used, one.titles), one.weights, one.votes) for one in evidence]
    return book.taken(used), replace(own, values=np.searchsorted(used, own.values)), small
