"""Titles that a model was held to, as the products that have them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice

import numpy as np
import pyarrow as pa

from llmrec.data.connection import connected
from llmrec.data.store import Store
from llmrec.evaluation.metrics import MAX_RANKED
from llmrec.text.search.keys import rows_of_titles
from llmrec.titles.prompting.recent_products import titled_products

__all__ = ["products_of_titles"]


def products_of_titles(store: Store, locales: Sequence[str], titles: Sequence[Sequence[str]]) -> list[list[str]]:
    """Ids of the products that some titles name, in the titles' order; of products with the same title by id.

    Args:
        store: Whose products they are.
        locales: Locale of each of ``S`` sessions.
        titles: ``S`` lists of titles, the best first.

    Returns:
        ``S`` lists of at most 100 ids, none twice.
    """
    with connected() as con:
        products = titled_products(con, store, ("title",)).order_by("locale", "id").to_pyarrow()
    wanted = pa.array(set(chain.from_iterable(titles)), pa.string())
    rows = rows_of_titles(products, wanted, np.ones(len(products), dtype=np.bool_))
    named = (
        chain.from_iterable(rows.get((locale, title), ()) for title in some)
        for locale, some in zip(locales, titles, strict=True)
    )
    ids = products.column("id")
    return [list(islice(dict.fromkeys(ids[row].as_py() for row in some), MAX_RANKED)) for some in named]
