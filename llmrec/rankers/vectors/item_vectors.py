"""Rankers by vectors: the items that point where the session's recent items point."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from llmrec.rankers.base import Ranker, Seen
from llmrec.rankers.sessions import CodedSessions
from llmrec.rankers.vectors.initialise import svd_vectors
from llmrec.rankers.vectors.item_text import text_features
from llmrec.rankers.vocabulary import UNKNOWN
from llmrec.settings import Decides, option
from llmrec.text.session_vectors import session_vectors
from llmrec.within import top_k_candidates

__all__ = [
    "ItemVectors",
    "ItemVectorsSettings",
    "TitleVectors",
    "TitleVectorsSettings",
    "VectorRanker",
]

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

_STEPS = 1 << 14  # scores are whole multiples of 1/16,384: a batch adds up in another order than a session alone


class _VectorSettings(Protocol):
    @property
    def history(self) -> int: ...
    @property
    def recency(self) -> float: ...
    @property
    def prior_weight(self) -> float: ...


SettingsT = TypeVar("SettingsT", bound=_VectorSettings)


@dataclass(frozen=True, kw_only=True)
class ItemVectorsSettings:
    """Settings of `ItemVectors`: the factorisation first, then prediction."""

    DECIDES: ClassVar[Decides] = "lists"

    size: int = option(96, "Dimensions of the vectors.", minimum=2)
    window: int = option(5, "Farthest distance of two items in a session that counts.", minimum=1)
    pair_decay: float = option(
        0.6, "A pair one place farther apart counts so much of the nearer one.", above=0, formerly=("decay",)
    )
    local: float = option(0.5, "Part of the dimensions that holds near neighbours instead of large groups.", minimum=0)
    history: int = option(10, "Most recent items of a session that are compared.", minimum=1)
    recency: float = option(0.6, "Weight of an item relative to that of the next one of the session.", above=0)
    prior_weight: float = option(0.03, "Weight of ln(1 + how often the locale has the item).", minimum=0)
    seed: int = option(0, "Seed of the factorisation.", minimum=0)


@dataclass(frozen=True, kw_only=True)
class TitleVectorsSettings:
    """Settings of `TitleVectors`."""

    DECIDES: ClassVar[Decides] = "lists"

    size: int = option(128, "Dimensions of the vectors.", minimum=2)
    history: int = option(10, "Most recent items of a session that are compared.", minimum=1)
    recency: float = option(0.6, "Weight of an item relative to that of the next one of the session.", above=0)
    prior_weight: float = option(0.0, "Weight of ln(1 + how often the locale has the item).", minimum=0)


class VectorRanker(Ranker[SettingsT], Generic[SettingsT]):
    """Cosine of the session's vector, the recency-weighted mean of its items', and the item's, plus a prior.

    A session is offered what its locale has: the items that were seen there, or, for vectors that need no session, the
    items that it sells.

    Attributes:
        vectors: Shape ``(N, D)``; of length 1, or 0 for an item that has none.
    """

    vectors: Floats
    _counts: NDArray[np.int32]  # (L + 1, N); how often a locale's sessions, or all, hold an item
    _offered: dict[int, tuple[Ints, Floats, Floats]]  # by locale: items, their vectors and priors; made when asked for

    def _fit(self, training: CodedSessions, products: Any, folder: Path | None, resume: bool) -> None:  # noqa: ARG002
        counts = training.counts(len(self.catalogue.locales), len(self.catalogue.vocabulary))
        counts[-1] = counts.sum(axis=0)
        self._set(self._learn(training, products), counts.astype(np.int32))

    @abstractmethod
    def _learn(self, training: CodedSessions, products: Any) -> Floats:
        """Vectors of the items, shape ``(N, D)``."""

    @abstractmethod
    def _has(self, locale: int) -> Bools:
        """Which items a locale is offered, shape ``(N,)``."""

    def _set(self, vectors: Floats, counts: NDArray[np.int32]) -> None:
        self.vectors, self._counts, self._offered = vectors, counts, {}

    def _items_of(self, locale: int) -> tuple[Ints, Floats, Floats]:
        if locale not in self._offered:
            codes = np.flatnonzero(self._has(locale) & self.vectors.any(axis=1))
            prior = self.settings.prior_weight * np.log1p(self._counts[locale, codes])
            self._offered[locale] = codes, self.vectors[codes], prior.astype(np.float32)
        return self._offered[locale]

    def _rank_coded(self, sessions: CodedSessions, k: int, seen: Seen) -> tuple[Ints, Floats]:
        wanted = session_vectors(sessions, self.vectors, self.settings.recency, self.settings.history)
        ranked = np.full((len(sessions), k), UNKNOWN)
        scores = np.full((len(sessions), k), -np.inf, dtype=np.float32)
        known = wanted.any(axis=1)
        for locale in np.unique(sessions.locales[known]):
            rows = np.flatnonzero(known & (sessions.locales == locale))
            ranked[rows], scores[rows] = self._nearest(wanted[rows], sessions.take(rows), int(locale), k, seen)
        return ranked, scores

    def _nearest(self, wanted: Floats, sessions: CodedSessions, locale: int, k: int, seen: Seen) -> tuple[Ints, Floats]:
        codes, vectors, prior = self._items_of(locale)
        scores = wanted @ vectors.T
        scores += prior
        if seen == "drop" and len(codes):
            places = np.minimum(np.searchsorted(codes, sessions.items), len(codes) - 1)
            own = codes[places] == sessions.items
            scores[sessions.rows[own], places[own]] = -np.inf
        # one step lower, so that what ties once it is rounded is all here
        bar = -np.inf if scores.shape[1] <= k else np.partition(scores, -k, axis=1)[:, -k, None] - 1 / _STEPS
        rows, places = np.nonzero((scores >= bar) & (scores > -np.inf))
        values = np.round(scores[rows, places] * _STEPS) / np.float32(_STEPS)
        return top_k_candidates(rows, codes[places], values, len(sessions), k)

    def _state(self) -> Mapping[str, NDArray[Any]]:
        return {"vectors": self.vectors, "counts": self._counts}

    def _restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        vectors, counts, num_items = arrays["vectors"], arrays["counts"], len(self.catalogue.vocabulary)
        if vectors.ndim != 2 or len(vectors) != num_items:
            raise ValueError(f"vectors have the shape {vectors.shape}; the catalogue has {num_items} items")
        if counts.shape != (len(self.catalogue.locales) + 1, num_items):
            raise ValueError(f"counts have the shape {counts.shape}")
        self._set(vectors, counts)


class ItemVectors(VectorRanker[ItemVectorsSettings]):
    """Vectors from the factorised co-occurrence matrix, which is what item2vec fits (Levy and Goldberg 2014)."""

    name = "item_vectors"
    settings_class = ItemVectorsSettings

    def _learn(self, training: CodedSessions, products: Any) -> Floats:  # noqa: ARG002
        settings = self.settings
        return svd_vectors(
            training,
            len(self.catalogue.vocabulary),
            settings.size,
            window=settings.window,
            decay=settings.pair_decay,
            local=settings.local,
            seed=settings.seed,
        )

    def _has(self, locale: int) -> Bools:
        seen: Bools = self._counts[locale] > 0
        if not seen.any():
            seen = self._counts[-1] > 0
        return seen if self.catalogue.sold is None else seen & self.catalogue.sold[locale]


class TitleVectors(VectorRanker[TitleVectorsSettings]):
    """TF-IDF vectors of titles: products without any session are ranked too."""

    name = "title_vectors"
    settings_class = TitleVectorsSettings
    product_columns = ("id", "locale", "title")
    needs_products = True
    ranks_cold = True
    texts = staticmethod(text_features)  # or what several rankers share

    def _learn(self, training: CodedSessions, products: Any) -> Floats:  # noqa: ARG002
        vectors: Floats = self.texts(products, self.catalogue.vocabulary, self.settings.size)["text"][1:]
        return vectors

    def _has(self, locale: int) -> Bools:
        sold = self.catalogue.sold
        every: Bools = np.ones(len(self.catalogue.vocabulary), dtype=np.bool_) if sold is None else sold[locale]
        return every
