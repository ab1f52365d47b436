"""Rows of products by their key, locale and id, and by what they are called."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmrec.arrays import Ints
from llmrec.text.search.vectors import NONE
from llmrec.vocabulary import Vocabulary, product_keys

__all__ = ["key_rows", "rows_of_ids", "rows_of_titles"]


def key_rows(products: Any, locales: Any, ids: Any, there: NDArray[np.bool_]) -> Ints:
    """Row of each ``(locale, id)``, `NONE` for one that is not there.

    Args:
        products: Arrow table of ``locale`` and ``id``, ``M`` rows.
        locales: Arrow strings, ``K`` of them.
        ids: Arrow strings, ``K`` of them.
        there: Shape ``(M,)``; rows that count.
    """
    rows = rows_of_ids(products, ids, there)  # few, of a large catalogue
    some = products.select(["locale", "id"]).take(pa.array(rows))
    found = Vocabulary(product_keys(some["locale"], some["id"])).encode(product_keys(locales, ids))
    return np.append(rows, NONE)[found]  # the last for what is not found, -1


def rows_of_ids(products: Any, ids: Any, there: NDArray[np.bool_]) -> Ints:
    """Rows of products with one of some ids, in whatever locale, rising."""
    wanted = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    found: Ints = np.flatnonzero(pc.is_in(products.column("id"), value_set=wanted).to_numpy() & there)
    return found


def rows_of_titles(products: Any, titles: Any, there: NDArray[np.bool_]) -> dict[tuple[str, str], list[int]]:
    """Rows of the products that are called exactly like one of some titles, by locale and title, rising.

    Args:
        products: Arrow table of ``locale`` and ``title``, ``M`` rows.
        titles: Arrow strings.
        there: Shape ``(M,)``; rows that count.
    """
    named = pc.is_in(products.column("title"), value_set=titles).to_numpy() & there
    rows = np.flatnonzero(named)
    some = products.select(["locale", "title"]).take(pa.array(rows))
    found: dict[tuple[str, str], list[int]] = {}
    for row, locale, title in zip(rows.tolist(), *(column.to_pylist() for column in some.columns), strict=True):
        found.setdefault((locale, title), []).append(row)
    return found
