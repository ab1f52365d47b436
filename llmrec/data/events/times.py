"""Times of a log in microseconds: all of a file must have the form of its first one."""

from __future__ import annotations

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir

from llmrec.data.events.forms import CLOCK, DAY_NUMBER, EARLIEST, LAST_YEAR, NUMBERS, TYPED, Form
from llmrec.data.lists import regexp_full_match

__all__ = ["microseconds"]


@ibis.udf.scalar.builtin(name="epoch_us")  # type: ignore[untyped-decorator]
def of_moment(value: dt.Timestamp("UTC")) -> int:  # type: ignore[empty-body, valid-type]
    """DuckDB's own: microseconds since 1970."""


@ibis.udf.scalar.builtin(name="epoch_us")  # type: ignore[untyped-decorator]
def of_clock(value: dt.timestamp) -> int:  # type: ignore[empty-body]
    """The same of a time without a zone, taken as UTC; a cast to one with would take the machine's zone."""


@ibis.udf.scalar.builtin  # type: ignore[untyped-decorator]
def try_strptime(text: str, form: str) -> dt.timestamp:
    """DuckDB's own: a time out of a text, null where it is none."""


@ibis.udf.scalar.builtin  # type: ignore[untyped-decorator]
def round_even(number: float, digits: int) -> float:  # type: ignore[empty-body]
    """DuckDB's own, as its casts round; those of Spark cut."""


def microseconds(column: ir.Value, form: Form) -> tuple[ir.IntegerValue, ir.BooleanValue]:
    """Times in microseconds since 1970 (UTC), and whether one is of another form.

    Args:
        column: Text, or times where ``form`` is that of their type; null where there is none.
        form: What all of them should be.

    Returns:
        Null and True where a text is of another form; a number is that where it shows a time of another unit.
    """
    if not form.pattern:
        zoned = form is TYPED["zoned"]
        made = of_moment(column) if zoned else of_clock(column.cast("timestamp"))
        return made, ibis.literal(False)
    fits = regexp_full_match(column, form.pattern)
    if form.unit:
        number = column.try_cast("float64")
        other = ibis.or_(*(_shows(number, one) for one in NUMBERS if one is not form))
        odd = ~fits | (other & ~_shows(number, form))
        made = round_even(number * form.unit, 0).try_cast("int64")
    else:
        if form is DAY_NUMBER:
            made = of_clock(try_strptime(column, "%Y%m%d"))
        elif form.dates or form.pattern == CLOCK:
            made = of_clock(column.try_cast("timestamp"))
        else:  # a cast to a time without a zone would drop the zone
            made = of_moment(column.try_cast("timestamp('UTC')"))
        odd = ~fits | made.isnull()
    odd = ibis.coalesce(odd, ibis.literal(False))
    return ibis.cases((odd, ibis.null("int64")), else_=made), odd


def _shows(number: ir.FloatingValue, form: Form) -> ir.BooleanValue:
    return (number * form.unit >= EARLIEST) & (number * form.unit < LAST_YEAR)
