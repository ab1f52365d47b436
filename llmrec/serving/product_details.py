"""Titles, brands and prices of products by locale and id, a lookup in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import pyarrow as pa

from llmrec.data.products import load_products
from llmrec.schema import PRODUCT_COLUMNS
from llmrec.vocabulary import UNKNOWN, Vocabulary, product_keys

__all__ = ["ProductDetails"]

Details = Mapping[str, Any]
_NOTHING: Final[Details] = {}


class ProductDetails:
    """Products as a shop shows them.

    Attributes:
        table: Arrow table of `llmrec.schema.PRODUCT_COLUMNS`, one row for each locale and id.
    """

    def __init__(self, table: Any) -> None:
        self.table = table.combine_chunks()
        locales, ids = (self.table[name].combine_chunks() for name in ("locale", "id"))
        self._rows = Vocabulary(product_keys(locales, ids))

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read a product file.

        Raises:
            DataError: it is missing or malformed.
        """
        return cls(load_products(file, PRODUCT_COLUMNS))

    def __len__(self) -> int:
        return len(self.table)

    def of(self, ids: Sequence[str], locale: str) -> list[Details]:
        """Columns of some products in a locale, without those that are empty; nothing for one that is not there."""
        if not ids:
            return []
        keys = product_keys(pa.array([locale] * len(ids), pa.string()), pa.array(ids, pa.string()))
        places = self._rows.encode_list(keys.to_pylist()).tolist()
        known = [place for place in places if place != UNKNOWN]
        rows = iter(self.table.take(pa.array(known, pa.int64())).to_pylist())
        return [_NOTHING if place == UNKNOWN else _filled(next(rows)) for place in places]


def _filled(row: dict[str, Any]) -> Details:
    return {name: value for name, value in row.items() if value not in (None, "")}
