"""Sessions to look at: some that people had, hard cases, and made-up ones where there is no file of any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmrec.arrays import Ints
from llmrec.ragged import list_lengths
from llmrec.rankers.sessions import Sessions, read_labelled_files
from llmrec.serving.messages import Recommend, RecommendAnswer
from llmrec.serving.page.page_messages import Draw, Drawn
from llmrec.serving.service import Service
from llmrec.vocabulary import UNKNOWN

__all__ = ["Draws"]

_MOST: Final = 100_000  # sessions of the files that are drawn from
_LONG: Final = 12  # items that a made-up long session has
_TRIES: Final = 64
_STRANGERS: Final = ("NOT-IN-THE-SHOP-1", "NOT-IN-THE-SHOP-2")


@dataclass(frozen=True)
class Draws:
    """Draws sessions from files, or walks along a ranker's own lists.

    Attributes:
        files: Files of sessions, labelled or not.
    """

    files: Sequence[Path] = field(default_factory=tuple)

    @cached_property
    def sessions(self) -> Sessions | None:
        """The files' sessions that hold an item; None without files.

        Raises:
            DataError: a file is missing or malformed.
        """
        if not self.files:
            return None
        read = read_labelled_files(self.files).slice(0, _MOST)
        return read

    def draw(self, asked: Draw, locale: str, service: Service) -> Drawn:
        """A session of a locale, or a hard case of it.

        Args:
            asked: What kind, and the seed.
            locale: A locale that the service knows.
            service: What makes sessions up where no file has one.
        """
        rng = np.random.default_rng(asked.seed)
        if asked.kind == "unknown":
            return Drawn(items=list(_STRANGERS), locale=locale, origin="ids that no product has")
        if asked.kind == "cold":
            items, origin = _cold(service, locale, rng)
            return Drawn(items=items, locale=locale, origin=origin)
        row = self._row(asked.kind, locale, rng)
        if row is None:
            return Drawn(items=_walk(asked.kind, locale, service, rng), locale=locale, origin=_MADE_UP[asked.kind])
        held: Any = self.sessions
        target = None if held.next_items is None else held.next_items[row].as_py()
        items = held.prev_items[row].as_py()
        return Drawn(items=items, locale=locale, origin=f"session {row + 1:,} of the file", target=target or "")

    def _row(self, kind: str, locale: str, rng: np.random.Generator) -> int | None:
        """Row of a session of a kind; None where there is none."""
        if self.sessions is None:
            return None
        lengths, here = self._lengths, pc.equal(self.sessions.locales, locale).to_numpy(zero_copy_only=False)
        rows = np.flatnonzero(here & (lengths > 0))
        if kind == "one":
            rows = rows[lengths[rows] == 1]
        elif kind == "long" and len(rows):
            rows = rows[lengths[rows] >= np.sort(lengths[rows])[-min(5, len(rows))]]
        elif kind == "repeats":
            rows = self._repeating(rows[lengths[rows] > 2], rng)
        return int(rng.choice(rows)) if len(rows) else None

    def _repeating(self, rows: NDArray[np.int64], rng: np.random.Generator) -> Ints:
        held: Any = self.sessions
        for row in rng.permutation(rows)[: _TRIES * 8].tolist():
            items = held.prev_items[row].as_py()
            if len(set(items)) < len(items):
                return np.array([row])
        return np.zeros(0, dtype=np.int64)

    @cached_property
    def _lengths(self) -> Ints:
        held: Any = self.sessions
        return np.asarray(list_lengths(held.prev_items))


_MADE_UP: Final = {
    "random": "made up: a walk along the recommendations",
    "one": "one of the most frequent products",
    "repeats": "made up: two products, over and over",
    "long": "made up: a long walk along the recommendations",
}


def _walk(kind: str, locale: str, service: Service, rng: np.random.Generator) -> list[str]:
    """A session made of what is recommended for it."""
    items = [_start(service, locale, rng)]
    if kind == "one" or service.loaded.ranker is None:
        return [item for item in items if item]
    length = {"random": int(rng.integers(3, 6)), "repeats": 2}.get(kind, _LONG)
    while len(items) < length:
        (answer,) = service.recommend([Recommend(items=items, locale=locale, k=5)])
        listed = [one.id for one in answer.items] if isinstance(answer, RecommendAnswer) else []
        if not listed:
            break
        items.append(str(rng.choice(listed)))
    return [*items, *items, items[0]] if kind == "repeats" else items


def _start(service: Service, locale: str, rng: np.random.Generator) -> str:
    """A frequent product of a locale; any of its products where there is no ranker; "" where there is none at all."""
    if service.loaded.ranker is not None:
        catalogue = service.ranker_of(locale).catalogue
        place = catalogue.locales.index(locale) if locale in catalogue.locales else -1
        codes = catalogue.popular[place]
        codes = codes[codes != UNKNOWN]
        if len(codes):
            return str(catalogue.vocabulary.decode(codes[rng.integers(len(codes), size=1)])[0].as_py())
    ids = _ids(service, locale)
    return str(ids[int(rng.integers(len(ids)))].as_py()) if len(ids) else ""


def _cold(service: Service, locale: str, rng: np.random.Generator) -> tuple[list[str], str]:
    """A product that no training session holds, where there is one; else one that hardly any does."""
    ids = _ids(service, locale)
    if service.loaded.ranker is not None:
        ranker = service.ranker_of(locale)
        if len(ids):
            unseen = ids.filter(pa.array(ranker.catalogue.vocabulary.encode(ids) == UNKNOWN))
            if len(unseen):
                item = str(unseen[int(rng.integers(len(unseen)))].as_py())
                return [item], "a product of the shop that the ranker has never seen"
        frequent = set(ranker.catalogue.popular[ranker.catalogue.popular != UNKNOWN].tolist())
        rare = np.setdiff1d(np.arange(len(ranker.catalogue.vocabulary)), np.array(sorted(frequent)))
        sold = ranker.catalogue.sold
        if sold is not None and locale in ranker.catalogue.locales:
            rare = rare[sold[ranker.catalogue.locales.index(locale), rare]]
        if len(rare):
            return [str(ranker.catalogue.vocabulary.ids[int(rng.choice(rare))].as_py())], "a rare product"
    item = _start(service, locale, rng)
    return [item] if item else [], "a product"


def _ids(service: Service, locale: str) -> Any:
    """Ids of the products of a locale, as far as there are products."""
    details = service.loaded.details
    if details is None:
        return pa.array([], pa.string())
    table = details.table
    found = table["id"].filter(pc.equal(table["locale"], locale))
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
