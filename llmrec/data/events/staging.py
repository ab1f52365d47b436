"""Rows of logs as one table on disk: ids by the rule, times in microseconds, and why a row cannot count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import ibis
import ibis.expr.types as ir
from ibis.backends.duckdb import Backend
from ibis.util import gen_name

from llmrec.console import notice
from llmrec.data.connection import PLACE, carried
from llmrec.data.events.columns import EVENT_NAMES, NO_COLUMN, chosen_columns, is_misspelt, known_columns, told_columns
from llmrec.data.events.forms import EARLIEST, NO_TIME, Form, form_of, form_of_type, latest
from llmrec.data.events.job import EventsJob
from llmrec.data.events.tables import ShopTable, as_text, open_table, reading
from llmrec.data.events.times import microseconds
from llmrec.data.findings import Finding
from llmrec.data.lists import excerpt, is_usual, stripped
from llmrec.data.raw import first_rows, refuse_controls, row_at, value_at
from llmrec.errors import DataError, nearest
from llmrec.schema import ONE_LOCALE

__all__ = ["Log", "Weighing", "stage_log"]

_IDS: Final = ("user", "item", "session", "locale", "type")
_WRONG: Final = {  # why a row cannot count, the first that holds
    1: "event without an item",
    2: "event of no user and no session",
    3: "event without a time",
    4: "event before 1990 or after today",
    5: "event without a locale",
    6: "event of a type that weighs nothing",
}
_LOOKED_AT: Final = 1_000  # times that a form is told from


@dataclass(frozen=True)
class Weighing:
    """What an event's type decides.

    Attributes:
        weights: By type; None where all types weigh alike.
        targets: Types whose last event is a session's target; empty where the last event is.
    """

    weights: Mapping[str, float] | None
    targets: Sequence[str]

    @property
    def grows(self) -> bool:
        """Whether one type is heavier than another, so that view and purchase of an item are one step."""
        return len({weight for weight in (self.weights or {}).values() if weight}) > 1


@dataclass(frozen=True)
class Log:
    """A log on disk.

    Attributes:
        events: ``row``, ``user`` (or the session where there is none), ``session``, ``locale``, ``item``, ``time``,
            ``weight`` (a rank), ``goal`` (may be a target), ``type``, ``wrong`` (0 where the row counts).
        locale: The one locale of all sessions, where it was named.
        placed: Whether the locale is known at all.
        by_session: Whether sessions have a column.
        dates: Whether a file's times are days.
        findings: What is wrong or odd.
        columns: For each file the column of each role, and ``form``, that of its times.
    """

    events: ir.Table
    locale: str | None
    placed: bool
    by_session: bool
    dates: bool
    findings: Sequence[Finding]
    columns: Mapping[str, Mapping[str, str]]


def stage_log(con: Backend, job: EventsJob, weighing: Weighing) -> Log:
    """Read all files into a table of ``con``, one after the other.

    Args:
        con: Keeps its tables on disk.
        job: Files and columns.
        weighing: What types are worth.

    Raises:
        DataError: a file cannot be read, a column is missing, or times are of several forms; names file and row.
    """
    name, start = gen_name("events"), 0
    parts: list[_Part] = []
    for path in job.logs:
        part = _part_of(con, job, open_table(con, path, lines=True))
        one = f", locale is '{part.locale}' for all" if part.locale else ""
        notice(f"{path.name}: {told_columns(part.chosen)}{one}{part.note}")
        expression = _rows(con, part, weighing)
        if own := carried(expression):
            expression = expression.mutate(**{PLACE: own[PLACE] + start})
        with reading(path):
            if parts:
                con.insert(name, expression)
            else:
                con.create_table(name, expression)
        table = _with_rows(con.table(name))
        mine = table.filter(table.row >= start)
        _refuse_odd(con, mine.mutate(row=mine.row - start), part)
        parts.append(part)
        start = con.to_pyarrow(table.count()).as_py()
    table = _with_rows(con.table(name))
    events = table.drop("odd", "control", "repaired")
    return Log(
        events=events,
        locale=next((part.locale for part in parts if part.locale), None),
        placed=any(part.locale or "locale" in part.chosen for part in parts),
        by_session=any("session" in part.chosen for part in parts),
        dates=any(part.form.dates for part in parts),
        findings=_findings(con, table, [part.path for part in parts], weighing),
        columns={part.path.name: {**part.chosen, "form": part.form.name} for part in parts},
    )


def _with_rows(table: ir.Table) -> ir.Table:
    return table.rename(row=PLACE) if carried(table) else table.mutate(row=table.rowid())


@dataclass(frozen=True)
class _Part:
    """A file of the log: its columns by role, the one locale where no column says it, and the form of its times."""

    path: Path
    rows: ir.Table
    chosen: Mapping[str, str]
    locale: str | None
    form: Form
    note: str


def _part_of(con: Backend, job: EventsJob, table: ShopTable) -> _Part:
    given = {role: getattr(job, role) for role in EVENT_NAMES}
    place, locale = given["locale"], None
    if place is not None and place not in table.columns:
        if is_misspelt(place, table.columns):
            raise DataError(f"{table.path.name}: no column '{place}'{nearest(place, table.columns)}")
        given["locale"], locale = NO_COLUMN, None if place == NO_COLUMN else place
    chosen = chosen_columns(table.columns, given, EVENT_NAMES, table.path.name)
    for role in ("item", "time"):
        if role not in chosen:
            _refuse_missing(table, f"no column of {role}s", f"--{role} NAME")
    if not {"user", "session"} & chosen.keys():
        _refuse_missing(table, "no column of users or sessions", "--user NAME or --session NAME")
    if "type" not in chosen and (job.weights or job.target):
        _refuse_missing(table, "no column of event types for --weights and --target", "--type NAME")
    if con.name != "duckdb":
        from llmrec.data.spark.reading import refuse_drift

        refuse_drift(con, table.path, list(chosen.values()))
    form = _form(con, table, chosen["time"])
    note = "; ".join(["", f"{chosen['time']}: {form.name}", *([table.note] if table.note else [])])
    return _Part(table.path, table.rows, chosen, locale if "locale" not in chosen else None, form, note)


def _refuse_missing(table: ShopTable, what: str, flag: str) -> None:
    raise DataError(f"{table.path.name}: {what} among {known_columns(table.columns)}; name it: {flag}")


def _form(con: Backend, table: ShopTable, name: str) -> Form:
    column = table.rows[name]
    if (form := form_of_type(column.type())) is not None:
        return form
    if column.type().is_nested():
        raise DataError(f"{table.path.name}: column '{name}' holds {column.type()}; it must hold times")
    texts = table.rows.select(text=column.cast("string").strip())
    with reading(table.path):
        some = texts.filter(texts.text.notnull() & texts.text.notin(NO_TIME)).limit(_LOOKED_AT)
        values = con.to_pyarrow(some).column(0).to_pylist()
    form = next((made for made in map(form_of, values) if made is not None), None)
    if form is None:
        shown = f'; the first is "{excerpt(values[0])}"' if values else ""
        raise DataError(
            f"{table.path.name}: no time since 1990 in column '{name}'{shown}; write ISO times (2026-11-20T10:00:00Z), "
            "seconds or milliseconds since 1970, or name another column: --time NAME"
        )
    return form


def _rows(con: Backend, part: _Part, weighing: Weighing) -> ir.Table:
    """Columns of the table of events of a file, with ``odd`` (a time of another form) and ``control``."""
    path, raw = part.path, part.rows
    for role, column in part.chosen.items():
        if raw[column].type().is_nested() or (raw[column].type().is_boolean() and role in _IDS):
            raise DataError(f"{path.name}: column '{column}' holds {raw[column].type()}, which is no {role}")
    ids = [role for role in _IDS if role in part.chosen]
    texts = {role: as_text(raw[part.chosen[role]]) for role in ids}
    when = raw[part.chosen["time"]]
    if part.form.pattern:
        text = when.cast("string").strip()
        when = ibis.cases((text.isin(NO_TIME), ibis.null("string")), else_=text)
    # ibis writes a column's expression wherever it is used; only behind a view is a pattern tried once a row.
    viewed = raw.select(**carried(raw), **texts, **{f"{role}_usual": is_usual(texts[role]) for role in ids}, when=when)
    view = con.create_view(gen_name("raw"), viewed)
    made: dict[str, ir.Value] = {}
    repaired, control = ibis.literal(False), ibis.null("string")
    for role in ids:
        made[role], changed, odd = stripped(view[role], view[f"{role}_usual"])
        repaired, control = repaired | (changed & made[role].notnull()), ibis.coalesce(control, odd)
    made["time"], strange = microseconds(view.when, part.form)
    made["odd"] = ibis.cases((strange, view.when.cast("string")))
    cleaned = con.create_view(gen_name("raw"), view.select(**carried(view), **made, repaired=repaired, control=control))
    return _judged(cleaned, part, weighing)


def _judged(table: ir.Table, part: _Part, weighing: Weighing) -> ir.Table:
    none = ibis.null("string")
    user, session, kind = (table[role] if role in part.chosen else none for role in ("user", "session", "type"))
    place = table.locale if "locale" in part.chosen else ibis.literal(part.locale or ONE_LOCALE)
    weights = weighing.weights
    ranks = {kind: place for place, kind in enumerate(sorted(set((weights or {}).values())))}
    weight: Any = ibis.literal(1)
    if weights is not None:
        known = [(kind == name, ranks[one] + 1 if one else 0) for name, one in weights.items()]
        weight = ibis.cases(*known, else_=0)
    wrong = ibis.cases(
        (table.item.isnull(), 1),
        (user.isnull() & session.isnull(), 2),
        (table.time.isnull() & table.odd.isnull(), 3),
        ((table.time < EARLIEST) | (table.time > latest()), 4),
        (place.isnull(), 5),
        (weight == 0, 6),
        else_=0,
    )
    return table.select(
        **carried(table),
        user=ibis.coalesce(user, session),
        session=session,
        locale=place,
        item=table.item,
        time=table.time,
        type=kind,
        weight=weight.cast("int8"),
        goal=ibis.coalesce(kind.isin(list(weighing.targets)), False) if weighing.targets else ibis.literal(True),
        wrong=wrong.cast("int8"),
        repaired=table.repaired,
        odd=table.odd,
        control=table.control,
    )


def _refuse_odd(con: Backend, rows: ir.Table, part: _Part) -> None:
    found = first_rows(con, rows, odd=rows.odd.notnull(), control=rows.control.notnull())
    refuse_controls(con, rows, part.path, found["control"])
    if (row := found["odd"]) is not None:
        raise DataError(
            f'{row_at(con, part.path, row)}: time "{excerpt(value_at(con, rows, row, "odd"))}", where the file has '
            f"{part.form.name}; write all times of a file in one form"
        )


def _findings(con: Backend, table: ir.Table, paths: Sequence[Path], weighing: Weighing) -> list[Finding]:
    name = paths[0].name if len(paths) == 1 else f"{len(paths)} logs"
    found = [Finding("repaired", name, "blanks around ids", count) for count in [_sum(con, table.repaired)] if count]
    counted = table.group_by("wrong", "type").aggregate(rows=table.count()).order_by("wrong", ibis.desc("rows"))
    by_reason: dict[int, int] = {}
    kinds: dict[str, int] = {}
    for row in con.to_pyarrow(counted).to_pylist():
        by_reason[row["wrong"]] = by_reason.get(row["wrong"], 0) + row["rows"]
        if row["wrong"] in (0, 6) and row["type"] is not None:
            kinds[row["type"]] = kinds.get(row["type"], 0) + row["rows"]
    told = excerpt(", ".join(f"{kind} {num:,}" for kind, num in list(kinds.items())[:20]), 300)
    if not by_reason.get(0):
        reasons = ", ".join(f"{_WRONG[reason]} {num:,}" for reason, num in by_reason.items())
        raise DataError(f"{name}: no event that counts ({reasons or 'no row'}); {_way_out(by_reason, told)}")
    for kind in (*(weighing.weights or {}), *weighing.targets):
        if kind not in kinds:
            hint = f"{name}: no event of type '{kind}'{nearest(kind, list(kinds)[:50])}"
            if kind in weighing.targets:
                raise DataError(hint)
            notice(hint)
    if kinds and weighing.weights is None:
        notice(f"{name}: events by type: {told}; all count alike, or say --weights")
    return found + [Finding("refused", name, _WRONG[one], num) for one, num in by_reason.items() if one]


def _way_out(by_reason: Mapping[int, int], kinds: str) -> str:
    if 6 in by_reason:
        return f"give --weights for types that are there: {kinds}"
    return "name the right columns, or give another file"


def _sum(con: Backend, flags: Any) -> int:
    return int(con.to_pyarrow(flags.sum()).as_py() or 0)
