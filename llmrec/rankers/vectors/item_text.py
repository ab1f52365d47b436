"""Vectors of items' texts: from a folder of `llmrec embed`, or by the built-in encoder from the titles."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmrec.arrays import Floats, Ints
from llmrec.errors import DataError
from llmrec.text.encoders.base import encode_with_progress, unit_rows
from llmrec.text.encoders.embeddings_folder import Embeddings, open_embeddings
from llmrec.text.encoders.tfidf import TfidfEncoder
from llmrec.vocabulary import UNKNOWN, Vocabulary

__all__ = ["TEXT_DIM", "TextVectors", "column", "rows_of", "text_features", "with_cold_items"]

Features = Mapping[str, NDArray[Any]]

TEXT_DIM: Final = 64
CHUNK: Final = 65_536  # vectors of a folder held at once


def text_features(products: Any, vocabulary: Vocabulary, dim: int = TEXT_DIM, folder: str | None = None) -> Features:
    """Text vectors of items; of an item that several locales sell, the mean of its rows'.

    Args:
        products: Arrow table with ``id`` and ``title``, one row for each locale and id. None where ``folder`` is given.
        vocabulary: The ``N`` items.
        dim: Width ``T`` of the built-in encoder's vectors; a folder's have their own.
        folder: Folder of `llmrec embed`.

    Returns:
        ``text``: shape ``(N + 1, T)``, item code ``c`` in row ``c + 1``, of length 1; 0 for an item without a title.

    Raises:
        DataError: neither products nor a folder were given, no item has a title, or the folder lacks items that the
            products have.
        StoreError: the folder cannot be read.
    """
    if folder is None:
        return {"text": _with_padding(_from_titles(products, vocabulary, dim))}
    embeddings = open_embeddings(Path(folder))
    codes = vocabulary.encode(column(embeddings.products, "id"))
    _refuse_missing(embeddings, codes, products, vocabulary)
    return {"text": _with_padding(_from_folder(embeddings, codes, len(vocabulary)))}


class TextVectors:
    """`text_features` that answers the same question once: rankers fitted anew on other sessions share the vectors."""

    def __init__(self) -> None:
        self._held: dict[tuple[int, str | None], tuple[Any, Vocabulary, Features]] = {}

    def __call__(
        self, products: Any, vocabulary: Vocabulary, dim: int = TEXT_DIM, folder: str | None = None
    ) -> Features:
        """As `text_features`, of which the last answer for a width and folder is kept."""
        held = self._held.get((dim, folder))
        if held is None or held[0] is not products or not held[1].ids.equals(vocabulary.ids):
            held = products, vocabulary, text_features(products, vocabulary, dim, folder)
            self._held[dim, folder] = held
        return held[2]


def with_cold_items(vocabulary: Vocabulary, products: Any, folder: str | None, locales: tuple[str, ...]) -> Vocabulary:
    """The vocabulary and all items of the products (without them, of the folder) that one of the locales sells."""
    if products is None and folder is None:
        return vocabulary
    table = products if products is not None else open_embeddings(Path(str(folder))).products
    here = pc.is_in(column(table, "locale"), pa.array(locales, pa.string()))
    return Vocabulary.of(vocabulary.ids, column(table, "id").filter(here))


def rows_of(features: Features, codes: Ints) -> Features:
    """Features of some items alone, the padding row first."""
    rows = np.concatenate([[0], codes + 1])
    return {name: values[rows] for name, values in features.items()}


def column(table: Any, name: str, kind: Any = None) -> Any:
    """A column as one array, of text if no other kind is asked for; one that is missing holds nulls."""
    kind = kind or pa.string()
    if name not in table.column_names:
        return pa.nulls(len(table), kind)
    values = table[name].cast(kind)
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _with_padding(vectors: Floats) -> Floats:
    return np.concatenate([np.zeros((1, vectors.shape[1]), dtype=np.float32), unit_rows(vectors)])


def _from_titles(products: Any, vocabulary: Vocabulary, dim: int) -> Floats:
    """Sums of the built-in encoder's vectors of each item's titles, shape ``(N, dim)``."""
    if products is None:
        raise DataError("this ranker reads titles of products; give their file with --products")
    codes = vocabulary.encode(column(products, "id"))
    titles = pc.fill_null(column(products, "title"), "")
    titled = (codes != UNKNOWN) & pc.not_equal(pc.utf8_trim_whitespace(titles), "").to_numpy(zero_copy_only=False)
    if not titled.any():
        raise DataError("no product of the training sessions has a title, which this ranker reads; check --products")
    distinct = titles.filter(pa.array(titled)).dictionary_encode()
    names = distinct.dictionary.to_pylist()
    vectors = encode_with_progress(TfidfEncoder.fit(names, dim), names)
    sums = np.zeros((len(vocabulary), dim), dtype=np.float32)
    np.add.at(sums, codes[titled], vectors[distinct.indices.to_numpy()])
    return sums


def _from_folder(embeddings: Embeddings, codes: Ints, num_items: int) -> Floats:
    sums = np.zeros((num_items, embeddings.vectors.shape[1]), dtype=np.float32)
    for start in range(0, len(codes), CHUNK):
        part = codes[start : start + CHUNK]
        known = part != UNKNOWN
        np.add.at(sums, part[known], np.asarray(embeddings.vectors[start : start + CHUNK])[known])
    if not sums.any():
        raise DataError(f"{embeddings.path}: no item of the sessions has a vector there; embed their product file")
    return sums


def _refuse_missing(embeddings: Embeddings, codes: Ints, products: Any, vocabulary: Vocabulary) -> None:
    """Items without any product row are nobody's fault; those that the products have belong into the folder."""
    if products is None:
        return
    listed = vocabulary.encode(column(products, "id"))
    missing = np.setdiff1d(listed[listed != UNKNOWN], codes)
    if len(missing):
        first = vocabulary.ids[int(missing[0])]
        raise DataError(
            f"{embeddings.path}: lacks {len(missing):,} of the products, '{first}' first; embed the same file as "
            f"--products: llmrec embed PRODUCTS --out {embeddings.path}"
        )
