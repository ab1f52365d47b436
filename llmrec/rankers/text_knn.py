"""Text neighbours: products whose text is like that of what the session has looked at, clicked before or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from llmrec.config import option
from llmrec.embeddings.base import unit_rows
from llmrec.rankers.base import Ranker, Seen
from llmrec.rankers.item_text import text_features, with_cold_items
from llmrec.rankers.sessions import CodedSessions
from llmrec.rankers.streaming import Conditions, stream_top_k
from llmrec.rankers.vocabulary import UNKNOWN

__all__ = ["TextKnn", "TextKnnSettings"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class TextKnnSettings:
    """Settings of `TextKnn`."""

    text: str | None = option(None, "Folder of `llmrec embed`; the built-in TF-IDF of --products if not given.")
    text_dim: int = option(256, "Width of the built-in TF-IDF's vectors.", minimum=2)
    decay: float = option(0.5, "An item one place further back in the session counts this many times as much.", above=0)
    last: int = option(10, "Most items of a session that count: the last ones.", minimum=1)


class TextKnn(Ranker[TextKnnSettings]):
    """Products by the cosine of their text's vector with the session's, the recency-weighted mean of its items'.

    It ranks every product with a text that one of the training locales sells, in a session or not, and so a session's
    items count through their text even where training never saw them. From training sessions it takes the locales, and
    the most frequent items for a session whose items have no text at all.
    """

    name = "text_knn"
    settings_class = TextKnnSettings
    product_columns: ClassVar[tuple[str, ...]] = ("id", "locale", "title")
    _vectors: Floats  # (N, D), 0 for an item without text

    def _fit(self, training: CodedSessions, products: Any, folder: Path | None, resume: bool) -> None:  # noqa: ARG002
        settings, known = self.settings, self.catalogue
        vocabulary = with_cold_items(known.vocabulary, products, settings.text, known.locales)
        self._vectors = text_features(products, vocabulary, settings.text_dim, settings.text)["text"][1:]
        self.catalogue = known.widened(vocabulary, products)

    def _rank_coded(self, sessions: CodedSessions, k: int, seen: Seen) -> tuple[Ints, Floats]:
        vectors = self._session_vectors(sessions)
        none = np.zeros(0, dtype=np.int64)
        given = Conditions(
            self.catalogue.sold,
            sessions.locales,
            sessions.rows if seen == "drop" else none,
            sessions.items if seen == "drop" else none,
        )
        told = (self._vectors != 0).any(axis=1)
        ranked, scores = stream_top_k(torch.from_numpy(vectors), torch.from_numpy(self._vectors), k, given)
        nothing_alike = (vectors == 0).all(axis=1)[:, None] | ~told[ranked]
        return _without(ranked, scores, nothing_alike)

    def _session_vectors(self, sessions: CodedSessions) -> Floats:
        """Means of the items' vectors, of length 1, shape ``(S, D)``; 0 where no item has a text."""
        recent = sessions.last(self.settings.last)
        weights = (self.settings.decay**recent.ages).astype(np.float32)
        sums = np.zeros((len(sessions), self._vectors.shape[1]), dtype=np.float32)
        np.add.at(sums, recent.rows, weights[:, None] * self._vectors[recent.items])
        return unit_rows(sums)

    def _state(self) -> Mapping[str, NDArray[Any]]:
        return {"vectors": self._vectors}

    def _restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        vectors = arrays["vectors"]
        if vectors.ndim != 2 or len(vectors) != len(self.catalogue.vocabulary):
            raise ValueError(
                f"vectors have shape {vectors.shape}, not one for each of {len(self.catalogue.vocabulary)}"
            )
        self._vectors = vectors


def _without(ranked: Ints, scores: Floats, removed: NDArray[np.bool_]) -> tuple[Ints, Floats]:
    """Lists without some places, the later ones moved up."""
    order = np.argsort(removed, axis=1, kind="stable")
    gone = np.take_along_axis(removed, order, axis=1)
    kept, values = np.take_along_axis(ranked, order, axis=1), np.take_along_axis(scores, order, axis=1)
    return np.where(gone, UNKNOWN, kept), np.where(gone, np.float32(-np.inf), values)
