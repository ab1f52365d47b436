"""What the choice among a session's titles is learnt from: agreement, length, words that survive, probabilities."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmrec.ragged import Ragged
from llmrec.selection.linear import Prices
from llmrec.selection.offers import GivenTitles, Offers
from llmrec.selection.survival import Survival
from llmrec.text.ngrams import NO_TITLE, TitleBook, agreement, lengths_by_order, summed
from llmrec.within import best_of_each, highest_within, rank_within

__all__ = ["describe", "expected_matches"]

Floats = NDArray[np.float64]

RECENCY: Final = 0.5  # weight of a session's title relative to the next one's


def expected_matches(book: TitleBook, offers: Offers, evidence: GivenTitles) -> Floats:
    """n-grams of each offer that the next title is expected to have, shape ``(C, 4)`` (minimum Bayes risk)."""
    return agreement(book, offers.rows, offers.titles, evidence.rows, evidence.titles, evidence.weights)


def describe(
    book: TitleBook,
    own: Ragged,
    offers: Offers,
    evidence: GivenTitles,
    expected: Floats,
    survival: Survival,
    prices: Prices,
    hinted: Floats | None = None,
    log_probs: Floats | None = None,
) -> tuple[list[str], NDArray[np.float32]]:
    """Names ``F`` and values ``(C, F)``; NaN where a thing is not known.

    Args:
        book: Titles.
        own: Titles of the ``S`` sessions' items.
        offers: Titles that can be chosen, ``C``.
        evidence: What they are held against.
        expected: From `expected_matches`.
        survival: How often words survive, counted without these sessions.
        prices: What n-grams are worth and cost.
        hinted: Shape ``(C, 4)``; matches that an edit model expects, if one is asked.
        log_probs: Shape ``(C,)``; mean log-probability of the tokens, where a language model is asked.
    """
    lengths = book.lengths[offers.titles]
    written = np.maximum(lengths_by_order(lengths), 1)
    columns: dict[str, NDArray[np.floating]] = {"length": lengths.astype(np.float64)}
    columns |= _each("expected", expected) | _each("expected_share", expected / written)
    value = prices.worth(expected) - prices.cost(lengths, 0.0)
    columns["value"], columns["value_rank"] = value, rank_within(offers.rows, value, exact=True)
    columns["value_behind"] = highest_within(offers.rows, value, len(own))[offers.rows] - value
    columns["worth"] = prices.worth(expected)
    columns |= {"likely": offers.likely, "likely_rank": rank_within(offers.rows, offers.likely, exact=True)}
    columns |= {"votes": offers.votes, "age": offers.age}
    columns |= _with_own(book, own, offers, written)
    columns |= _with_mode(book, offers, evidence, len(own), written)
    columns |= _surviving(book, own, offers, survival)
    columns |= {name: values[offers.rows] for name, values in _of_sessions(book, own, evidence).items()}
    columns["length_ratio"] = lengths / np.maximum(columns["session.expected_length"], 1)
    if hinted is not None:
        columns |= {"written": offers.written} | _each("hinted", hinted) | _each("hinted_share", hinted / written)
        value = prices.worth(hinted) - prices.cost(lengths, 0.0)
        columns |= {"hinted_value": value, "hinted_rank": rank_within(offers.rows, value, exact=True)}
    if log_probs is not None:
        least = np.where(np.isnan(log_probs), -np.inf, log_probs)
        columns |= {"log_prob": log_probs, "log_prob_rank": rank_within(offers.rows, least, exact=True)}
        columns["log_prob_behind"] = highest_within(offers.rows, log_probs, len(own))[offers.rows] - log_probs
    return list(columns), np.column_stack(list(columns.values())).astype(np.float32)


def _each(name: str, values: Floats) -> dict[str, Floats]:
    return {f"{name}.{order + 1}": values[:, order] for order in range(values.shape[1])}


def _with_own(book: TitleBook, own: Ragged, offers: Offers, written: Floats) -> dict[str, Floats]:
    weights = RECENCY**own.ages
    sums = np.bincount(own.rows, weights=weights, minlength=len(own))
    shared = agreement(book, offers.rows, offers.titles, own.rows, own.values, weights / sums[own.rows])
    held = np.flatnonzero(own.ends != NO_TITLE)
    last = agreement(book, offers.rows, offers.titles, held, own.ends[held], np.ones(len(held)))
    return _each("own_share", shared / written) | _each("last_share", last / written) | {"last_tokens": last[:, 0]}


def _with_mode(
    book: TitleBook, offers: Offers, evidence: GivenTitles, number: int, written: Floats
) -> dict[str, Floats]:
    """Agreement with the likeliest title alone."""
    best = best_of_each(evidence.rows, evidence.weights, number)
    rows = np.flatnonzero(best >= 0)
    titles = evidence.titles[best[rows]]
    shared = agreement(book, offers.rows, offers.titles, rows, titles, np.ones(len(rows)))
    return {"mode_share.1": shared[:, 0] / written[:, 0], "mode_share.4": shared[:, 3] / written[:, 3]}


def _surviving(book: TitleBook, own: Ragged, offers: Offers, survival: Survival) -> dict[str, Floats]:
    """How many tokens are expected to survive by their rates alone, of those that the last title has."""
    owner, tokens = book.flat_tokens(offers.titles)
    rates = survival.of(tokens)
    lengths = np.maximum(np.bincount(owner, minlength=len(offers)), 1)
    mean = np.bincount(owner, weights=rates, minlength=len(offers)) / lengths
    lowest = np.ones(len(offers))
    np.minimum.at(lowest, owner, rates)
    last = own.ends
    rows, last_tokens = book.flat_tokens(np.maximum(last, 0))
    counts = np.maximum(book.lengths[np.maximum(last, 0)], 1)
    of_last = np.bincount(rows, weights=survival.of(last_tokens), minlength=len(last)) / counts
    return {"survival": mean, "survival_lowest": lowest, "survival_of_last": of_last[offers.rows]}


def _of_sessions(book: TitleBook, own: Ragged, evidence: GivenTitles) -> dict[str, Floats]:
    number = len(own)
    mass = np.bincount(evidence.rows, weights=evidence.weights, minlength=number)
    weighed = evidence.weights * book.lengths[evidence.titles]
    expected = np.bincount(evidence.rows, weights=weighed, minlength=number) / np.maximum(mass, 1e-12)
    surprise = -evidence.weights * np.log(np.maximum(evidence.weights, 1e-12))
    last = np.maximum(own.ends, 0)
    return {
        "session.titles": own.lengths.astype(np.float64),
        "session.best": highest_within(evidence.rows, evidence.weights, number, least=0.0),
        "session.entropy": summed(evidence.rows, surprise, number),
        "session.expected_length": expected,
        "session.last_length": np.where(own.ends == NO_TITLE, 0, book.lengths[last]).astype(np.float64),
    }
