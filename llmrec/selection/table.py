"""Titles of a store's products by locale and id, and of the items of sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmrec.errors import DataError
from llmrec.languages import PAPER_BLEU, bleu_tokenizer
from llmrec.ragged import Ragged, list_lengths, offsets_of
from llmrec.rankers.sessions import Sessions
from llmrec.rankers.vocabulary import UNKNOWN, Vocabulary
from llmrec.selection.ngrams import NO_TITLE, TitleBook

__all__ = ["TitleTable"]

Ints = NDArray[np.int64]


class TitleTable:
    """Titles of products, one row for each locale and id that has one.

    Attributes:
        book: The titles.
        vocabulary: Ids of the products, titled or not.
        locales: Locales of the products, ascending.
    """

    def __init__(self, products: Any, tokenizers: Mapping[str, str] | None = None) -> None:
        """Read ``id``, ``locale`` and ``title`` of an Arrow table.

        Args:
            products: The table.
            tokenizers: BLEU tokenizers by locale, the paper's where one is left out; those of the language files if not
                given.

        Raises:
            DataError: no product has a title.
        """
        titles = pc.fill_null(products["title"].combine_chunks().cast(pa.string()), "")
        titled = pc.not_equal(pc.utf8_trim_whitespace(titles), "")
        if not pc.any(titled).as_py():
            raise DataError("no product of the store has a title to choose; import products with titles")
        kept = products.filter(titled)
        self.vocabulary = Vocabulary.of(products["id"].combine_chunks())
        self.locales = tuple(sorted(set(products["locale"].unique().to_pylist())))
        keys = self._keys(
            self._places(kept["locale"].combine_chunks()), self.vocabulary.encode(kept["id"].combine_chunks())
        )
        order = np.argsort(keys, kind="stable")
        self._held = keys[order]
        rows = pa.array(order)
        own = {one: bleu_tokenizer(one) for one in self.locales} if tokenizers is None else tokenizers
        ways = {one: way for one, way in own.items() if way != PAPER_BLEU}
        self.book = TitleBook.of(titles.filter(titled).take(rows), kept["locale"].combine_chunks().take(rows), ways)

    def added(self, texts: Sequence[str], locales: Any) -> TitleBook:
        """Titles that are no product's, in locales (Arrow strings), tokenized as the products' are."""
        return TitleBook.of(texts, locales, self.book.tokenizers)

    def titles_of(self, locales: Any, items: Any) -> Ints:
        """Titles of items in locales, both Arrow strings ``(C,)``; `NO_TITLE` where there is none."""
        return self._found(self._places(locales), self.vocabulary.encode(items))

    def own_titles(self, sessions: Sessions) -> Ragged:
        """Titles of sessions' items, places in the book, oldest first; items without a title are passed over."""
        offsets = offsets_of(list_lengths(sessions.prev_items))
        locales = np.repeat(self._places(sessions.locales), np.diff(offsets))
        found = self._found(locales, self.vocabulary.encode(sessions.prev_items.flatten()))
        return Ragged(offsets, found).kept(found != NO_TITLE)

    def _places(self, locales: Any) -> Ints:
        found = pc.index_in(locales, value_set=pa.array(self.locales, pa.string()))
        places: Ints = pc.fill_null(found, len(self.locales)).to_numpy(zero_copy_only=False).astype(np.int64)
        return places

    def _keys(self, locales: Ints, codes: Ints) -> Ints:
        return locales * np.int64(len(self.vocabulary)) + codes

    def _found(self, locales: Ints, codes: Ints) -> Ints:
        keys = np.where(codes == UNKNOWN, -1, self._keys(locales, codes))
        places = np.minimum(np.searchsorted(self._held, keys), len(self._held) - 1)
        return np.where(self._held[places] == keys, places, NO_TITLE)
