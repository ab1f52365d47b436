"""Forms in which a log writes its times: which one is told from a file's first time."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

__all__ = [
    "CLOCK",
    "DAY",
    "DAY_NUMBER",
    "EARLIEST",
    "LAST_YEAR",
    "NO_TIME",
    "NUMBERS",
    "SECOND",
    "TYPED",
    "Form",
    "form_of",
    "form_of_type",
    "latest",
    "utc",
]

SECOND: Final = 1_000_000  # microseconds, in which all times are kept
DAY: Final = 86_400 * SECOND
EARLIEST: Final = 631_152_000 * SECOND  # 1990; what is before is no shop's
NO_TIME: Final = ("", "nan", "NaN", "NaT", "None", "<NA>", "null", "NULL")
LAST_YEAR: Final = 4_102_444_800 * SECOND  # 2100: a number beyond is of another unit
_NUMBER: Final = r"-?\d{1,19}(?:\.\d*)?(?:[eE]\+?\d{1,2})?"
_DATE: Final = r"\d{4}-\d{2}-\d{2}"
CLOCK: Final = rf"{_DATE}[T ]\d{{2}}:\d{{2}}(?::\d{{2}}(?:\.\d+)?)?"
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


NUMBERS: Final = (
    Form("seconds since 1970", _NUMBER, SECOND),
    Form("milliseconds since 1970", _NUMBER, 1_000),
    Form("microseconds since 1970", _NUMBER, 1),
    Form("nanoseconds since 1970", _NUMBER, 0.001),
)
DAY_NUMBER: Final = Form("dates as YYYYMMDD", r"(?:19|20)\d{6}", dates=True)
_TEXTS: Final = (
    Form("dates", _DATE, dates=True),
    Form("ISO times without a zone, taken as UTC", CLOCK),
    Form("ISO times with a zone", CLOCK + _ZONE),
)
TYPED: Final = {
    "date": Form("dates", "", dates=True),
    "timestamp": Form("times without a zone, taken as UTC", ""),
    "zoned": Form("times with a zone", ""),
}


def form_of(text: str) -> Form | None:
    """The form that a text has; None where it has none, or is a number that no clock since 1990 shows."""
    for form in (DAY_NUMBER, *_TEXTS):
        if re.fullmatch(form.pattern, text):
            return form
    if not re.fullmatch(_NUMBER, text):
        return None
    return next((form for form in NUMBERS if EARLIEST <= float(text) * form.unit < LAST_YEAR), None)


def form_of_type(kind: Any) -> Form | None:
    """The form of a column that holds times and no text; None for any other."""
    if kind.is_date():
        return TYPED["date"]
    if kind.is_timestamp():
        return TYPED["timestamp" if kind.timezone is None else "zoned"]
    return None


def latest() -> int:
    """The last time that an event can have: a day from now, since a zone may be off."""
    return int(time.time() * SECOND) + DAY


def utc(microseconds: int) -> str:
    """A time as people and manifests read it: ``2026-11-20T10:00:00Z``."""
    return datetime.fromtimestamp(microseconds // SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
