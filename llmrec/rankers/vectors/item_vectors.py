"""Item vectors: the items that point where the session's recent items point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Bools, Floats, Ints, checked
from llmrec.artefact import Arrays
from llmrec.rankers.base import Ranker, Seen
from llmrec.rankers.sessions import CodedSessions
from llmrec.rankers.vectors.cells import Cells, Shelf, nearest_centres
from llmrec.rankers.vectors.initialise import beside_known, svd_vectors
from llmrec.settings import Decides, option
from llmrec.text.session_vectors import session_vectors
from llmrec.vocabulary import UNKNOWN

__all__ = ["ItemVectors", "ItemVectorsSettings"]


STALE: Final = 0.01  # of all sessions, new since the vectors were factorised; with more of them they are so anew


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
    session is offered the items that its locale's training sessions hold; of a catalogue of more than 262,144, those
    in the cells that lie nearest (see `llmrec.rankers.vectors.cells`).

    Attributes:
        vectors: Shape ``(N, D)``; of length 1, or 0 for an item that has none.
    """

    name = "item_vectors"
    settings_class = ItemVectorsSettings
    fades = True
    keeps = "vectors"
    vectors: Floats
    _counts: NDArray[np.int32]  # (L + 1, N); how often a locale's sessions, or all, hold an item
    _cells: Cells
    _shelves: dict[int, Shelf]  # by locale: what it is offered; made when asked for

    def _fit(self, training: CodedSessions, products: Any, folder: Path | None, resume: bool) -> None:  # noqa: ARG002
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
        self._set(vectors, self._visits(training), Cells.of(vectors, settings.seed))
        self.kept_counts = {"factorised": np.array([len(training)])}

    def _take_in(self, earlier: Self, training: CodedSessions, start: int, places: Ints, products: Any) -> None:
        """Keep the vectors while few sessions are new since they were factorised, and give new items some."""
        factorised = earlier.known_sessions().counts.get("factorised", np.array([start]))
        if len(training) - int(factorised[0]) > STALE * len(training):
            super()._take_in(earlier, training, start, places, products)
            return
        counts, there = self._visits(training), places != UNKNOWN
        vectors = np.zeros((len(self.catalogue.vocabulary), earlier.vectors.shape[1]), dtype=np.float32)
        vectors[places[there]] = earlier.vectors[there]
        new = np.setdiff1d(np.arange(len(vectors)), places)
        later, settings = training.slice(start, len(training) - start), self.settings
        vectors[new] = beside_known(
            later, vectors, counts[-1], new, window=settings.window, decay=settings.pair_decay, seed=settings.seed
        )
        of_item = np.zeros(len(vectors), dtype=np.int32)
        of_item[places[there]] = earlier._cells.of_item[there]
        of_item[new] = nearest_centres(vectors[new], earlier._cells.centres)
        self._set(vectors, counts, Cells(earlier._cells.centres, of_item))
        self.kept_counts = {"factorised": factorised}

    def check_counts(self, counts: Arrays) -> None:
        """Refuse arrays that are no number of factorised sessions, as `Remembers.check_counts`."""
        checked(counts, "factorised", "int64", (1,), least=0)

    def _visits(self, training: CodedSessions) -> NDArray[np.int32]:
        counts = training.counts(len(self.catalogue.locales), len(self.catalogue.vocabulary))
        counts[-1] = counts.sum(axis=0)
        return counts.astype(np.int32)

    def _has(self, locale: int) -> Bools:
        """Which items a locale is offered, shape ``(N,)``."""
        seen: Bools = self._counts[locale] > 0
        if not seen.any():
            seen = self._counts[-1] > 0
        return seen if self.catalogue.sold is None else seen & self.catalogue.sold[locale]

    def _set(self, vectors: Floats, counts: NDArray[np.int32], cells: Cells) -> None:
        self.vectors, self._counts, self._cells, self._shelves = vectors, counts, cells, {}

    def _shelf(self, locale: int) -> Shelf:
        if locale not in self._shelves:
            codes = np.flatnonzero(self._has(locale) & self.vectors.any(axis=1))
            prior = self.settings.prior_weight * np.log1p(self._counts[locale, codes])
            self._shelves[locale] = Shelf.of(self._cells, codes, self.vectors, prior.astype(np.float32))
        return self._shelves[locale]

    def _rank_coded(self, sessions: CodedSessions, k: int, seen: Seen) -> tuple[Ints, Floats]:
        wanted = session_vectors(sessions, self.vectors, self.settings.recency, self.settings.history)
        probed = self._cells.nearest(wanted)
        spare = int(sessions.lengths.max(initial=0)) if seen == "drop" else 0
        found = [(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))]
        known = wanted.any(axis=1)
        for locale in np.unique(sessions.locales[known]):
            own = np.flatnonzero(known & (sessions.locales == locale))
            rows, codes, values = self._shelf(int(locale)).near_best(wanted[own], probed[own], k + spare)
            found.append((own[rows], codes, values))
        rows, codes, values = (np.concatenate(column) for column in zip(*found, strict=True))
        return self._best_candidates(rows, codes, values, sessions, k, seen)

    def _state(self) -> Mapping[str, NDArray[Any]]:
        cells = {"centres": self._cells.centres, "cells": self._cells.of_item}
        return {"vectors": self.vectors, "counts": self._counts, **cells}

    def _restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        num_items = len(self.catalogue.vocabulary)
        vectors = checked(arrays, "vectors", "float32", (num_items, None))
        counts = checked(arrays, "counts", "int32", (len(self.catalogue.locales) + 1, num_items), least=0)
        cells = Cells.one(vectors)  # of a ranker saved before there were more
        if "cells" in arrays:
            centres = checked(arrays, "centres", "float32", (None, vectors.shape[1]))
            cells = Cells(centres, checked(arrays, "cells", "int32", (num_items,), least=0, most=len(centres) - 1))
        self._set(vectors, counts, cells)
