"""A shop's products: columns of any names, entities of HTML as characters, one locale or a column of them."""

from __future__ import annotations

import html
import html.entities
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import ibis
import ibis.expr.types as ir
from ibis.backends.duckdb import Backend
from ibis.util import gen_name

from llmrec.console import notice
from llmrec.data.connection import carried
from llmrec.data.events.columns import (
    NO_COLUMN,
    PRODUCT_NAMES,
    chosen_columns,
    is_misspelt,
    known_columns,
    told_columns,
)
from llmrec.data.events.job import EventsJob, pairs_of
from llmrec.data.events.tables import ShopTable, as_text, open_table, reading
from llmrec.data.lists import regexp_extract_all
from llmrec.data.products import staged_products
from llmrec.errors import ConfigError, DataError, nearest
from llmrec.schema import PRODUCT_COLUMNS, TEXT_COLUMNS

__all__ = ["ShopProducts", "in_locales", "stage_shop_products"]

_ENTITY: Final = r"&(?:[A-Za-z][A-Za-z0-9]{1,31}|#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6});"
_AT_ONCE: Final = 50  # replacements in one expression
_MOST: Final = 5_000  # different entities, beyond which a file is no text


@dataclass(frozen=True)
class ShopProducts:
    """Products on disk.

    Attributes:
        path: The file.
        staged: As `llmrec.data.products.stage_products` gives them; ``locale`` is empty where nothing says it.
        placed: Whether the file says the locale, or the caller does.
        locale: The one locale of all, where there is no other.
        columns: Column of each role.
        decoded: Texts in which entities became characters.
    """

    path: Path
    staged: ir.Table
    placed: bool
    locale: str | None
    columns: Mapping[str, str]
    decoded: int


def stage_shop_products(con: Backend, job: EventsJob, path: Path, locale: str | None) -> ShopProducts:
    """Read a file of products into a table of ``con``; ``locale`` is that of the whole log, where it was named.

    Raises:
        ConfigError: ``--columns`` is of something that no product has.
        DataError: the file cannot be read, or a column is missing.
    """
    table = open_table(con, path)
    chosen, place = _columns(job, table, locale)
    raw = table.rows.select(**{role: as_text(table.rows[name]) for role, name in chosen.items()}, **carried(table.rows))
    if "locale" not in chosen:
        raw = raw.mutate(locale=ibis.literal(place or "-"))
    if "title" not in chosen:
        raw = raw.mutate(title=ibis.null("string"))
    with reading(path):
        kept = con.create_table(gen_name("shop"), raw)
        kept, decoded = _decoded(con, kept)
        staged = staged_products(con, kept, path)
        placed = "locale" in chosen or place is not None
        locales = con.to_pyarrow(staged.filter(staged.locale.notnull()).select("locale").distinct().limit(2))
    one = locales.column(0).to_pylist() if placed else []
    return ShopProducts(path, staged, placed, one[0] if len(one) == 1 else None, chosen, decoded)


def in_locales(con: Backend, products: ShopProducts, locales: Sequence[str]) -> ir.Table:
    """Products of a file that says no locale, in each of the sessions' locales; others as they are."""
    if products.placed:
        return products.staged
    places = ibis.memtable({"locale": list(locales)}, schema={"locale": "string"})
    spread = products.staged.drop("locale").cross_join(places)
    return con.create_table(gen_name("products"), spread)


def _columns(job: EventsJob, table: ShopTable, locale: str | None) -> tuple[dict[str, str], str | None]:
    """Column of each role, and the locale of all where it is no column."""
    names, where = table.columns, table.path.name
    more = pairs_of(job.columns, "--columns", "price=amount,brand=vendor")
    for role in more:
        if role not in PRODUCT_COLUMNS:
            raise ConfigError(f"--columns: no product has a '{role}'{nearest(role, PRODUCT_COLUMNS)}")
    place, one = job.product_locale, None
    if place is None:
        place, one = (job.locale, None) if job.locale in names else (None, locale)
    elif place not in names:
        if is_misspelt(place, names):
            raise DataError(f"{where}: no column '{place}'{nearest(place, [name for name in names if name])}")
        place, one = NO_COLUMN, None if place == NO_COLUMN else place
    own = {"id": job.product_id, "title": job.product_title, "locale": NO_COLUMN if one else place}
    given = {**dict.fromkeys(PRODUCT_NAMES), **more, **{role: name for role, name in own.items() if name}}
    chosen = chosen_columns(names, given, PRODUCT_NAMES, where)
    if "id" not in chosen:
        raise DataError(f"{where}: no column of ids among {known_columns(names)}; name it: --id NAME")
    said = "" if "locale" in chosen else f", locale is '{one}' for all" if one else ", of every locale of the sessions"
    notice(f"{where}: {told_columns(chosen)}{said}{f'; {table.note}' if table.note else ''}")
    return chosen, one


def _decoded(con: Backend, table: ir.Table) -> tuple[ir.Table, int]:
    """Texts with characters in place of HTML's entities, once, and how many texts that changed."""
    names = [name for name in TEXT_COLUMNS if name in table.columns]
    found = [table.filter(table[name].contains("&")).select(text=table[name]) for name in names]
    if not found:
        return table, 0
    texts = found[0].union(*found[1:]) if len(found) > 1 else found[0]
    entities = texts.select(entity=regexp_extract_all(texts.text, _ENTITY).unnest())
    counted = con.to_pyarrow(entities.distinct().limit(_MOST)).column(0).to_pylist()
    pairs = [(one, made) for one in sorted(counted) if (made := _character(one)) is not None]
    # `&amp;` last: what it leaves of `&amp;lt;` is text, and no entity
    pairs.sort(key=lambda pair: pair[1] == "&")
    for start in range(0, len(pairs), _AT_ONCE):
        changed = {name: _replaced(table[name], pairs[start : start + _AT_ONCE]) for name in names}
        table = con.create_table(gen_name("shop"), table.mutate(**changed))
    if not pairs:
        return table, 0
    known = ibis.or_(*(texts.text.contains(one) for one, _ in pairs[-_AT_ONCE:]))
    return table, int(con.to_pyarrow(known.sum()).as_py() or 0)


def _character(entity: str) -> str | None:
    made = html.unescape(entity)
    named = entity[1] == "#" or entity[1:] in html.entities.html5
    return made if named and made != entity and made != "\ufffd" else None


def _replaced(column: ir.StringValue, pairs: Sequence[tuple[str, str]]) -> ir.Value:
    made = column
    for entity, character in pairs:
        made = made.replace(entity, character)
    return ibis.cases((column.contains("&"), made), else_=column)
