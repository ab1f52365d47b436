"""Targets of test sessions: beside the sessions or in a file of their own, with titles where products are known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import ibis
import ibis.expr.types as ir
from ibis.backends.duckdb import Backend

from llmrec.data.connection import carried, numbered
from llmrec.data.lists import is_usual, stripped
from llmrec.data.raw import explained, first_rows, read_raw, refuse_controls
from llmrec.data.sessions import stage_sessions
from llmrec.data.sources import TestSource
from llmrec.errors import DataError

__all__ = ["attach_targets", "stage_columns", "targets_table"]

_ITEM_NAMES = ("next_item", "gt", "item", "item_id", "id")
_TITLE_NAMES = ("next_title", "title")
_NOT_TARGETS = ("prev_items", "locale", "session_id", "row", "index", "__index_level_0__")


def attach_targets(con: Backend, test: TestSource, sessions: ir.Table) -> ir.Table:
    """Give staged test sessions the target columns of ``test.targets``, whose rows are in the same order.

    Raises:
        DataError: the two files have another number of rows, or a row of another session; names the row.
    """
    if test.targets is None:
        return sessions
    targets = _stage_targets(con, test)
    counts = [con.to_pyarrow(table.count()).as_py() for table in (sessions, targets)]
    order = "targets must stand in the order of the test file"
    name = f"{test.targets.parent.name}/{test.targets.name}"
    if counts[0] != counts[1]:
        raise DataError(f"{name}: {counts[1]:,} rows, {test.sessions.name} has {counts[0]:,}; {order}")
    both = sessions.drop([name for name in ("next_item", "next_title") if name in sessions.columns]).join(
        targets, "row", rname="{name}_targets"
    )
    shared = [column for column in ("locale", "prev_items") if column in targets.columns]
    others = {column: both[column] != both[f"{column}_targets"] for column in shared}
    for column, row in first_rows(con, both, **others).items() if shared else ():
        if row is not None:
            raise DataError(f"{name}, row {row + 1}: another {column} than in {test.sessions.name}; {order}")
    both = both.mutate(repaired=both.repaired | both.repaired_targets)
    return both.drop([column for column in both.columns if column.endswith("_targets")])


def _stage_targets(con: Backend, test: TestSource) -> ir.Table:
    """Table with ``row``, ``next_item`` and/or ``next_title``, and ``locale``, ``prev_items`` if the file has them."""
    path = test.targets
    if path is None:
        raise ValueError("a test source without targets")
    raw = read_raw(con, path, ())
    item = next((name for name in _ITEM_NAMES if name in raw.columns), None)
    title = next((name for name in _TITLE_NAMES if name in raw.columns), None)
    if item is None and title is None:
        others = [name for name in raw.columns if name not in (*_NOT_TARGETS, *carried(raw))]
        if len(others) != 1:
            raise DataError(f"{path.name}: which column is the target? name it next_item or next_title")
        item, title = (None, others[0]) if test.titles else (others[0], None)
    whole = "prev_items" in raw.columns and "locale" in raw.columns
    if whole and item in ("next_item", None) and title in ("next_title", None):
        names = [name for name in (item, title) if name is not None]
        return stage_sessions(con, path, raw=raw).select("row", "prev_items", "locale", "repaired", *names)
    ids = {"next_item": item, "locale": "locale" if "locale" in raw.columns else None}
    staged = stage_columns(con, raw, path, ids, {"next_title": title})
    return staged.join(stage_sessions(con, path, raw=raw).select("row", "prev_items"), "row") if whole else staged


def stage_columns(
    con: Backend, raw: ir.Table, path: Path, ids: Mapping[str, str | None], texts: Mapping[str, str | None]
) -> ir.Table:
    """Some columns of a file as a table of ``con``, rows in the file's order.

    Args:
        con: Where ``raw`` lives.
        raw: From `llmrec.data.raw.read_raw`.
        path: The file.
        ids: New name to column, or None for none, of ids: by the rule of `llmrec.data.lists`.
        texts: The same of other texts: as they are.

    Returns:
        ``row`` (from 0), the columns, and ``repaired``: an id had blanks around it or was none.

    Raises:
        DataError: a column holds no text, an id a control character, or the file cannot be read.
    """
    columns: dict[str, ir.Value] = {}
    repaired, control = ibis.literal(False), ibis.null("string")
    for name, column in {**ids, **texts}.items():
        if column is None:
            continue
        if raw[column].type().is_nested():
            raise DataError(f"{path.name}: column '{column}' holds {raw[column].type()}; it must hold text")
        columns[name] = text = raw[column].cast("string")
        if name in ids:
            columns[name], changed, odd = stripped(text, is_usual(text))
            repaired, control = repaired | changed, ibis.coalesce(control, odd)
    with explained(path):
        chosen = raw.select(**carried(raw), **columns, repaired=repaired, control=control)
        staged = numbered(con, "columns", chosen)
        refuse_controls(con, staged, path, first_rows(con, staged, control=staged.control.notnull())["control"])
    return staged.drop("control")


def targets_table(sessions: ir.Table, products: ir.Table | None) -> ir.Table | None:
    """Targets of test sessions: ``session_id``, ``locale``, ``next_item`` and/or ``next_title``, in session order.

    Args:
        sessions: Staged test sessions, with target columns or without.
        products: Products to take the titles of ``next_item`` from, keyed ``(locale, id)``, if there are any.

    Returns:
        The sessions that have a target; None where the table holds no target column.
    """
    names = [name for name in ("next_item", "next_title") if name in sessions.columns]
    if not names:
        return None
    known = ibis.or_(*(sessions[name].notnull() for name in names))
    targets = sessions.filter(known).select("session_id", "locale", *names)
    if products is not None and "next_title" not in names:
        titles = products.select("locale", next_item=products.id, next_title=products.title)
        targets = targets.left_join(titles, ["locale", "next_item"]).select(*targets.columns, "next_title")
    return targets.order_by("session_id")
