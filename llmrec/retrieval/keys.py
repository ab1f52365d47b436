"""Rows of products by their key: locale and id."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmrec.retrieval.vectors import NONE, Ints

__all__ = ["key_rows", "rows_of_ids"]


def key_rows(products: Any, locales: Any, ids: Any, there: NDArray[np.bool_]) -> Ints:
    """Row of each ``(locale, id)``, `NONE` for one that is not there.

    Args:
        products: Arrow table of ``locale`` and ``id``, ``M`` rows.
        locales: Arrow strings, ``K`` of them.
        ids: Arrow strings, ``K`` of them.
        there: Shape ``(M,)``; rows that count.
    """
    rows = rows_of_ids(products, ids, there)
    place = {(locale, item): row for row, locale, item in _named(products, rows)}
    keys = zip(locales.to_pylist(), ids.to_pylist(), strict=True)
    return np.fromiter((place.get(key, NONE) for key in keys), dtype=np.int64, count=len(ids))


def rows_of_ids(products: Any, ids: Any, there: NDArray[np.bool_]) -> Ints:
    """Rows of products with one of some ids, in whatever locale, rising."""
    wanted = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    found: Ints = np.flatnonzero(pc.is_in(products.column("id"), value_set=wanted).to_numpy() & there)
    return found


def _named(products: Any, rows: Ints) -> list[tuple[int, str, str]]:
    some = products.select(["locale", "id"]).take(pa.array(rows))
    columns = (some.column(name).to_pylist() for name in ("locale", "id"))
    return list(zip(rows.tolist(), *columns, strict=True))
