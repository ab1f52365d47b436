"""Products as a table: cleaned, and one row for each ``(locale, id)``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq
from ibis.backends.duckdb import Backend
from ibis.util import gen_name

from llmrec.console import notice_once
from llmrec.data.connection import carried, connected, numbered
from llmrec.data.lists import is_text, is_usual, stripped
from llmrec.data.raw import explained, first_rows, read_raw, refuse_controls
from llmrec.data.store import Store
from llmrec.errors import DataError, shown
from llmrec.files import given_file
from llmrec.schema import PRICE_SENTINEL, PRODUCT_COLUMNS, TEXT_COLUMNS

__all__ = [
    "PRODUCTS_WANTED",
    "given_products",
    "load_products",
    "no_products",
    "product_file",
    "read_products_file",
    "stage_products",
    "staged_products",
    "table_of_products",
    "unique_products",
]

PRODUCTS_WANTED: Final = "give a data frame, an Arrow table, a CSV or Parquet file, or a store"
_PRODUCT_TYPES = {name: "float64" if name == "price" else "string" for name in PRODUCT_COLUMNS}


def read_products_file(con: Backend, path: Path) -> ir.Table:
    """Products of any file, cleaned and checked: `llmrec.schema.PRODUCT_COLUMNS`, one row for each ``(locale, id)``.

    Raises:
        DataError: ``id``, ``locale`` or ``title`` is missing, or the CSV is ragged or cut.
    """
    with explained(path):
        staged = stage_products(con, path)
        if trimmed := con.to_pyarrow(staged.trimmed.sum()).as_py():
            notice_once(f"{path.name}: blanks around id or locale in {trimmed:,} products; read without them")
        return unique_products(con, staged).select(*PRODUCT_COLUMNS)


def load_products(path: Path, columns: Sequence[str]) -> Any:
    """Some columns of a product file as an Arrow table, one row for each ``(locale, id)``.

    Raises:
        DataError: the file is missing or malformed.
    """
    with connected() as con:
        return con.to_pyarrow(read_products_file(con, path).select(*columns))


def table_of_products(products: Any, columns: Sequence[str]) -> Any:
    """`load_products` of an Arrow table: cleaned and checked by the same rules.

    Raises:
        DataError: ``id`` or ``locale`` is missing.
    """
    for name in ("id", "locale"):
        if name not in products.column_names:
            raise DataError(f"products: no column '{name}' among {', '.join(products.column_names[:8])}")
    if "title" not in products.column_names:
        products = products.append_column("title", pa.nulls(len(products), pa.string()))
    known = products.select([name for name in PRODUCT_COLUMNS if name in products.column_names])
    kinds = [one.with_type(pa.string()) if pa.types.is_null(one.type) else one for one in known.schema]
    given = ibis.memtable(known.cast(pa.schema(kinds)))  # DuckDB has no column of nulls alone
    with connected() as con:
        raw = con.create_table(gen_name("given"), given)
        return con.to_pyarrow(unique_products(con, staged_products(con, raw, Path("products"))).select(*columns))


@contextmanager
def product_file(products: Any, columns: Sequence[str]) -> Iterator[Path]:
    """A file of products, whatever they are: a store's, one that is named, or a table's for the time of the block.

    Args:
        products: A `Store`, a path, a data frame or an Arrow table.
        columns: Those wanted of a table.

    Raises:
        DataError: they are something else, or a table has no ``id`` or ``locale``.
    """
    if isinstance(products, Store):
        yield products.products
    elif isinstance(products, str | Path):
        yield given_file(products, "products", PRODUCTS_WANTED)
    else:
        with TemporaryDirectory(prefix="llmrec-") as folder:
            file = Path(folder) / "products.parquet"
            pq.write_table(given_products(products, tuple(dict.fromkeys(columns))), file)
            yield file


def given_products(products: Any, columns: Sequence[str]) -> Any:
    """`load_products` of a data frame, an Arrow table or a mapping of columns.

    Raises:
        DataError: it is something else, ``id`` or ``locale`` is missing, or a column holds no text.
    """
    try:
        given = pa.table(products)
    except (TypeError, ValueError, pa.ArrowException) as error:  # Arrow's are of each kind
        if not isinstance(products, Mapping) and not hasattr(products, "columns"):
            raise DataError(f"products: {PRODUCTS_WANTED}; got {shown(products)}") from error
        reason = " ".join(" ".join(map(str, error.args)).split())
        raise DataError(f"products: {reason}; give each column a name of its own, and values of one kind") from error
    for name in ("id", "locale", "title"):
        if name in given.column_names and not is_text(given.schema.field(name).type):
            raise DataError(f"products: column '{name}' must hold text; got {shown(given[name][0].as_py())}")
    return table_of_products(given, columns)


def no_products() -> ir.Table:
    """Build a products table without rows."""
    return ibis.memtable([], schema=_PRODUCT_TYPES)


def stage_products(con: Backend, path: Path) -> ir.Table:
    """Clean a products file into a table of ``con``, rows in the file's order.

    Only ``id``, ``locale`` and ``title`` are required; another column that is missing is null.

    Returns:
        ``row`` (from 0), `llmrec.schema.PRODUCT_COLUMNS` and four flags: ``sentinel`` (the price was the sentinel),
        ``odd_price`` (it was no number), ``untitled`` (the title was empty), ``trimmed`` (blanks around id or locale).

    Raises:
        DataError: a required column is missing, the CSV is ragged or cut, or an id holds a control character; names
            file and row.
    """
    raw = read_raw(con, path, ("id", "locale", "title"))
    with explained(path):
        return staged_products(con, raw, path)


def staged_products(con: Backend, raw: ir.Table, path: Path) -> ir.Table:
    """`stage_products` of a file's rows, whose columns are already called as those of products, or missing."""
    staged = numbered(con, "products", _cleaned(con, raw))
    refuse_controls(con, staged, path, first_rows(con, staged, control=staged.control.notnull())["control"])
    return staged.drop("control")


def _cleaned(con: Backend, raw: ir.Table) -> ir.Table:
    missing = [name for name in PRODUCT_COLUMNS if name not in raw.columns]
    raw = raw.mutate(**{name: ibis.null("string") for name in missing})
    raw = raw.select(**carried(raw), **{name: raw[name].cast("string") for name in PRODUCT_COLUMNS})
    raw = con.create_view(gen_name("raw"), raw.mutate(usual_id=is_usual(raw.id), usual_locale=is_usual(raw.locale)))
    number = raw.price.try_cast("float64")
    usable = ibis.coalesce(~number.isnan() & ~number.isinf(), ibis.literal(False))
    sentinel = ibis.coalesce((number - PRICE_SENTINEL).abs() < 0.005, ibis.literal(False))
    # A title of blanks alone sorts before "!", as hardly any other does; to strip them all would take half the time.
    untitled = ibis.cases((raw.title < "!", raw.title.strip() == ""), else_=raw.title.isnull())
    item, locale = stripped(raw.id, raw.usual_id), stripped(raw.locale, raw.usual_locale)
    values = {name: raw[name].nullif("") for name in TEXT_COLUMNS}
    values |= {"id": item.bare, "locale": locale.bare}
    values["price"] = (usable & ~sentinel).ifelse(number, ibis.null("float64"))
    values["title"] = untitled.ifelse("", raw.title)
    return raw.select(
        **carried(raw),
        **{name: values[name] for name in PRODUCT_COLUMNS},
        sentinel=sentinel,
        odd_price=raw.price.notnull() & ~usable,
        untitled=untitled,
        trimmed=item.changed | locale.changed,
        control=ibis.coalesce(item.control, locale.control),
    )


def unique_products(con: Backend, staged: ir.Table) -> ir.Table:
    """Rows of `stage_products` that have an id and a locale; of several with the same, the first."""
    keyed = staged.filter(staged.id.notnull() & staged.locale.notnull())
    keys = keyed.group_by("locale", "id").aggregate(num_rows=keyed.count(), row=keyed.row.min())
    repeated = keys.filter(keys.num_rows > 1)
    if not con.to_pyarrow(repeated.count()).as_py():
        return keyed if con.name == "duckdb" else keyed.order_by("row")  # a filter keeps DuckDB's; a join needs a sort
    later = keyed.join(repeated, ["locale", "id"]).filter(lambda both: both.row > both.row_right).select("row")
    return keyed.anti_join(later, "row").order_by("row")
