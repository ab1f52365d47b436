"""Sessions as tables: of a store, or of any file in the official CSV form or Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import ibis
import ibis.expr.types as ir
from ibis.backends.duckdb import Backend
from ibis.util import gen_name

from llmrec.console import notice_once
from llmrec.data.connection import carried, numbered
from llmrec.data.lists import (
    are_clean,
    clean_ids,
    control_of,
    excerpt,
    is_list,
    is_one_line,
    is_plain,
    is_usual,
    one_line_ids,
    plain_ids,
    printed_ids,
    stripped,
)
from llmrec.data.raw import ends_whole, explained, first_rows, from_parquet, read_raw, refuse_controls, row_at, value_at
from llmrec.errors import DataError
from llmrec.schema import PRODUCT_COLUMNS

__all__ = ["item_counts", "read_products", "read_sessions", "read_sessions_file", "stage_sessions"]

_ID_COLUMNS = ("next_item", "locale")
_KIND = "kind of list"  # a name that hardly any file has, and none needs
_NO_IDS = ibis.literal([], type="array<string>")


class _Lists(NamedTuple):
    """Lists by the rule, whether that changed them, the text of what is no list, and of ids with control characters."""

    ids: ir.ArrayValue
    repaired: ir.BooleanValue
    malformed: ir.StringValue
    control: ir.StringValue


def read_sessions(con: Backend, files: Sequence[Path]) -> ir.Table:
    """Sessions of a store's files: ``session_id``, ``prev_items``, ``next_item`` where labelled, ``locale``."""
    return from_parquet(con, *files)


def read_products(con: Backend, file: Path) -> ir.Table:
    """Products of a store: the columns of `llmrec.schema.PRODUCT_COLUMNS`, one row for each ``(locale, id)``."""
    return from_parquet(con, file).select(*PRODUCT_COLUMNS)


def item_counts(sessions: ir.Table) -> ir.Table:
    """How many ``times`` the ``prev_items`` of a ``locale``'s sessions show an item, its ``id``."""
    items = sessions.select("locale", id=sessions.prev_items.unnest())
    return items.group_by("locale", "id").aggregate(times=items.count())


def read_sessions_file(con: Backend, path: Path) -> ir.Table:
    """Sessions of any file, parsed and checked: ``session_id``, ``prev_items``, the targets it has, ``locale``.

    ``session_id`` is the file's own where it has one (a store's), else its row from 0. Every row is there, so that a
    run can stand in the file's order; a session without items has an empty list.

    Raises:
        DataError: a column is missing, the CSV is ragged or cut, or a list cannot be read; names file and row.
    """
    staged = stage_sessions(con, path)
    if repaired := con.to_pyarrow(staged.repaired.sum()).as_py():
        notice_once(
            f"{path.name}: blanks around ids, or empty or nan ones, in {repaired:,} sessions; read without them"
        )
    targets = [name for name in ("next_item", "next_title") if name in staged.columns]
    return staged.select("session_id", "prev_items", *targets, "locale")


def stage_sessions(con: Backend, path: Path, required: Sequence[str] = (), *, raw: ir.Table | None = None) -> ir.Table:
    """Parse a sessions file into a table of ``con``, rows in the file's order.

    Args:
        con: Where to.
        path: The file.
        required: Columns that it must have beside ``prev_items`` and ``locale``.
        raw: Its columns (`llmrec.data.raw.read_raw`), where they were looked at already.

    Returns:
        ``row`` (from 0), ``session_id``, ``prev_items`` (list of text, never null), ``next_item`` and ``next_title``
        where the file has them, ``locale``, and ``repaired``: an id or the locale had blanks around it or was none.

    Raises:
        DataError: a column is missing, the CSV is ragged or cut, a list cannot be read, an id holds a control
            character, or a ``session_id`` is no whole number; names file and row.
    """
    raw = read_raw(con, path, ("prev_items", "locale", *required)) if raw is None else raw
    if not (raw.prev_items.type().is_string() or raw.prev_items.type().is_array()):
        raise DataError(f"{path.name}: column 'prev_items' holds {raw.prev_items.type()}; it must be lists of ids")
    with explained(path):
        staged = numbered(con, "staged", _parsed(con, raw))
        _refuse_odd_rows(con, staged, path)
        _refuse_cut_locale(con, staged, path)
    staged = staged.drop("malformed", "control")
    return staged if "session_id" in staged.columns else staged.mutate(session_id=staged.row)


def _parsed(con: Backend, raw: ir.Table) -> ir.Table:
    """Columns of `stage_sessions` short of ``row``, with ``malformed``, the text of a list that cannot be read, and
    ``control``, an id with a control character inside.
    """
    if printed := raw.prev_items.type().is_string():
        kind = ibis.cases((is_one_line(raw.prev_items), 1), (is_plain(raw.prev_items), 2), else_=3)
    else:
        raw = raw.mutate(prev_items=raw.prev_items.cast("array<string>"))
        kind = ibis.cases((are_clean(raw.prev_items), 1), else_=3)
    names = [name for name in _ID_COLUMNS if name in raw.columns]
    raw = raw.mutate(**{name: raw[name].cast("string") for name in names})
    usual = {f"{name} usual": is_usual(raw[name]) for name in names}
    # ibis writes a column's expression wherever it is used; only behind a view is a pattern tried once a row.
    raw = con.create_view(gen_name("raw"), raw.mutate(**{_KIND: kind}, **usual))
    lists = (_read_lists if printed else _clean_lists)(raw.prev_items, raw[_KIND])
    columns: dict[str, ir.Value] = {"prev_items": lists.ids}
    repaired, control = lists.repaired, lists.control
    for name in names:
        columns[name], changed, odd = stripped(raw[name], raw[f"{name} usual"])
        repaired, control = repaired | changed, ibis.coalesce(control, odd)
    if "next_title" in raw.columns:
        columns["next_title"] = raw.next_title.cast("string")
    if "session_id" in raw.columns:
        columns["session_id"] = raw.session_id.try_cast("int64")
    return raw.select(**carried(raw), **columns, repaired=repaired, malformed=lists.malformed, control=control)


def _read_lists(column: ir.StringValue, kind: ir.IntegerValue) -> _Lists:
    # Each branch of a case is computed for its own rows alone, so the slow reading is only paid for odd lists.
    printed, odd = printed_ids(column), kind == 3
    read = ibis.coalesce(clean_ids(printed), _NO_IDS)
    changed = ibis.coalesce(clean_ids(printed) != printed, ibis.literal(False))
    return _Lists(
        ids=ibis.cases((kind == 1, one_line_ids(column)), (kind == 2, plain_ids(column)), else_=read),
        repaired=ibis.cases((odd, changed), else_=ibis.literal(False)),
        malformed=ibis.cases((odd, ibis.cases((is_list(column), ibis.null("string")), else_=column))),
        control=ibis.cases((odd, control_of(read.join(" ")))),
    )


def _clean_lists(column: ir.ArrayValue, kind: ir.IntegerValue) -> _Lists:
    cleaned, odd = clean_ids(column), kind == 3
    return _Lists(
        ids=ibis.cases((odd, ibis.coalesce(cleaned, _NO_IDS)), else_=column),
        repaired=ibis.cases((odd, ibis.coalesce(cleaned != column, ibis.literal(False))), else_=ibis.literal(False)),
        malformed=ibis.null("string"),
        control=ibis.cases((odd, control_of(cleaned.join(" ")))),
    )


def _refuse_odd_rows(con: Backend, staged: ir.Table, path: Path) -> None:
    odd = {"malformed": staged.malformed.notnull(), "control": staged.control.notnull()}
    if "session_id" in staged.columns:
        odd["session_id"] = staged.session_id.isnull()
    rows = first_rows(con, staged, **odd)
    if (row := rows["malformed"]) is not None:
        text = value_at(con, staged, row, "malformed")
        way_out = "numpy shortened it; print the lists whole" if "..." in text else "the file may be cut short"
        raise DataError(f'{row_at(con, path, row)}: prev_items is not a list of ids: "{excerpt(text)}"; {way_out}')
    refuse_controls(con, staged, path, rows["control"])
    if (row := rows.get("session_id")) is not None:
        raise DataError(
            f"{row_at(con, path, row)}: session_id is no whole number; leave the column out to count rows from 0"
        )


def _refuse_cut_locale(con: Backend, staged: ir.Table, path: Path) -> None:
    """Refuse a CSV that ends inside its last row's locale: ``U`` without a line break, after rows of ``UK``."""
    if path.suffix.lower() != ".csv" or ends_whole(path):
        return
    counted = con.to_pyarrow(staged.group_by("locale").aggregate(num_rows=staged.count())).to_pylist()
    counts = {row["locale"] or "": row["num_rows"] for row in counted}
    last = con.to_pyarrow(staged.order_by(ibis.desc("row")).limit(1).select("row", "locale")).to_pylist()
    for found in last:
        locale = found["locale"] or ""
        if counts[locale] == 1 and any(other.startswith(locale) for other in counts if other != locale):
            raise DataError(f"{path.name}, row {found['row'] + 1}: locale '{locale}'; the file may be cut short")
