"""The form of a CSV (RFC 4180), held to before DuckDB reads it, which lets blanks beside quotes, NULs and more pass."""

from __future__ import annotations

import codecs
import csv
import functools
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Bools, Ints
from llmrec.errors import DataError

__all__ = ["header_of", "names_in", "opened", "refuse_loose_rows"]

_HEADER_BYTES: Final = 1 << 16
_CHUNK: Final = 1 << 16  # what numpy makes of it stays in a processor's cache
_MARK: Final = b"\xef\xbb\xbf"
_QUOTE, _NEWLINE, _RETURN = b'"\n\r'
_CUT: Final = "the file may be cut short"

Bytes = NDArray[np.uint8]


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A file's bytes, unpacked where its name ends in ``.gz``.

    Raises:
        DataError: it is no whole gzip file.
    """
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb", buffering=0) as handle:
            made: Any = handle
            yield made
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path.name}: not a whole gzip file ({error}); copy or pack it again") from error


def header_of(path: Path, delimiter: str = ",") -> list[str]:
    """Names in a CSV's first row, without blanks around them.

    Raises:
        DataError: it is empty, no CSV row, or not UTF-8.
    """
    with opened(path) as handle:
        start = handle.read(_HEADER_BYTES).decode("utf-8-sig", errors="surrogateescape")
    return [name.strip() for name in names_in(start, path, delimiter)]


def names_in(start: str, path: Path, delimiter: str = ",") -> list[str]:
    """Names in the first row of a CSV's text, as they are; errors as `header_of`."""
    try:
        rows = csv.reader(io.StringIO(start, newline=""), delimiter=delimiter, strict=True)
        names = next(rows, [])
        "".join(names).encode()
    except csv.Error as error:
        raise DataError(f"{path.name}: its first row is no CSV header ({error})") from error
    except UnicodeEncodeError as error:
        raise DataError(f"{path.name}, header: not UTF-8 text; save the file as UTF-8") from error
    if not any(map(str.strip, names)):
        raise DataError(f"{path.name}: the file is empty; it needs a header and rows")
    return names


def refuse_loose_rows(path: Path, num_columns: int, text: bool = False, delimiter: str = ",") -> None:
    """Refuse a CSV whose rows are not all of as many columns, or that is none to a strict reader.

    A quote opens a value at its start, closes it at its end, or is doubled inside a quoted one; line breaks are of one
    kind; no byte is NUL. Blank lines are no rows. All of it is looked at once, at half a gigabyte a second.

    Args:
        path: The CSV.
        num_columns: Names in its first row.
        text: Whether to see that all of it is UTF-8, which takes as long again; DuckDB does for the columns it reads.
        delimiter: What parts its columns, of ASCII.

    Raises:
        DataError: it is not so; names file and row, counted from 1 without the header.
    """
    state, decode = _State(comma=ord(delimiter)), codecs.getincrementaldecoder("utf-8")().decode
    for read in _chunks(path):
        if text:
            try:
                decode(read.tobytes())
            except UnicodeDecodeError as error:
                state, _ = _looked_at(read[: max(1, error.start)], num_columns, state)
                raise DataError(f"{path.name}, row {state.row}: not UTF-8 text; save the file as UTF-8") from error
        state, wrong = _looked_at(read, num_columns, state)
        if wrong is not None:
            row, reason = wrong
            raise DataError(f"{path.name}, {f'row {row}' if row else 'header'}: {reason}")
    if state.inside:
        raise DataError(f"{path.name}, row {state.row}: a quoted value is not closed as it should be; {_CUT}")
    returns, feeds, pairs = state.breaks
    if returns and feeds and not returns == feeds == pairs:
        raise DataError(f"{path.name}: its rows end in line breaks of several kinds; write it again with one kind")
    if state.since and state.commas + 1 != num_columns:
        raise DataError(f"{path.name}, row {state.row}: {_other_width(state.commas + 1, num_columns)}")


class _State(NamedTuple):
    """Where a chunk ends: its last byte, whether inside quotes, the row begun (0: the header), its commas and bytes,
    and `_breaks`; and what a comma is.
    """

    last: int = _NEWLINE
    inside: int = 0
    row: int = 0
    commas: int = 0
    since: int = 0
    breaks: tuple[int, int, int] = (0, 0, 0)
    comma: int = ord(",")


def _looked_at(read: Bytes, num_columns: int, state: _State) -> tuple[_State, tuple[int, str] | None]:
    """Go through a chunk: where it ends, and the first row that is wrong, with the reason, or None."""
    at = np.flatnonzero((read == _QUOTE) | (read == state.comma) | (read == _NEWLINE) | (read == _RETURN))
    marks = read[at]
    quotes = marks == _QUOTE
    quoted = (np.cumsum(quotes) + state.inside) % 2 == 1
    counted = np.cumsum((marks == state.comma) & ~quoted)
    ends = np.flatnonzero(((marks == _NEWLINE) | (marks == _RETURN)) & ~quoted)
    filled = np.diff(at[ends], prepend=-1 - state.since) > 1
    rows = state.row + np.cumsum(filled)  # the row that begins behind each end
    widths = np.diff(counted[ends], prepend=-state.commas) + 1
    wrong: list[tuple[int, str]] = []
    if not read.all():
        wrong.append((_row_at(int(np.argmin(read)), at[ends], rows, state), "a NUL byte, which no text holds"))
    if (place := _loose_quote(read, at[quotes], quoted[quotes], state)) is not None:
        row = _row_at(place, at[ends], rows, state)
        wrong.append((row, "a quote inside a value; put the whole value in quotes and double those inside"))
    if len(others := np.flatnonzero(filled & (widths != num_columns))):
        wrong.append((int(rows[others[0]]) - 1, _other_width(int(widths[others[0]]), num_columns)))
    total = int(counted[-1]) if len(counted) else 0
    after = _State(
        last=int(read[-1]),
        inside=int(quoted[-1]) if len(quoted) else state.inside,
        row=int(rows[-1]) if len(ends) else state.row,
        commas=total - int(counted[ends[-1]]) if len(ends) else state.commas + total,
        since=len(read) - 1 - int(at[ends[-1]]) if len(ends) else state.since + len(read),
        breaks=_breaks(read, at[ends], state),
        comma=state.comma,
    )
    return after, min(wrong, key=lambda one: one[0], default=None)


def _row_at(place: int, ends: Ints, rows: Ints, state: _State) -> int:
    """The row that a place in a chunk belongs to."""
    before = int(np.searchsorted(ends, place))
    return int(rows[before - 1]) if before else state.row


def _loose_quote(read: Bytes, quotes: Ints, opens: Bools, state: _State) -> int | None:
    """Place of the first quote that has something else than a comma, a line break or a quote outside of it."""
    beside = _beside(state.comma)
    if state.last == _QUOTE and not state.inside and not beside[read[0]]:
        return 0
    if not len(quotes):
        return None
    left, right = read[quotes - 1], read[np.minimum(quotes + 1, len(read) - 1)]
    if quotes[0] == 0:
        left[0] = state.last
    loose = np.flatnonzero(~beside[np.where(opens, left, right)])
    return int(quotes[loose[0]]) if len(loose) else None


@functools.cache
def _beside(comma: int) -> Bools:
    """Bytes that may be outside of a quote."""
    return np.isin(np.arange(256), [_QUOTE, comma, _NEWLINE, _RETURN])


def _breaks(read: Bytes, ends: Ints, state: _State) -> tuple[int, int, int]:
    """How many rows ended in CR, in LF, and in LF behind CR, those before the chunk counted in."""
    marks, before = read[ends], read[ends - 1]
    if len(ends) and ends[0] == 0:
        before[0] = state.last
    feeds = marks == _NEWLINE
    found = (int((~feeds).sum()), int(feeds.sum()), int((feeds & (before == _RETURN)).sum()))
    return tuple(old + new for old, new in zip(state.breaks, found, strict=True))  # type: ignore[return-value]


def _other_width(width: int, num_columns: int) -> str:
    hint = _CUT if width < num_columns else "a value with a comma needs quotes"
    return f"{width} columns where the header has {num_columns}; {hint}"


def _chunks(path: Path) -> Iterator[Bytes]:
    """A file's bytes, a part at a time that stays in a processor's cache; the next one takes the place of the last."""
    held = np.empty(_CHUNK, dtype=np.uint8)
    with opened(path) as handle:
        if handle.read(len(_MARK)) != _MARK:
            handle.seek(0)
        while size := handle.readinto(held.data):  # type: ignore[attr-defined]
            yield held[:size]
