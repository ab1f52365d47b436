"""Times of a log: the form is told from a file's first one, and all others of the file must have it."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir

from llmrec.data.lists import regexp_full_match

__all__ = ["EARLIEST", "NO_TIME", "SECOND", "Form", "form_of", "form_of_type", "latest", "microseconds", "utc"]

SECOND: Final = 1_000_000  # microseconds, in which all times are kept
DAY: Final = 86_400 * SECOND
EARLIEST: Final = 631_152_000 * SECOND  # 1990; what is before is no shop's
NO_TIME: Final = ("", "nan", "NaN", "NaT", "None", "<NA>", "null", "NULL")
_LAST_YEAR: Final = 4_102_444_800 * SECOND  # 2100: a number beyond is of another unit
_NUMBER: Final = r"-?\d{1,19}(?:\.\d*)?(?:[eE]\+?\d{1,2})?"
_DATE: Final = r"\d{4}-\d{2}-\d{2}"
_CLOCK: Final = rf"{_DATE}[T ]\d{{2}}:\d{{2}}(?::\d{{2}}(?:\.\d+)?)?"
_ZONE: Final = r"(?:Z| ?UTC|[+-]\d{2}(?::?\d{2})?)"


class Form(NamedTuple):
    """A way to write a time.

    Attributes:
        name: What people call it.
        pattern: What a text of it looks like, an RE2 pattern.
        unit: Microseconds that a number counts; 0 where it is no number.
        dates: Whether it says the day alone.
    """

    name: str
    pattern: str
    unit: float = 0
    dates: bool = False


_NUMBERS: Final = (
    Form("seconds since 1970", _NUMBER, SECOND),
    Form("milliseconds since 1970", _NUMBER, 1_000),
    Form("microseconds since 1970", _NUMBER, 1),
    Form("nanoseconds since 1970", _NUMBER, 0.001),
)
_DAY_NUMBER: Final = Form("dates as YYYYMMDD", r"(?:19|20)\d{6}", dates=True)
_TEXTS: Final = (
    Form("dates", _DATE, dates=True),
    Form("ISO times without a zone, taken as UTC", _CLOCK),
    Form("ISO times with a zone", _CLOCK + _ZONE),
)
_TYPED: Final = {
    "date": Form("dates", "", dates=True),
    "timestamp": Form("times without a zone, taken as UTC", ""),
    "zoned": Form("times with a zone", ""),
}


@ibis.udf.scalar.builtin(name="epoch_us")  # type: ignore[untyped-decorator]
def of_moment(value: dt.Timestamp("UTC")) -> int:  # type: ignore[empty-body, valid-type]
    """DuckDB's own: microseconds since 1970."""


@ibis.udf.scalar.builtin(name="epoch_us")  # type: ignore[untyped-decorator]
def of_clock(value: dt.timestamp) -> int:  # type: ignore[empty-body]
    """The same of a time without a zone, taken as UTC; a cast to one with would take the machine's zone."""


@ibis.udf.scalar.builtin  # type: ignore[untyped-decorator]
def try_strptime(text: str, form: str) -> dt.timestamp:
    """DuckDB's own: a time out of a text, null where it is none."""


def form_of(text: str) -> Form | None:
    """The form that a text has; None where it has none, or is a number that no clock since 1990 shows."""
    for form in (_DAY_NUMBER, *_TEXTS):
        if re.fullmatch(form.pattern, text):
            return form
    if not re.fullmatch(_NUMBER, text):
        return None
    return next((form for form in _NUMBERS if EARLIEST <= float(text) * form.unit < _LAST_YEAR), None)


def form_of_type(kind: Any) -> Form | None:
    """The form of a column that holds times and no text; None for any other."""
    if kind.is_date():
        return _TYPED["date"]
    if kind.is_timestamp():
        return _TYPED["timestamp" if kind.timezone is None else "zoned"]
    return None


def microseconds(column: ir.Value, form: Form) -> tuple[ir.IntegerValue, ir.BooleanValue]:
    """Times in microseconds since 1970 (UTC), and whether one is of another form.

    Args:
        column: Text, or times where ``form`` is that of their type; null where there is none.
        form: What all of them should be.

    Returns:
        Null and True where a text is of another form; a number is that where it shows a time of another unit.
    """
    if not form.pattern:
        zoned = form is _TYPED["zoned"]
        made = of_moment(column) if zoned else of_clock(column.cast("timestamp"))
        return made, ibis.literal(False)
    fits = regexp_full_match(column, form.pattern)
    if form.unit:
        number = column.try_cast("float64")
        other = ibis.or_(*(_shows(number, one) for one in _NUMBERS if one is not form))
        odd = ~fits | (other & ~_shows(number, form))
        made = (number * form.unit).try_cast("int64")
    else:
        if form is _DAY_NUMBER:
            made = of_clock(try_strptime(column, "%Y%m%d"))
        elif form.dates or form.pattern == _CLOCK:
            made = of_clock(column.try_cast("timestamp"))
        else:  # a cast to a time without a zone would drop the zone
            made = of_moment(column.try_cast("timestamp('UTC')"))
        odd = ~fits | made.isnull()
    odd = ibis.coalesce(odd, ibis.literal(False))
    return ibis.cases((odd, ibis.null("int64")), else_=made), odd


def _shows(number: ir.FloatingValue, form: Form) -> ir.BooleanValue:
    return (number * form.unit >= EARLIEST) & (number * form.unit < _LAST_YEAR)


def latest() -> int:
    """The last time that an event can have: a day from now, since a zone may be off."""
    return int(time.time() * SECOND) + DAY


def utc(microseconds: int) -> str:
    """A time as people and manifests read it: ``2026-11-20T10:00:00Z``."""
    return datetime.fromtimestamp(microseconds // SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
