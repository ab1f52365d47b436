"""What an edit model says of sessions: titles to choose from as well, and odds of what the next title holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llmrec.arrays import Ints
from llmrec.evaluation.bleu import ORDERS
from llmrec.ragged import Ragged
from llmrec.selection.offers import GivenTitles, Offers
from llmrec.text.ngrams import TitleBook, numbered, occurrences, plain_grams, with_row
from llmrec.titles.editing.editor import Editor, Scored
from llmrec.titles.editing.told import Told
from llmrec.within import places_among

__all__ = ["Hints", "hints_of", "told_by"]

Floats = NDArray[np.float64]
_SHARES: Final = (0.8, 1.0)  # of the editor's cost of a word: a longer title and its own


@dataclass(frozen=True)
class Hints:
    """Of ``S`` sessions.

    Attributes:
        rows: Shape ``(W,)``, ascending; session of each edited title.
        titles: Shape ``(W,)``; places in the book that `hints_of` gave.
        scored: Odds, a chunk of sessions after another.
    """

    rows: Ints
    titles: Ints
    scored: Sequence[Scored]

    def expected(self, book: TitleBook, offers: Offers) -> Floats:
        """n-grams of each offer that the next title is expected to have, shape ``(C, 4)``."""
        shared = np.zeros((len(offers), ORDERS))
        for one in self.scored:
            first, last = np.searchsorted(offers.rows, [one.start, one.start + one.number])
            order = np.argsort(one.keys)
            keys, odds = one.keys[order], np.append(one.odds[order], 0.0)
            owner, tokens = book.flat_tokens(offers.titles[first:last])
            for gram in range(ORDERS):
                which, plain, _ = plain_grams(owner, tokens, gram + 1)
                mine = numbered(with_row(plain, offers.rows[first:last][which] - one.start), occurrences(which, plain))
                found = np.bincount(which, weights=odds[places_among(keys, mine)], minlength=last - first)
                shared[first:last, gram] = found
        return shared


def told_by(evidence: GivenTitles) -> Told:
    """Likely titles, as an editor reads them."""
    return Told(evidence.rows, evidence.titles, evidence.weights)


def hints_of(
    book: TitleBook, editor: Editor, scored: Iterable[Scored], locales: Sequence[str] | None = None
) -> tuple[TitleBook, Hints]:
    """Edited titles behind those of a book, and what tells of them.

    Args:
        book: Titles.
        editor: The editor.
        scored: What it says of sessions.
        locales: Locale of each session, where the titles are to be read as text.
    """
    parts, rows, titles, chunks = [book], [], [], list(scored)
    first = len(book)
    for one in chunks:
        for share in _SHARES:
            written = one.written(book, editor.found, editor.cost * share)
            some = np.flatnonzero(written.tokens.lengths > 0)
            rows.append(some + one.start)
            titles.append(first + np.arange(len(some)))
            shops = pa.array([locales[row + one.start] if locales else "" for row in some.tolist()], pa.string())
            way = book.way(shops[0].as_py()) if len(some) else ""
            texts = written.texts(book, way) if locales else [""] * one.number
            column = pa.array([texts[row] for row in some.tolist()], pa.string())
            parts.append(TitleBook(column, written.tokens.take(some), shops, book.tokenizers))
            first += len(some)
    order = np.argsort(np.concatenate([np.zeros(0, np.int64), *rows]), kind="stable")
    hints = Hints(
        np.concatenate([np.zeros(0, np.int64), *rows])[order],
        np.concatenate([np.zeros(0, np.int64), *titles])[order],
        chunks,
    )
    return _joined(parts), hints


def _joined(parts: Sequence[TitleBook]) -> TitleBook:
    texts, locales = (pa.concat_arrays([getattr(one, name) for one in parts]) for name in ("texts", "locales"))
    return replace(parts[0], texts=texts, locales=locales, tokens=Ragged.joined([one.tokens for one in parts]))
