"""Titles that can be chosen for sessions, and the evidence that they are held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Ints
from llmrec.ragged import UNKNOWN, Ragged
from llmrec.selection.settings import SelectSettings
from llmrec.text.ngrams import summed
from llmrec.within import best_within, grouped, places_among

__all__ = ["GivenTitles", "Offers", "last_offers", "make_offers"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class GivenTitles:
    """Titles that may be the next one, with their probabilities; of ``S`` sessions, sorted by session.

    Attributes:
        rows: Shape ``(E,)``.
        titles: Shape ``(E,)``; places in a book.
        weights: Shape ``(E,)``; a session's add up to at most 1.
        votes: Shape ``(E,)``; share of the sources that propose it.
    """

    rows: Ints
    titles: Ints
    weights: Floats
    votes: Floats

    def taken(self, kept: NDArray[Any]) -> GivenTitles:
        """Some of it."""
        return GivenTitles(self.rows[kept], self.titles[kept], self.weights[kept], self.votes[kept])

    def of_sessions(self, sessions: Ints) -> GivenTitles:
        """That of some sessions (ascending), which are counted anew from 0."""
        kept = self.taken(np.isin(self.rows, sessions))
        return GivenTitles(np.searchsorted(sessions, kept.rows), kept.titles, kept.weights, kept.votes)

    def joined(self, others: Sequence[GivenTitles], share: float) -> GivenTitles:
        """This and what other sources say, which together weigh ``share`` where they say something."""
        if not others or not share:
            return self
        number = int(max([*(int(one.rows.max(initial=-1)) for one in (self, *others))])) + 1
        said = np.zeros(number)
        for one in others:
            said += np.bincount(one.rows, weights=one.weights, minlength=number)
        heard = np.where(said > 0, share, 0.0)
        scales = [(1 - heard)[self.rows], *((heard / np.maximum(said, 1e-12))[one.rows] for one in others)]
        parts = (self, *others)
        rows = np.concatenate([one.rows for one in parts])
        order = np.argsort(rows, kind="stable")
        return GivenTitles(
            rows[order],
            np.concatenate([one.titles for one in parts])[order],
            np.concatenate([one.weights * scale for one, scale in zip(parts, scales, strict=True)])[order],
            np.concatenate([one.votes for one in parts])[order],
        )


@dataclass(frozen=True)
class Offers:
    """Titles that can be chosen, sorted by session and title, each pair once.

    Attributes:
        rows: Shape ``(C,)``.
        titles: Shape ``(C,)``; places in a book.
        age: Shape ``(C,)``; how many titles of the session came after it; NaN for a title that it does not hold.
        likely: Shape ``(C,)``; probability of the products of that title; 0 where it is no likely product's.
        votes: Shape ``(C,)``; the highest share of sources that propose one of them.
        written: Shape ``(C,)``; 1 for a title that a writer made, else 0.
    """

    rows: Ints
    titles: Ints
    age: Floats
    likely: Floats
    votes: Floats
    written: Floats

    def __len__(self) -> int:
        return len(self.rows)


def make_offers(
    num_titles: int,
    own: Ragged,
    evidence: GivenTitles,
    settings: SelectSettings,
    written: tuple[Ints, Ints] | None = None,
) -> Offers:
    """Offer a session its own titles, the likeliest ones and those ``written`` for it, of ``num_titles`` in a book."""
    recent = own.ages < (1 if "own" in settings.without else settings.own)  # the last title always stays
    parts = [_part(own.rows[recent], own.values[recent], age=own.ages[recent])]
    merged = _merged(evidence, num_titles)
    if "likely" not in settings.without:
        best = merged.taken(best_within(merged.rows, merged.weights, settings.titles))
        parts.append(_part(best.rows, best.titles, likely=best.weights, votes=best.votes))
    if written is not None:
        parts.append(_part(*written, written=1.0))
    return _with_evidence(_distinct(parts, num_titles), merged, num_titles)


def _part(rows: Ints, titles: Ints, **values: Any) -> Offers:
    unset = {"age": np.nan, "likely": 0.0, "votes": 0.0, "written": 0.0}
    columns = {name: np.full(len(rows), unset[name]) for name in unset} | {
        name: np.broadcast_to(np.asarray(value, dtype=np.float64), len(rows)) for name, value in values.items()
    }
    return Offers(rows, titles, **columns)


def _distinct(parts: Sequence[Offers], num_titles: int) -> Offers:
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])}
    order, starts = grouped(columns["rows"], columns["titles"], num_titles)
    if not len(starts):
        return parts[0]
    joined = {
        name: (np.fmin if name == "age" else np.fmax).reduceat(columns[name][order], starts)
        for name in ("age", "likely", "votes", "written")
    }
    firsts = order[starts]
    return Offers(columns["rows"][firsts], columns["titles"][firsts], **joined)


def _merged(evidence: GivenTitles, num_titles: int) -> GivenTitles:
    """Products of one title together."""
    keys, where = np.unique(evidence.rows * num_titles + evidence.titles, return_inverse=True)
    votes = np.zeros(len(keys))
    np.maximum.at(votes, where, evidence.votes)
    weights = summed(where, evidence.weights, len(keys))
    return GivenTitles(keys // num_titles, keys % num_titles, weights, votes)


def _with_evidence(offers: Offers, merged: GivenTitles, num_titles: int) -> Offers:
    """Give own titles the probability that evidence has for them too."""
    held = merged.rows * num_titles + merged.titles
    places = places_among(held, offers.rows * num_titles + offers.titles)
    same = np.flatnonzero(places != UNKNOWN)
    likely, votes = offers.likely.copy(), offers.votes.copy()
    likely[same], votes[same] = merged.weights[places[same]], merged.votes[places[same]]
    return replace(offers, likely=likely, votes=votes)


def last_offers(offers: Offers, last: Ints) -> Ints:
    """Place of each session's last title among the offers, shape ``(S,)``; -1 where it has none."""
    places = np.full(len(last), -1, dtype=np.int64)
    found = np.flatnonzero(last[offers.rows] == offers.titles)
    places[offers.rows[found]] = found
    return places
