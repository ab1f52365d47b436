"""What models read of the products beside their ids: attributes as numbers; and features of a grown catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmrec.arrays import Floats, Ints
from llmrec.errors import DataError
from llmrec.rankers.vectors.item_text import column
from llmrec.text.encoders.base import unit_rows
from llmrec.vocabulary import UNKNOWN, Vocabulary

__all__ = ["ATTRIBUTES", "FEATURE_COLUMNS", "attribute_features", "grown_features"]

Features = Mapping[str, NDArray[Any]]

FEATURE_COLUMNS: Final = ("id", "locale", "title", "price", "brand", "author", "color", "size", "material")
ATTRIBUTES: Final = (
    "brand",
    "author",
    "color",
    "size",
    "material",
    "price",
)  # `model` names one product, no kind of it
PRICE_BINS: Final = 20  # of equal frequency in a locale, whose prices are in its own currency


def attribute_features(products: Any, vocabulary: Vocabulary) -> Features:
    """Attributes of items as numbers: two items with the same number, above 0, share the attribute.

    Text is compared without case and blanks around it. A price counts as one of `PRICE_BINS` bins of equal frequency in
    its locale. Where rows of several locales differ, the first row that has a value decides.

    Args:
        products: Arrow table with ``id``, ``locale`` and any of `ATTRIBUTES`, one row for each locale and id.
        vocabulary: The ``N`` items.

    Returns:
        ``attributes``: int32 of shape ``(N + 1, A)``, item code ``c`` in row ``c + 1``, a column for each of
        `ATTRIBUTES`; 0 where an item has none.

    Raises:
        DataError: no products were given, or none of them has an attribute.
    """
    if products is None:
        raise DataError("this ranker reads attributes of products; give their file with --products")
    codes = vocabulary.encode(column(products, "id"))
    attributes = np.zeros((len(vocabulary) + 1, len(ATTRIBUTES)), dtype=np.int32)
    for place, name in enumerate(ATTRIBUTES):
        values = _price_bins(products) if name == "price" else _text_values(column(products, name))
        rows = np.flatnonzero((codes != UNKNOWN) & (values > 0))
        items, first = np.unique(codes[rows], return_index=True)
        attributes[items + 1, place] = values[rows[first]]
    if not attributes.any():
        listed = ", ".join(ATTRIBUTES)
        raise DataError(
            f"no product of the training sessions has any of {listed}; this ranker reads them; check --products"
        )
    return {"attributes": attributes}


def grown_features(old: Features, new: Features, places: Ints) -> Features:
    """Features of a grown catalogue that fit what a model has learnt from the old ones.

    Title vectors of two encoders differ by a linear map, which the items known to both tell. Old items keep their
    vectors; those of new items are mapped. Attributes of old items that the new products lack are kept.

    Args:
        old: Features of the ``N`` items so far.
        new: Features of all items, built anew; an item that the new products lack has none.
        places: New codes of the old items, shape ``(N,)``.
    """
    grown = dict(new)
    if "text" in old:
        grown["text"] = _grown_text(old["text"][1:], new["text"], places)
    if "attributes" in old:
        grown["attributes"] = _grown_attributes(old["attributes"][1:], new["attributes"], places)
    return grown


def _grown_text(before: Floats, new: Floats, places: Ints) -> Floats:
    after, known = new.copy(), new[places + 1]
    both = before.any(axis=1) & known.any(axis=1)
    same = known.shape[1] == before.shape[1] and np.allclose(known[both], before[both], atol=1e-5)
    if both.any() and not same:  # of the same encoder's vectors a map would only lose what the known items lack
        turn, *_ = np.linalg.lstsq(known[both], before[both], rcond=None)
        after = unit_rows((after @ turn).astype(np.float32))
    titled = before.any(axis=1)
    after[places[titled] + 1] = before[titled]
    return after


def _grown_attributes(before: NDArray[Any], new: NDArray[Any], places: Ints) -> NDArray[Any]:
    """An old number becomes the new one that an item with both has, or one of its own."""
    after = new.copy()
    for kind in range(before.shape[1]):
        numbers, known = before[:, kind], new[places + 1, kind]
        meaning = new[:, kind].max() + np.arange(numbers.max() + 1)
        both = (numbers > 0) & (known > 0)
        meaning[numbers[both]] = known[both]
        kept = (numbers > 0) & (known == 0)
        after[places[kept] + 1, kind] = meaning[numbers[kept]]
    return after


def _text_values(column: Any) -> Ints:
    """Numbers from 1 for distinct texts, 0 for none."""
    plain = pc.utf8_lower(pc.utf8_trim_whitespace(column))
    plain = pc.if_else(pc.equal(plain, ""), pa.scalar(None, pa.string()), plain)
    numbers: Ints = pc.fill_null(plain.dictionary_encode().indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return numbers + 1


def _price_bins(table: Any) -> Ints:
    """Numbers from 1 for a locale's price bins, 0 where there is no price."""
    prices = pc.fill_null(column(table, "price", pa.float64()), np.nan).to_numpy(zero_copy_only=False)
    locales = pc.fill_null(column(table, "locale"), "").dictionary_encode()
    bins = np.zeros(len(prices), dtype=np.int64)
    places = locales.indices.to_numpy(zero_copy_only=False)
    for locale in range(len(locales.dictionary)):
        rows = np.flatnonzero((places == locale) & np.isfinite(prices))
        if len(rows):
            edges = np.quantile(prices[rows], np.arange(1, PRICE_BINS) / PRICE_BINS)
            bins[rows] = locale * PRICE_BINS + np.searchsorted(edges, prices[rows], side="right") + 1
    return bins
