"""DuckDB's own functions in Spark's words, so that one ibis expression that uses them runs on both engines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import ibis.expr.datatypes as dt
import sqlglot as sg
import sqlglot.expressions as sge
from ibis.backends.sql.compilers.pyspark import PySparkCompiler

__all__ = ["SparkWords"]


def _whole(_: Any, text: Any, pattern: Any) -> Any:
    # `$` of Java would let a line break at the end pass
    return sge.RegexpLike(this=text, expression=sge.convert(rf"\A(?:{pattern.this})\z"))


def _every(f: Any, values: Any, begin: Any, end: Any, step: Any) -> Any:
    place = sg.to_identifier("place")
    places = f.sequence(begin - 1, f.size(values) + end, step)
    return f.transform(places, sge.Lambda(this=f.get(values, place), expressions=[place]))


def _present(f: Any, values: Any) -> Any:
    return f.size(f.array_compact(values))


def _time(f: Any, text: Any, form: Any) -> Any:
    return f.anon.try_to_timestamp(text, sge.convert({"%Y%m%d": "yyyyMMdd"}[form.this]))


def _word(f: Any, text: Any, place: Any) -> Any:
    digits = f.anon.conv(f.anon.substr(f.md5(text), place, 8), 16, 10)
    return sge.Cast(this=digits, to=sge.DataType.build("bigint"))


_WORDS: Final[dict[str, Callable[..., Any]]] = {  # what DuckDB's own do is said where `ibis.udf` declares them
    "regexp_full_match": _whole,
    "regexp_matches": lambda _, text, pattern: sge.RegexpLike(this=text, expression=pattern),
    "regexp_extract_all": lambda f, text, pattern: f.anon.regexp_extract_all(text, pattern, 0),
    "list_slice": _every,
    "array_slice": lambda f, text, begin, end: f.anon.substr(text, begin, f.length(text) + end - begin + 2),
    "list_count": _present,
    "trim": lambda f, text, characters: f.anon.btrim(text, characters),
    "epoch_us": lambda f, moment: f.anon.unix_micros(sge.Cast(this=moment, to=sge.DataType.build("timestamptz"))),
    "md5_word": _word,
    "round_even": lambda f, number, _: f.anon.rint(number),
    "try_strptime": _time,
}


_DIGITS: Final = dt.Decimal(38, 20)


class SparkWords(PySparkCompiler):  # type: ignore[misc]  # ibis has no types
    """ibis' compiler for Spark, which also knows what to say for some functions of DuckDB."""

    __slots__ = ()

    def visit_ScalarUDF(self, op: Any, **given: Any) -> Any:  # noqa: N802  # ibis' own name
        """A call of a function that an engine has itself."""
        words = _WORDS.get(op.__func_name__)
        return words(self.f, *given.values()) if words else super().visit_ScalarUDF(op, **given)

    def visit_ArrayStringJoin(self, _: Any, *, arg: Any, sep: Any) -> Any:  # noqa: N802
        """Texts of a list in one; that of no texts is empty, where ibis' own would be null."""
        return self.f.anon.array_join(arg, sep)

    def visit_TimestampFromUNIX(self, op: Any, *, arg: Any, unit: Any) -> Any:  # noqa: N802
        """A time without a zone; ibis knows to say that of seconds alone."""
        if unit.short != "ms":
            return super().visit_TimestampFromUNIX(op, arg=arg, unit=unit)
        return sge.Cast(this=self.f.anon.timestamp_millis(arg), to=sge.DataType.build("timestampntz"))

    def visit_IsInf(self, _: Any, *, arg: Any) -> Any:  # noqa: N802
        """Whether a number is none of the finite ones, for which ibis has ``FALSE``."""
        return sge.EQ(this=self.f.abs(arg), expression=self.f.anon.double("Infinity"))

    def visit_IsNan(self, _: Any, *, arg: Any) -> Any:  # noqa: N802
        """Null of null, as elsewhere."""
        return self.if_(arg.is_(sge.Null()), sge.Null(), self.f.isnan(arg))

    def visit_Cast(self, op: Any, *, arg: Any, to: Any) -> Any:  # noqa: N802
        """A cast; a number's text is that of DuckDB, where Java writes ``1.2E7``."""
        made = super().visit_Cast(op, arg=arg, to=to)
        if not (to.is_string() and op.arg.dtype.is_floating()):
            return made
        size, digits = self.f.abs(arg), self.cast(self.cast(arg, _DIGITS), to)
        plain = sg.or_(size.between(1e-4, 1e-3), size.between(1e7, 1e16))
        return self.if_(plain, self.f.anon.regexp_replace(digits, r"(\.\d+?)0+$", "$1"), made)

    def visit_TryCast(self, op: Any, *, arg: Any, to: Any) -> Any:  # noqa: N802
        """A cast that gives null where it fails; Spark's to a time knows no ``10:00 UTC``, which DuckDB's does."""
        if to.is_timestamp() and op.arg.dtype.is_string():
            arg = self.f.anon.regexp_replace(arg, " UTC$", "Z")
            arg = self.f.anon.regexp_replace(arg, r"([T ]\d\d:\d\d)([Z+-])", "$1:00$2")
        return super().visit_TryCast(op, arg=arg, to=to)
