"""Why a ranker that counts lists a product, in words, from its own counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from llmrec.arrays import Ints
from llmrec.rankers.counting.covisit import Covisit
from llmrec.rankers.counting.popularity import GlobalPopularity, Popularity
from llmrec.rankers.counting.session_neighbours import SessionNeighbours
from llmrec.rankers.sessions import CodedSessions
from llmrec.vocabulary import UNKNOWN

__all__ = ["followed", "reasons_in_words"]

_MOST: Final = 2
_ORDINALS: Final = ("the last product", "the product before it")


def reasons_in_words(ranker: Any, items: Sequence[str], locale: str, ids: Sequence[str]) -> dict[str, list[str]]:
    """Why each of some products may follow a session; nothing for a ranker that does not count.

    Args:
        ranker: A fitted ranker.
        items: The session.
        locale: Its locale.
        ids: Products.

    Returns:
        Short sentences by id, the strongest first, for the products that there is something to say of.
    """
    session = ranker.catalogue.encode_lists([list(items)], [locale]).known()
    codes = ranker.catalogue.vocabulary.encode_list(list(ids))
    known = np.flatnonzero(codes != UNKNOWN)
    said = _said(ranker, session, codes[known], locale)
    popular = set(ranker.catalogue.popular[int(session.locales[0])].tolist()) if ranker.fills_up else set()
    found = {ids[row]: texts for row, texts in zip(known.tolist(), said, strict=True) if texts}
    for row in known.tolist():
        if ids[row] not in found and int(codes[row]) in popular:
            found[ids[row]] = [f"one of the most frequent products of {locale}"]
    return found


def followed(times: float, of: float) -> str:
    """How often an item came next after another; "" where it never did."""
    if times < 0.5:
        return ""
    return f"seen next after the last product, {times:,.0f} of {max(of, times):,.0f} times"


def _said(ranker: Any, session: CodedSessions, codes: Ints, locale: str) -> list[list[str]]:
    if isinstance(ranker, Covisit):
        return [_together(ranker, session, int(code)) for code in codes]
    if isinstance(ranker, Popularity):
        return [_next(ranker, session, int(code)) for code in codes]
    if isinstance(ranker, SessionNeighbours):
        return _by_neighbours(ranker, session, codes)
    if isinstance(ranker, GlobalPopularity):
        counts = ranker.counted(int(session.locales[0]))
        return [[f"looked at {counts[int(code)]:,} times in {locale}"] if int(code) in counts else [] for code in codes]
    return [[] for _ in codes]


def _together(ranker: Covisit, session: CodedSessions, code: int) -> list[str]:
    """Shares of what is seen around the session's products."""
    shares: list[tuple[float, str]] = []
    own = session.items[-ranker.settings.history :]
    for age, item in enumerate(dict.fromkeys(own[::-1].tolist())):
        row = slice(*ranker.neighbours.offsets[item : item + 2])
        values, weights = ranker.neighbours.values[row], ranker.neighbours.weights[row]
        place = np.flatnonzero(values == code)
        if len(place):
            where = _ORDINALS[age] if age < len(_ORDINALS) else f"product {len(own) - age} of the session"
            share = float(weights[place[0]] / weights.sum())
            shares.append((share * ranker.settings.recency**age, f"{_percent(share)} of what is seen around {where}"))
    if not shares:
        return ["seen around products that are seen together with the session's"] if ranker.settings.hop_weight else []
    return [text for _, text in sorted(shares, key=lambda one: -one[0])[:_MOST]]


def _next(ranker: Popularity, session: CodedSessions, code: int) -> list[str]:
    last = int(session.ends[0])
    if last == UNKNOWN:
        return []
    row = slice(*ranker.followers.offsets[last : last + 2])
    values, weights = ranker.followers.values[row], ranker.followers.weights[row]
    place = np.flatnonzero(values == code)
    text = followed(float(weights[place[0]]), float(weights.sum())) if len(place) else ""
    return [text] if text else []


def _by_neighbours(ranker: SessionNeighbours[Any], session: CodedSessions, codes: Ints) -> list[list[str]]:
    number, holders = ranker.holders(session)
    return [
        [f"in {times:,} of the {number:,} sessions most like this one"] if (times := holders.get(int(code), 0)) else []
        for code in codes
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.01 else "less than 1 %"
