"""Text neighbours: products whose text is like that of what the session has looked at, clicked before or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from llmrec.rankers.base import Ranker, Seen
from llmrec.rankers.sessions import CodedSessions
from llmrec.rankers.vectors.item_text import text_features, with_cold_items
from llmrec.rankers.vocabulary import UNKNOWN
from llmrec.settings import Decides, option
from llmrec.text.search.index import Index, build_index
from llmrec.text.session_vectors import session_vectors
from llmrec.within import top_k_candidates

__all__ = ["TextKnn", "TextKnnSettings"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class TextKnnSettings:
    """Settings of `TextKnn`."""

    DECIDES: ClassVar[Decides] = "lists"

    text: str | None = option(None, "Folder of `llmrec embed`; the built-in TF-IDF of --products if not given.")
    text_dim: int = option(256, "Width of the built-in TF-IDF's vectors.", minimum=2)
    recency: float = option(
        0.5, "Weight of an item relative to that of the next one of the session.", above=0, formerly=("decay",)
    )
    index: Literal["auto", "exact", "hnsw", "ivf", "pq"] = option(
        "auto", "How neighbours are found; built anew from the vectors when a saved ranker first ranks."
    )
    history: int = option(10, "Most recent items of a session that are compared.", minimum=1, formerly=("last",))


class TextKnn(Ranker[TextKnnSettings]):
    """Products by the cosine of their text's vector with the session's, the recency-weighted mean of its items'.

    It ranks every product with a text that one of the training locales sells, in a session or not, and so a session's
    items count through their text even where training never saw them. From training sessions it takes the locales, and
    the most frequent items for a session whose items have no text at all.
    """

    name = "text_knn"
    settings_class = TextKnnSettings
    product_columns: ClassVar[tuple[str, ...]] = ("id", "locale", "title")
    needs_products = True
    texts = staticmethod(text_features)  # or what several rankers share
    _vectors: Floats  # (N, D), 0 for an item without text

    def _fit(self, training: CodedSessions, products: Any, folder: Path | None, resume: bool) -> None:  # noqa: ARG002
        settings, known = self.settings, self.catalogue
        vocabulary = with_cold_items(known.vocabulary, products, settings.text, known.locales)
        self._vectors = self.texts(products, vocabulary, settings.text_dim, settings.text)["text"][1:]
        self.catalogue = known.widened(vocabulary, products)
        for name in ("_locale_index", "_whole_index"):  # of an earlier fit
            vars(self).pop(name, None)

    def _rank_coded(self, sessions: CodedSessions, k: int, seen: Seen) -> tuple[Ints, Floats]:
        vectors = session_vectors(sessions, self._vectors, self.settings.recency, self.settings.history)
        width = k + (int(sessions.lengths.max(initial=0)) if seen == "drop" else 0)
        codes = np.full((len(sessions), width), UNKNOWN)
        scores = np.full((len(sessions), width), -np.inf, dtype=np.float32)
        told = (vectors != 0).any(axis=1)
        filtered = (sessions.locales < len(self.catalogue.locales)) & (self.catalogue.sold is not None)
        for rows, by_locale in ((told & filtered, True), (told & ~filtered, False)):
            if rows.any():
                index, items = self._locale_index if by_locale else self._whole_index
                groups = sessions.locales[rows] if by_locale else None
                scores[rows], found = index.search(vectors[rows], width, groups)
                codes[rows] = np.where(found == UNKNOWN, UNKNOWN, items[found])
        rows, places = np.nonzero(codes != UNKNOWN)
        usable = self._allowed(rows, codes[rows, places], sessions, seen)
        rows, places = rows[usable], places[usable]
        return top_k_candidates(rows, codes[rows, places], scores[rows, places], len(sessions), k)

    @cached_property
    def _locale_index(self) -> tuple[Index, Ints]:
        """Index of what each locale sells, and the code of each of its rows."""
        if self.catalogue.sold is None:
            return self._whole_index
        locales, items = np.nonzero(self.catalogue.sold[:-1])
        return build_index(self._vectors[items], locales, self.settings.index), items

    @cached_property
    def _whole_index(self) -> tuple[Index, Ints]:
        return build_index(self._vectors, None, self.settings.index), np.arange(len(self._vectors))

    def _state(self) -> Mapping[str, NDArray[Any]]:
        return {"vectors": self._vectors}

    def _restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        vectors = arrays["vectors"]
        if vectors.ndim != 2 or len(vectors) != len(self.catalogue.vocabulary):
            raise ValueError(
                f"vectors have shape {vectors.shape}, not one for each of {len(self.catalogue.vocabulary)}"
            )
        self._vectors = vectors
