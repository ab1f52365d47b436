"""Titles of a store's products by locale and id, and of the items of sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from llmrec.arrays import Ints
from llmrec.errors import DataError
from llmrec.languages import PAPER_BLEU, bleu_tokenizer
from llmrec.ragged import Ragged, list_lengths, offsets_of, row_numbers
from llmrec.rankers.sessions import Sessions
from llmrec.text.ngrams import NO_TITLE, TitleBook
from llmrec.vocabulary import Vocabulary, product_keys

__all__ = ["TitleTable"]


class TitleTable:
    """Titles of products, one row for each locale and id that has one.

    Attributes:
        book: The titles.
        items: Ids of the products, titled or not.
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
        self.locales = tuple(sorted(set(products["locale"].unique().to_pylist())))
        self.items = Vocabulary.of(products["id"].combine_chunks())
        kept = products.filter(titled).append_column("text", titles.filter(titled))
        kept = kept.sort_by([("locale", "ascending"), ("id", "ascending")])
        texts, locales = (kept[name].combine_chunks() for name in ("text", "locale"))
        self._rows = Vocabulary(product_keys(locales, kept["id"].combine_chunks()))
        own = {one: bleu_tokenizer(one) for one in self.locales} if tokenizers is None else tokenizers
        ways = {one: way for one, way in own.items() if way != PAPER_BLEU}
        self.book = TitleBook.of(texts, locales, ways)

    def added(self, texts: Sequence[str], locales: Any) -> TitleBook:
        """Titles that are no product's, in locales (Arrow strings), tokenized as the products' are."""
        return TitleBook.of(texts, locales, self.book.tokenizers)

    def titles_of(self, locales: Any, items: Any) -> Ints:
        """Titles of items in locales, both Arrow strings ``(C,)``; `NO_TITLE` where there is none."""
        return self._rows.encode(product_keys(locales, items))

    def own_titles(self, sessions: Sessions) -> Ragged:
        """Titles of sessions' items, places in the book, oldest first; items without a title are passed over."""
        lengths = list_lengths(sessions.prev_items)
        locales = sessions.locales.take(pa.array(row_numbers(lengths)))
        found = self.titles_of(locales, sessions.prev_items.flatten())
        return Ragged(offsets_of(lengths), found).kept(found != NO_TITLE)
