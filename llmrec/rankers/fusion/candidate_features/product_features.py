"""What a candidate and the session's items have in common as products: brand and other attributes, and price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmrec.arrays import Floats, checked
from llmrec.errors import DataError
from llmrec.rankers.attributes import ATTRIBUTES, attribute_features
from llmrec.rankers.fusion.candidates import Candidates
from llmrec.rankers.sessions import CodedSessions
from llmrec.vocabulary import Vocabulary

__all__ = ["ProductFacts", "product_columns"]


@dataclass(frozen=True)
class ProductFacts:
    """Attributes of ``N`` items.

    Attributes:
        attributes: Shape ``(N, len(ATTRIBUTES))``, int32; equal numbers above 0 are equal values, 0 is none.
        prices: Shape ``(N,)``; NaN for none. Of an item that several locales sell, the mean of the logarithms.
    """

    attributes: NDArray[np.int32]
    prices: Floats

    @classmethod
    def of(cls, products: Any, vocabulary: Vocabulary) -> Self | None:
        """Facts of a product table, or None where there is none or it has no attribute of any item."""
        if products is None:
            return None
        try:
            attributes = attribute_features(products, vocabulary)["attributes"][1:]
        except DataError:
            return None
        return cls(attributes, _log_prices(products, vocabulary))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Its arrays by name, for a file."""
        return {"products.attributes": self.attributes, "products.prices": self.prices}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], num_items: int) -> Self | None:
        """What `arrays` gave, or None where it was not called.

        Raises:
            ValueError: they do not fit together.
        """
        if "products.attributes" not in arrays:
            return None
        return cls(
            checked(arrays, "products.attributes", "int32", (num_items, len(ATTRIBUTES)), least=0),
            checked(arrays, "products.prices", "float32", (num_items,), least=-1e3, most=1e3, nan=True),
        )


def product_columns(facts: ProductFacts, sessions: CodedSessions, found: Candidates) -> dict[str, Floats]:
    """For each attribute, whether the last item shares it (NaN where one has none) and the share of items that do.

    ``price_ratio`` is the logarithm of the candidate's price over the last item's, ``price_ratio_mean`` over the
    session's geometric mean.
    """
    recent = sessions.distinct()
    longest = int(recent.lengths.max(initial=0))
    columns: dict[str, Floats] = {}
    for place, name in enumerate(ATTRIBUTES):
        values = facts.attributes[:, place]
        own = values[found.codes]
        shared, known = np.zeros(len(own), dtype=np.float32), np.zeros(len(own), dtype=np.float32)
        for age in range(longest):
            places, items = recent.from_end(found.rows, age)
            other = values[items]
            known_both = (other > 0) & (own[places] > 0)
            equal = known_both & (other == own[places])
            shared[places] += equal
            known[places] += known_both
            if age == 0:
                last = np.full(len(own), np.nan, dtype=np.float32)
                last[places[known_both]] = equal[known_both]
                columns[f"{name}.last"] = last
        columns.setdefault(f"{name}.last", np.full(len(own), np.nan, dtype=np.float32))
        columns[f"{name}.session"] = np.where(known > 0, shared / np.maximum(known, 1), np.nan).astype(np.float32)
    return columns | _price_columns(facts.prices, sessions, found)


def _price_columns(prices: Floats, sessions: CodedSessions, found: Candidates) -> dict[str, Floats]:
    last = np.where(sessions.lengths > 0, prices[sessions.ends], np.float32(np.nan))
    held = prices[sessions.items]
    known_both = np.isfinite(held)
    rows = sessions.rows[known_both]
    number = np.bincount(rows, minlength=len(sessions))
    sums = np.bincount(rows, weights=held[known_both], minlength=len(sessions))
    mean = np.where(number > 0, sums / np.maximum(number, 1), np.nan).astype(np.float32)
    own = prices[found.codes]
    return {"price_ratio": own - last[found.rows], "price_ratio_mean": own - mean[found.rows]}


def _log_prices(products: Any, vocabulary: Vocabulary) -> Floats:
    """Mean logarithm of an item's prices, shape ``(N,)``, NaN where it has none."""
    missing = np.full(len(vocabulary), np.nan, dtype=np.float32)
    if "price" not in products.column_names:
        return missing
    prices = pc.fill_null(products["price"].cast(pa.float64()), np.nan).to_numpy()
    codes = vocabulary.encode(products["id"].combine_chunks())
    usable = (codes >= 0) & np.isfinite(prices) & (prices > 0)
    number = np.bincount(codes[usable], minlength=len(vocabulary))
    sums = np.bincount(codes[usable], weights=np.log(prices[usable]), minlength=len(vocabulary))
    return np.where(number > 0, sums / np.maximum(number, 1), missing).astype(np.float32)
