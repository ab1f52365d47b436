"""Text neighbours: products whose text is like that of what the session has looked at, clicked before or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Floats, Ints, checked
from llmrec.errors import ConfigError
from llmrec.rankers.base import Ranker, Seen
from llmrec.rankers.ranker_record import RankerRecord
from llmrec.rankers.sessions import CodedSessions
from llmrec.rankers.vectors.cells import WHOLE, Cells, Shelf
from llmrec.rankers.vectors.item_text import text_features, with_cold_items
from llmrec.settings import Decides, option
from llmrec.text.search.choose import EXACT_ROWS, choose_kind
from llmrec.text.search.vectors import Vectors, best, exact_candidates
from llmrec.text.session_vectors import session_vectors

__all__ = ["TextKnn", "TextKnnSettings"]

_MAKING: Final = Lock()  # threads that rank parts of a batch wait for what one of them makes
Finder = Callable[[Floats, int], tuple[Ints, Ints, Floats]]  # queries and k → of each find: query, code and score


@dataclass(frozen=True, kw_only=True)
class TextKnnSettings:
    """Settings of `TextKnn`."""

    DECIDES: ClassVar[Decides] = "lists"
    GONE: ClassVar[tuple[str, ...]] = ("prior_weight",)  # of what was called title_vectors

    text: str | None = option(None, "Folder of `llmrec embed`; the built-in TF-IDF of --products if not given.")
    text_dim: int = option(
        256, "Width of the built-in TF-IDF's vectors.", minimum=2, formerly=("size",), maximum=65_536
    )
    recency: float = option(
        0.5,
        "Weight of an item relative to that of the next one of the session.",
        above=0,
        formerly=("decay",),
        maximum=2,
    )
    index: Literal["auto", "exact", "cells", "hnsw", "ivf", "pq"] = option(
        "auto",
        "How neighbours are found, from what is built anew when a saved ranker first ranks: all but exact and cells by "
        "FAISS. cells are exact for up to 262,144 products of a locale.",
    )
    history: int = option(
        10, "Most recent items of a session that are compared.", minimum=1, formerly=("last",), maximum=10_000
    )


class TextKnn(Ranker[TextKnnSettings]):
    """Products by the cosine of their text's vector with the session's, the recency-weighted mean of its items'.

    It ranks every product with a text that one of the training locales sells, in a session or not, and so a session's
    items count through their text even where training never saw them. From training sessions it takes the locales, and
    the most frequent items for a session whose items have no text at all.

    Attributes:
        vectors: Shape ``(N, D)``; of length 1, or 0 for an item without text.
    """

    name = "text_knn"
    settings_class = TextKnnSettings
    fades = True
    product_columns: ClassVar[tuple[str, ...]] = ("id", "locale", "title")
    needs_products = True
    texts = staticmethod(text_features)  # or what several rankers share
    vectors: Floats
    _finders: dict[int, Finder]

    def _fit(self, training: CodedSessions, products: Any, folder: Path | None, resume: bool) -> None:  # noqa: ARG002
        settings, known = self.settings, self.catalogue
        vocabulary = with_cold_items(known.vocabulary, products, settings.text, known.locales)
        self._set(self.texts(products, vocabulary, settings.text_dim, settings.text)["text"][1:])
        if len(vocabulary) > len(known.vocabulary):
            self.catalogue = known.widened(vocabulary, products)

    def _set(self, vectors: Floats) -> None:
        self.vectors, self._finders = vectors, {}

    def _rank_coded(self, sessions: CodedSessions, k: int, seen: Seen) -> tuple[Ints, Floats]:
        wanted = session_vectors(sessions, self.vectors, self.settings.recency, self.settings.history)
        width = k + (int(sessions.lengths.max(initial=0)) if seen == "drop" else 0)
        locales = sessions.locales if self.catalogue.sold is not None else np.zeros_like(sessions.locales)
        asked = wanted.any(axis=1)
        found = [(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))]
        for locale in np.unique(locales[asked]):
            own = np.flatnonzero(asked & (locales == locale))
            rows, codes, scores = self._finder(int(locale))(wanted[own], width)
            found.append((own[rows], codes, scores))
        rows, codes, scores = (np.concatenate(column) for column in zip(*found, strict=True))
        return self._best_candidates(rows, codes, scores, sessions, k, seen)

    def _finder(self, locale: int) -> Finder:
        """What finds items that a locale sells; made when asked for."""
        with _MAKING:
            if locale not in self._finders:
                usable = self.vectors.any(axis=1)
                items = np.flatnonzero(usable if self.catalogue.sold is None else usable & self.catalogue.sold[locale])
                self._finders[locale] = _finder_of(self.vectors[items], items, self.settings.index)
            return self._finders[locale]

    @classmethod
    def _settings_of(cls, record: RankerRecord, folder: Path) -> TextKnnSettings:
        values = dict(record.settings)
        if record.ranker != cls.name:  # a 'title_vectors', which searched exactly and could weigh what sells well
            values["index"] = "exact"
            if values.pop("prior_weight", 0):
                raise ConfigError("prior_weight is no setting any more")
        settings: TextKnnSettings = super()._settings_of(msgspec.structs.replace(record, settings=values), folder)
        return settings

    def _state(self) -> Mapping[str, NDArray[Any]]:
        return {"vectors": self.vectors}

    def _restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._set(checked(arrays, "vectors", "float32", (len(self.catalogue.vocabulary), None)))


def _finder_of(vectors: Floats, items: Ints, kind: str) -> Finder:
    """What finds items by their vectors ``(N, D)``; without FAISS where asked for or where they are few."""
    if kind == "cells" and len(vectors) > WHOLE:
        cells = Cells.of(vectors, seed=0)
        shelf = Shelf.of(cells, np.arange(len(items)), vectors, np.zeros(len(items), dtype=np.float32))
        return partial(_in_cells, cells, shelf, items)
    if kind == "cells" or len(vectors) <= EXACT_ROWS or choose_kind(kind, *vectors.shape) == "exact":
        return partial(_listed, partial(_exact, Vectors.of(vectors)), items)
    from llmrec.text.search.index import build_index

    return partial(_listed, build_index(vectors, None, kind).search, items)


def _in_cells(cells: Cells, shelf: Shelf, items: Ints, queries: Floats, k: int) -> tuple[Ints, Ints, Floats]:
    rows, places, scores = shelf.near_best(queries, cells.nearest(queries), k)
    return rows, items[places], scores


def _listed(
    search: Callable[[Floats, int], tuple[Floats, Ints]], items: Ints, queries: Floats, k: int
) -> tuple[Ints, Ints, Floats]:
    """What a search gives as lists ``(Q, k)``, find by find."""
    scores, found = search(queries, k)
    rows, places = np.nonzero(found >= 0)
    return rows, items[found[rows, places]], scores[rows, places]


def _exact(vectors: Vectors, queries: Floats, k: int) -> tuple[Floats, Ints]:
    return best(vectors, queries, exact_candidates(vectors, np.arange(len(vectors)), queries, k), k)
