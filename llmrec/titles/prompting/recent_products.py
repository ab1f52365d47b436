"""The most recent titled products of every session, in session order, with memory that does not grow with the data.

DuckDB works through the sessions a range at a time, so nothing that is sorted or joined is larger than one range.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import ibis
import ibis.expr.types as ir
import pyarrow as pa
from ibis.backends.duckdb import Backend

from llmrec.data.connection import connected
from llmrec.data.sessions import read_products, read_sessions
from llmrec.data.store import Store
from llmrec.errors import DataError
from llmrec.text.prompts import Prompt

__all__ = [
    "draw_sessions",
    "iterate_recent_products",
    "open_split",
    "products_of",
    "read_session",
    "render_session",
    "session_ranges",
    "titled_products",
]

RANGE_SESSIONS: Final = 131_072
MEMORY_GB: Final = 2
_NO_TEXTS: Final = ibis.literal([], type="array<string>")


@contextmanager
def open_split(
    store: Store, split: str, fields: Sequence[str], scratch: Path | None = None
) -> Iterator[tuple[ir.Table, ir.Table]]:
    """Give sessions of a split, with targets only where it may be trained on, and the products that have a title, to
    query while the block lasts.

    Args:
        store: The store.
        split: ``development``, ``validation``, ``train`` (both), or a test split.
        fields: Product fields to read as text, "" where a product lacks one.
        scratch: Folder for what DuckDB cannot hold in memory; with it the products are read once for many queries.

    Raises:
        StoreError: this store has no such split; the known ones are named.
    """
    files = store.sessions_files(split, task=3)
    with connected(memory_limit_gb=MEMORY_GB, spill=scratch) as con:
        titled = titled_products(con, store, fields)
        yield read_sessions(con, files), con.create_table("titled", titled, temp=True) if scratch else titled


def titled_products(con: Backend, store: Store, fields: Sequence[str]) -> ir.Table:
    """The products that have a title: ``locale``, ``id`` and ``fields`` as text, "" where a product lacks one."""
    products = read_products(con, store.products)
    titled = products.filter(products.title.strip() != "")
    return titled.select("locale", "id", **{name: _as_text(titled, name) for name in fields})


def draw_sessions(sessions: ir.Table, number: int) -> ir.Table:
    """Draw sessions evenly from the whole split, always the same: those whose id's MD5 is smallest.

    The first ones would not do: the released files are sorted by locale.
    """
    drawn = sessions.select("session_id").order_by(sessions.session_id.cast("string").hexdigest("md5")).limit(number)
    return sessions.semi_join(drawn, "session_id")


def session_ranges(sessions: ir.Table, limit: int | None = None) -> list[tuple[int, int, int]]:
    """First and last ``session_id`` and number of sessions of each range, in order; ``limit`` keeps the first ones."""
    numbered = sessions.select("session_id", place=ibis.row_number().over(order_by=sessions.session_id))
    if limit is not None:
        numbered = numbered.filter(numbered.place < limit)
    ranges = numbered.group_by(number=numbered.place // RANGE_SESSIONS).agg(
        first=numbered.session_id.min(), last=numbered.session_id.max(), sessions=numbered.count()
    )
    rows = ranges.order_by("number").to_pyarrow().to_pylist()
    return [(row["first"], row["last"], row["sessions"]) for row in rows]


def iterate_recent_products(
    sessions: ir.Table, products: ir.Table, ranges: Sequence[tuple[int, int, int]], *, k: int, fields: Sequence[str]
) -> Iterator[pa.Table]:
    """Yield one table for each range, in session order; the next is fetched while the caller works on this one.

    Args:
        sessions: From `open_split`.
        products: From `open_split`, with ``fields``.
        ranges: From `session_ranges`.
        k: Most products of a session.
        fields: Product fields, ``title`` first.

    Columns: ``session_id``; ``locale``; for each of ``fields`` a list of at most ``k`` texts, oldest product first, ""
    where a product lacks it; ``target_title``, null where the next product is not known or has no title. An item
    without a product row or without a title counts as no product and takes no place among the ``k``.
    """

    def fetch(bounds: tuple[int, int, int]) -> pa.Table:
        part = sessions.filter(sessions.session_id.between(bounds[0], bounds[1]))
        return _recent_products(part, products, k, fields).to_pyarrow()

    with ThreadPoolExecutor(max_workers=1) as background:
        waiting = background.submit(fetch, ranges[0]) if ranges else None
        for following in [*ranges[1:], None] if ranges else []:
            table = waiting.result() if waiting else None
            waiting = background.submit(fetch, following) if following else None
            yield table


def _recent_products(sessions: ir.Table, products: ir.Table, k: int, fields: Sequence[str]) -> ir.Table:
    items = sessions.select("session_id", "locale", id="prev_items").unnest("id", offset="place")
    found = items.join(products, ["locale", "id"])
    recent = found.group_by("session_id").agg(
        **{name: found[name].collect(order_by=found.place)[-k:] for name in fields}
    )
    joined = sessions.left_join(recent, "session_id")
    lists = {name: ibis.coalesce(recent[name], _NO_TEXTS) for name in fields}
    if "next_item" not in sessions.columns:
        made = joined.select("session_id", "locale", **lists).mutate(target_title=ibis.null("string"))
    else:
        targets = products.select("locale", next_item="id", target_title="title")
        listed = joined.select("session_id", "locale", "next_item", **lists)
        made = listed.left_join(targets, ["locale", "next_item"])
    return made.select("session_id", "locale", *fields, "target_title").order_by("session_id")


def _as_text(products: ir.Table, name: str) -> Any:
    """A field as text, "" where it is null; a whole price without its ``.0``."""
    column = products[name].cast("string")
    return (column.re_replace(r"\.0$", "") if name == "price" else column).fill_null("")


def products_of(row: Mapping[str, Any], fields: Sequence[str]) -> list[dict[str, str]]:
    """Products of one row of `iterate_recent_products`, as `llmrec.text.prompts.Prompt.render` takes them."""
    return [dict(zip(fields, values, strict=True)) for values in zip(*(row[name] for name in fields), strict=True)]


def render_session(prompt: Prompt, store: Store, split: str, session_id: int, k: int) -> str:
    """Write the prompt of one session of a store, whole, however long.

    Args:
        prompt: From `llmrec.text.prompts.load_prompt`.
        store: Where the session is.
        split: Its split.
        session_id: Its row in the source file, from 0.
        k: Number of most recent titles.

    Raises:
        DataError: the split has no such session.
        StoreError: the store has no such split.
    """
    locale, products = read_session(store, split, session_id, k, prompt.fields)
    return prompt.render(products, locale)


def read_session(
    store: Store, split: str, session_id: int, k: int, fields: Sequence[str]
) -> tuple[str, list[dict[str, str]]]:
    """Read one session of a store: its locale and its most recent products that have a title, oldest first.

    Raises:
        DataError: the split has no such session.
        StoreError: the store has no such split.
    """
    with open_split(store, split, fields) as (sessions, products):
        one = sessions.filter(sessions.session_id == session_id)
        rows = _recent_products(one, products, k, fields).to_pyarrow().to_pylist()
        if not rows:
            raise DataError(f"{store.path}: split '{split}' has no session {session_id}; {_known_ids(sessions)}")
    return rows[0]["locale"], products_of(rows[0], fields)


def _known_ids(sessions: ir.Table) -> str:
    first = sessions.order_by("session_id").limit(3).session_id.to_pyarrow().to_pylist()
    return f"its first are {', '.join(map(str, first))}" if first else "it is empty"
