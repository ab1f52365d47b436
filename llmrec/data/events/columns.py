"""Which column of a shop's file holds what: named, or guessed from the names that logs and catalogues use."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Final

from llmrec.data.lists import excerpt
from llmrec.errors import DataError, nearest

__all__ = [
    "EVENT_NAMES",
    "NO_COLUMN",
    "PRODUCT_NAMES",
    "chosen_columns",
    "is_misspelt",
    "known_columns",
    "told_columns",
]

NO_COLUMN: Final = "none"  # what a flag says where a column that looks right is none
EVENT_NAMES: Final[Mapping[str, Sequence[str]]] = {  # the first that is there
    "user": (
        *("user_id", "user", "visitor_id", "visitor", "customer_id", "customer", "client_id", "member_id"),
        *("account_id", "uid", "user_pseudo_id", "anonymous_id", "cookie_id", "cookie", "reviewer_id"),
    ),
    "item": ("item_id", "item", "product_id", "product", "sku", "asin", "article_id", "article", "content_id", "aid"),
    "time": (
        *("timestamp", "event_time", "time", "datetime", "ts", "event_timestamp", "created_at", "occurred_at"),
        *("unix_timestamp", "event_date", "date"),
    ),
    "type": ("event_type", "event", "type", "event_name", "action", "action_type", "behavior_type", "behavior"),
    "session": ("session_id", "session", "user_session", "visit_id", "ga_session_id"),
    "locale": ("locale", "market", "country", "language", "lang"),
}
PRODUCT_NAMES: Final[Mapping[str, Sequence[str]]] = {
    "id": ("id", *EVENT_NAMES["item"], "parent_asin", "product_code", "code", "item_number"),
    "title": ("title", "name", "product_name", "item_name", "product_title", "label"),
    "locale": EVENT_NAMES["locale"],
    "price": ("price", "sale_price", "unit_price", "amount"),
    "brand": ("brand", "brand_name", "vendor", "manufacturer"),
    "color": ("color", "colour"),
    "size": ("size",),
    "model": ("model", "model_name"),
    "material": ("material",),
    "author": ("author",),
    "desc": ("desc", "description", "product_description", "body", "body_html"),
}


def chosen_columns(
    names: Sequence[str], given: Mapping[str, str | None], known: Mapping[str, Sequence[str]], where: str
) -> dict[str, str]:
    """Column of each role that has one.

    Args:
        names: Columns of the file.
        given: What was said of a role: a column, ``none``, or None where nothing was said.
        known: Names that a role's column has, the likeliest first.
        where: The file, for the error's line.

    Raises:
        DataError: a column that was named is not there, or two roles are to be of one column.
    """
    chosen: dict[str, str] = {}
    for role, name in given.items():
        if name is None or (name == NO_COLUMN and name not in names):
            continue
        if name not in names:
            raise DataError(f"{where}: no column '{name}'{nearest(name, [one for one in names if one])}")
        if name in chosen.values():
            raise DataError(f"{where}: column '{name}' cannot be two things; name another column")
        chosen[role] = name
    free = {_plain(name): name for name in reversed(names) if name and name not in chosen.values()}
    for role, likely in known.items():
        if given.get(role) is None:
            found = next((free[_plain(name)] for name in likely if _plain(name) in free), None)
            if found is not None:
                chosen[role] = found
                del free[_plain(found)]
    return chosen


def known_columns(names: Sequence[str]) -> str:
    """Columns of a file, as an error lists them."""
    return excerpt(", ".join(name for name in names if name), 200)


def is_misspelt(name: str, names: Sequence[str]) -> bool:
    """Whether a name is nearly one of the columns."""
    return bool(difflib.get_close_matches(name, [one for one in names if one], n=1, cutoff=0.75))


def told_columns(chosen: Mapping[str, str]) -> str:
    """The columns of a file for people: ``user is 'user_id', …``."""
    return ", ".join(f"{role} is '{name}'" for role, name in chosen.items())


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()
