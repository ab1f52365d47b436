"""Column names, locales and file names: the words every stage shares."""

from __future__ import annotations

from typing import Final

__all__ = [
    "LARGE_LOCALES",
    "LOCALES",
    "ONE_LOCALE",
    "PRICE_SENTINEL",
    "PRODUCT_COLUMNS",
    "SMALL_LOCALES",
    "STORE_VERSION",
    "TEXT_COLUMNS",
]

LARGE_LOCALES: Final = ("UK", "DE", "JP")  # Task 1 (paper §2.2)
SMALL_LOCALES: Final = ("ES", "FR", "IT")  # Task 2
LOCALES: Final = LARGE_LOCALES + SMALL_LOCALES
ONE_LOCALE: Final = "XX"  # of a shop that has no more than one and names none

PRODUCT_COLUMNS: Final = (
    "id",
    "locale",
    "title",
    "price",
    "brand",
    "color",
    "size",
    "model",
    "material",
    "author",
    "desc",
)
TEXT_COLUMNS: Final = ("title", "brand", "color", "size", "model", "material", "author", "desc")

PRICE_SENTINEL: Final = 40000000.07  # what products_train.csv holds where a price is missing

STORE_VERSION: Final = 1
