r"""Ids and lists of ids: one rule for what an id is, and printed lists read as data, never evaluated.

An id, of an item or a locale, has no blanks around it: what Unicode calls white space, a byte-order mark and other
characters that nobody sees go wherever ids are read. What is left empty, and what numpy and pandas print for a missing
value (`MISSING`), is no id: it goes from a list, and is null elsewhere. A control character inside an id is refused.

``prev_items`` of the official CSVs is a printed numpy array, ``['B0A' 'B0B']``, broken over several lines where it is
long. A printed Python list, ``['B0A', 'B0B']``, is read too. Both print an id with an apostrophe in double quotes.

Refused: a list without its closing bracket or with an open quote (the file was cut), one that numpy shortened with
``...`` (it does so above 1,000 items), an id with a backslash, anything that is not quoted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = [
    "BLANKS",
    "MISSING",
    "Stripped",
    "are_clean",
    "are_usual",
    "clean_ids",
    "control_of",
    "excerpt",
    "is_list",
    "is_one_line",
    "is_plain",
    "is_text",
    "is_usual",
    "one_line_ids",
    "plain_ids",
    "printed_ids",
    "stripped",
    "stripped_array",
]

MISSING: Final = ("nan", "NaN", "None", "<NA>")
BLANKS: Final = (
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"  # what Unicode calls white space; then zero-width, directions, byte-order mark
    "\u180e\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
)

_ID: Final = r"""(?:'[^'\\\r\n]*'|"[^"\\\r\n]*")"""
# The quick patterns take ASCII ids without blanks that `MISSING` cannot hold: it begins with n, N or <, and is short.
_BARE: Final = r"(?:[!-;=-MO-mo-~][!-~]*|[Nn<][!-~]{4,})"
_IS_BARE: Final = re.compile(_BARE).fullmatch
_QUOTED: Final = r"'(?:[!#-&(-;=-MO-\[\]-mo-~][!#-&(-\[\]-~]*|[Nn<][!#-&(-\[\]-~]{4,})'"
_PLAIN: Final = rf"\[{_QUOTED}(?:,?\s+{_QUOTED})*\]"
_ONE_LINE: Final = rf"\[{_QUOTED}(?: {_QUOTED})*\]"
_CONTROL: Final = r"\p{Cc}"
_NONE: Final = "|".join(("", *MISSING))  # as a pattern: DuckDB would make a join of IN, over all rows
_LIST: Final = rf"\s*\[\s*(?:{_ID}(?:(?:\s*,\s*|\s+){_ID})*)?\s*\]\s*"


@ibis.udf.scalar.builtin  # type: ignore[untyped-decorator]
def regexp_full_match(text: str, pattern: str) -> bool:  # type: ignore[empty-body]
    """DuckDB's own: does the whole text match an RE2 pattern, in linear time."""


@ibis.udf.scalar.builtin  # type: ignore[untyped-decorator]
def regexp_extract_all(text: str, pattern: str) -> list[str]:  # type: ignore[empty-body]
    """DuckDB's own: every match of an RE2 pattern, in order."""


@ibis.udf.scalar.builtin  # type: ignore[untyped-decorator]
def list_slice(values: list[str], begin: int, end: int, step: int) -> list[str]:  # type: ignore[empty-body]
    """DuckDB's own: every ``step``-th value between two places, both counted in and from 1, or from -1 at the end."""


@ibis.udf.scalar.builtin  # type: ignore[untyped-decorator]
def array_slice(text: str, begin: int, end: int) -> str:  # type: ignore[empty-body]
    """DuckDB's own: the characters between two places, both counted in and from 1, or from -1 at the end."""


@ibis.udf.scalar.builtin  # type: ignore[untyped-decorator]
def list_count(values: list[str]) -> int:  # type: ignore[empty-body]
    """DuckDB's own: number of values that are not null."""


@ibis.udf.scalar.builtin  # type: ignore[untyped-decorator]
def trim(text: str, characters: str) -> str:  # type: ignore[empty-body]
    """DuckDB's own: a text without some characters at its ends."""


@ibis.udf.scalar.builtin  # type: ignore[untyped-decorator]
def regexp_matches(text: str, pattern: str) -> bool:  # type: ignore[empty-body]
    """DuckDB's own: does a text hold a match of an RE2 pattern, in linear time."""


def are_clean(ids: ir.ArrayValue) -> ir.BooleanValue:
    """Whether a list holds ASCII ids alone that `clean_ids` leaves as they are, as most do; null for null.

    An id with a blank inside may pass, for it is left as it is; an empty list does not.
    """
    return regexp_full_match(ids.join(" "), rf"{_BARE}(?: {_BARE})*") & (list_count(ids) == ids.length())


def is_one_line(text: ir.StringValue) -> ir.BooleanValue:
    """Whether a text is a plain list of ASCII ids with one blank between them, as most are. `one_line_ids` reads it."""
    return regexp_full_match(text, _ONE_LINE)


def one_line_ids(text: ir.StringValue) -> ir.ArrayValue:
    """Ids of an `is_one_line` list: what `plain_ids` gives, in half the time."""
    return array_slice(text, 3, -3).split("' '")


def is_plain(text: ir.StringValue) -> ir.BooleanValue:
    """Whether a text is a list as nearly all are: ids without blanks, in single quotes. `plain_ids` reads it."""
    return regexp_full_match(text, _PLAIN)


def plain_ids(text: ir.StringValue) -> ir.ArrayValue:
    """Ids of an `is_plain` list: what `clean_ids` of `printed_ids` gives, in a tenth of the time."""
    return list_slice(text.split("'"), 2, -2, 2)


def is_list(text: ir.StringValue) -> ir.BooleanValue:
    """Whether a text is a whole printed list of ids; null for null."""
    return regexp_full_match(text, _LIST)


def printed_ids(text: ir.StringValue) -> ir.ArrayValue:
    """Ids of a printed list as they stand between their quotes; only meaningful where `is_list` holds."""
    return regexp_extract_all(text, _ID).map(lambda quoted: quoted.substr(1, quoted.length() - 2))


def clean_ids(ids: ir.ArrayValue) -> ir.ArrayValue:
    """Ids without surrounding blanks; empty, null and `MISSING` ones are left out."""
    return ids.map(lambda one: trim(one, BLANKS)).filter(lambda one: ~regexp_full_match(one, _NONE))


class Stripped(NamedTuple):
    """A column of ids by the rule.

    Attributes:
        bare: Ids without surrounding blanks, null where there is none.
        changed: Whether that is another than before; False for null.
        control: The id where a control character is inside it, else null.
    """

    bare: ir.StringValue
    changed: ir.BooleanValue
    control: ir.StringValue


def is_usual(text: ir.StringValue) -> ir.BooleanValue:
    """Whether an id is of ASCII without blanks and not `MISSING`, as nearly all are; null for null."""
    return regexp_full_match(text, _BARE)


def are_usual(ids: Iterable[str]) -> bool:
    """Whether some ids are, each of them, what `is_usual` says; for a few in Python's memory."""
    return all(map(_IS_BARE, ids))


def stripped(text: ir.StringValue, usual: ir.BooleanValue) -> Stripped:
    """Ids by the rule; ``usual`` is `is_usual` of them, which takes a fraction of the time that stripping takes."""
    bare = trim(text, BLANKS)
    cleaned = ibis.cases((regexp_full_match(bare, _NONE), ibis.null("string")), else_=bare)
    changed = ibis.coalesce(cleaned != text, text.notnull())
    return Stripped(
        ibis.cases((usual, text), else_=cleaned),
        ibis.cases((usual, ibis.literal(False)), else_=changed),
        ibis.cases((usual, ibis.null("string")), else_=control_of(cleaned)),
    )


def control_of(text: ir.StringValue) -> ir.StringValue:
    """A text where it holds a control character, else null."""
    return ibis.cases((regexp_matches(text, _CONTROL), text))


def is_text(kind: Any) -> bool:
    """Whether an Arrow type is text, however it is held, or nothing at all."""
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    is_ = pa.types
    return bool(is_.is_string(inner) or is_.is_large_string(inner) or is_.is_string_view(inner) or is_.is_null(inner))


def stripped_array(texts: Any) -> tuple[Any, int]:
    """`stripped` of an Arrow column of strings, and how many of them that changed."""
    chunks = texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]
    if all(map(_is_usual, chunks)):
        return texts, 0
    bare = pc.utf8_trim(texts, characters=BLANKS)
    bare = pc.if_else(pc.is_in(bare, pa.array(["", *MISSING], bare.type)), pa.scalar(None, bare.type), bare)
    return bare, len(texts) - (pc.sum(pc.fill_null(pc.equal(bare, texts), texts.is_null())).as_py() or 0)


def _is_usual(texts: Any) -> bool:
    """Whether an Arrow array holds visible ASCII alone, no null, nothing empty or `MISSING`: one look at its bytes."""
    texts = texts.cast(pa.large_string())
    if texts.null_count or not len(texts):
        return not len(texts)
    _, offsets, content = texts.buffers()
    places = np.frombuffer(offsets, dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]
    seen = np.frombuffer(content or b"", dtype=np.uint8)[places[0] : places[-1]]
    if not len(seen) or seen.min() < ord("!") or seen.max() > ord("~"):
        return False
    shortest = pc.min(pc.binary_length(texts)).as_py()
    return shortest > 4 or (shortest > 0 and not pc.any(pc.is_in(texts, pa.array(MISSING, texts.type))).as_py())


def excerpt(text: str, limit: int = 60) -> str:
    """Show a value on one line, its middle left out where it is longer than ``limit`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 25]} … {line[-20:]}"
