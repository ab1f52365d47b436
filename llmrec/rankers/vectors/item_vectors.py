"""Item vectors: the items that point where the session's recent items point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Bools, Floats, Ints, checked
from llmrec.rankers.base import Ranker, Seen
from llmrec.rankers.sessions import CodedSessions
from llmrec.rankers.vectors.initialise import svd_vectors
from llmrec.settings import Decides, option
from llmrec.text.session_vectors import session_vectors
from llmrec.vocabulary import UNKNOWN
from llmrec.within import places_among, top_k_candidates

__all__ = ["ItemVectors", "ItemVectorsSettings"]


_STEPS = 1 << 14  # scores are whole multiples of 1/16,384: a batch adds up in another order than a session alone


@dataclass(frozen=True, kw_only=True)
class ItemVectorsSettings:
    """Settings of `ItemVectors`: the factorisation first, then prediction."""

    DECIDES: ClassVar[Decides] = "lists"

    size: int = option(96, "Dimensions of the vectors.", minimum=2, maximum=16_384)
    window: int = option(5, "Farthest distance of two items in a session that counts.", minimum=1, maximum=10_000)
    pair_decay: float = option(
        0.6, "A pair one place farther apart counts so much of the nearer one.", above=0, formerly=("decay",), maximum=2
    )
    local: float = option(
        0.5, "Part of the dimensions that holds near neighbours instead of large groups.", minimum=0, maximum=10_000
    )
    history: int = option(10, "Most recent items of a session that are compared.", minimum=1, maximum=10_000)
    recency: float = option(
        0.6, "Weight of an item relative to that of the next one of the session.", above=0, maximum=2
    )
    prior_weight: float = option(
        0.03, "Weight of ln(1 + how often the locale has the item).", minimum=0, maximum=10_000
    )
    seed: int = option(0, "Seed of the factorisation.", minimum=0)


class ItemVectors(Ranker[ItemVectorsSettings]):
    """Cosine of the session's vector, the recency-weighted mean of its items', and the item's, plus a prior.

    Vectors come from the factorised co-occurrence matrix, which is what item2vec fits (Levy and Goldberg 2014). A
    session is offered the items that its locale's training sessions hold.

    Attributes:
        vectors: Shape ``(N, D)``; of length 1, or 0 for an item that has none.
    """

    name = "item_vectors"
    settings_class = ItemVectorsSettings
    fades = True
    vectors: Floats
    _counts: NDArray[np.int32]  # (L + 1, N); how often a locale's sessions, or all, hold an item
    _offered: dict[int, tuple[Ints, Floats, Floats]]  # by locale: items, their vectors and priors; made when asked for

    def _fit(self, training: CodedSessions, products: Any, folder: Path | None, resume: bool) -> None:  # noqa: ARG002
        counts = training.counts(len(self.catalogue.locales), len(self.catalogue.vocabulary))
        counts[-1] = counts.sum(axis=0)
        settings = self.settings
        vectors = svd_vectors(
            training,
            len(self.catalogue.vocabulary),
            settings.size,
            window=settings.window,
            decay=settings.pair_decay,
            local=settings.local,
            seed=settings.seed,
        )
        self._set(vectors, counts.astype(np.int32))

    def _has(self, locale: int) -> Bools:
        """Which items a locale is offered, shape ``(N,)``."""
        seen: Bools = self._counts[locale] > 0
        if not seen.any():
            seen = self._counts[-1] > 0
        return seen if self.catalogue.sold is None else seen & self.catalogue.sold[locale]

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
        if seen == "drop":
            places = places_among(codes, sessions.items)
            own = places != UNKNOWN
            scores[sessions.rows[own], places[own]] = -np.inf
        # one step lower, so that what ties once it is rounded is all here
        bar = -np.inf if scores.shape[1] <= k else np.partition(scores, -k, axis=1)[:, -k, None] - 1 / _STEPS
        rows, places = np.nonzero((scores >= bar) & (scores > -np.inf))
        values = np.round(scores[rows, places] * _STEPS) / np.float32(_STEPS)
        return top_k_candidates(rows, codes[places], values, len(sessions), k)

    def _state(self) -> Mapping[str, NDArray[Any]]:
        return {"vectors": self.vectors, "counts": self._counts}

    def _restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        num_items = len(self.catalogue.vocabulary)
        vectors = checked(arrays, "vectors", "float32", (num_items, None))
        self._set(vectors, checked(arrays, "counts", "int32", (len(self.catalogue.locales) + 1, num_items), least=0))
