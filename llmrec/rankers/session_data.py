"""Sessions from what people have: a data frame, lists, an Arrow table, a file, or a split of a store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from llmrec.api.public import public
from llmrec.console import notice_once
from llmrec.data.lists import is_text, stripped_array
from llmrec.data.store import LabelledSessions, Store, TestSessions
from llmrec.errors import DataError, shown
from llmrec.files import given_file, held_in
from llmrec.ragged import list_array, list_lengths, offsets_of, row_numbers
from llmrec.rankers.sessions import Sessions, TrainingSessions, read_labelled_files, read_session_files
from llmrec.schema import ONE_LOCALE

__all__ = ["SessionData", "sessions", "training_sessions"]

SessionData = Any
"""What `sessions` takes: `Sessions`, a pandas or polars data frame, an Arrow table, a mapping of columns, lists of ids,
a path or several, or sessions of a `Store`."""

_LISTS: Final = pa.list_(pa.string())
_COLUMNS: Final = "columns 'prev_items' (lists of ids) and 'locale', and 'next_item' where it is known"


@public
def sessions(data: SessionData, locale: str | Sequence[str] | None = None, *, argument: str = "data") -> Sessions:
    """Make sessions of what you have.

    Args:
        data: A data frame (pandas, polars), an Arrow table or a mapping of columns, with ``prev_items`` (lists of ids
            in time order), ``locale`` and, for sessions to learn from, ``next_item``; a list of such lists of ids; a
            CSV or Parquet file, or several; or sessions that a store hands out.
        locale: Locale of all sessions, or of each; for data without a column of that name. A shop of one locale may
            leave it out.
        argument: What an error calls ``data``.

    Returns:
        ``S`` sessions; `Sessions.next_items` holds the ``next_item`` column, where there is one.

    Raises:
        DataError: a column is missing or holds something else, an id is missing or no text, or a file is malformed.

    Example:
        >>> len(sessions([["B01", "B02"], ["B03"]], locale="UK"))
        2
    """
    if isinstance(data, Sessions):
        return data
    if isinstance(data, LabelledSessions):
        return read_labelled_files(data.files)
    if isinstance(data, TestSessions):
        return read_session_files(data.file)
    if files := _paths(data, argument):
        return read_labelled_files(files)
    if isinstance(data, pa.Array | pa.ChunkedArray):
        return _checked(_plain(data, "prev_items", argument), _locales(locale, len(data), argument), None, argument)
    if hasattr(data, "__arrow_c_stream__") or isinstance(data, Mapping) or hasattr(data, "columns"):
        return _of_table(_table(data, argument), locale, argument)
    return _of_lists(data, locale, argument)


def training_sessions(data: SessionData, locale: str | Sequence[str] | None = None) -> TrainingSessions:
    """Sessions to learn from, of what `sessions` takes; ``next_item`` ends a session where it is known.

    Raises:
        DataError: as `sessions`, or there is no item in them.
    """
    if isinstance(data, TrainingSessions):
        return data
    if isinstance(data, TestSessions):
        raise DataError("training: sessions of a test split; give them as sessions, with transductive=True")
    return sessions(data, locale, argument="training").training()


def _paths(data: Any, argument: str) -> list[Path]:
    """The files that ``data`` names; none where it is something else."""
    names = [data] if isinstance(data, str | Path) else data if isinstance(data, list | tuple) else []
    if not (names is not data and names) and not (names and all(map(_names_a_file, names))):
        return []
    instead = "ids are given as a list of lists" + (f": [[{shown(data)}]]" if isinstance(data, str) else "")
    if isinstance(data, str | Path) and held_in(Path(data)).endswith("a store"):
        instead = f"open it: llmrec.open_store({shown(str(data))}).training()"
    files = [given_file(name, argument, instead) for name in names]
    if len({file.resolve() for file in files}) < len(files):
        raise DataError(f"{argument}: a file is given twice; its sessions would count twice")
    return files


def _names_a_file(one: Any) -> bool:
    return isinstance(one, Path) or (isinstance(one, str) and one.endswith((".csv", ".parquet")))


def _table(data: Any, argument: str) -> Any:
    """``prev_items``, ``locale`` and ``next_item`` of a data frame or table, those that it has."""
    if hasattr(data, "__arrow_c_stream__") and not (hasattr(data, "columns") or hasattr(data, "column_names")):
        data = pa.table(data)  # a reader, which is read once
    names = [
        str(name) for name in (data.column_names if hasattr(data, "column_names") else getattr(data, "columns", data))
    ]
    for name in ("prev_items", "locale", "next_item"):
        if names.count(name) > 1:
            raise DataError(f"{argument}: the column '{name}' is there twice; leave one out")
        if name in getattr(getattr(data, "index", None), "names", ()):
            raise DataError(f"{argument}: '{name}' is the data frame's index; make it a column: reset_index()")
    wanted = [name for name in ("prev_items", "locale", "next_item") if name in names]
    if "prev_items" not in wanted:
        raise DataError(f"{argument}: no column 'prev_items' among {', '.join(names[:8])}; sessions have {_COLUMNS}")
    columns = {name: data[name] for name in wanted}
    return {name: _plain(column, name, argument) for name, column in columns.items()}


def _plain(column: Any, name: str, argument: str) -> Any:
    """A column as an Arrow array of text, or of lists of text for ``prev_items``."""
    lists = name == "prev_items"
    try:
        if lists and not isinstance(column, pa.Array | pa.ChunkedArray) and any(isinstance(one, Set) for one in column):
            raise pa.ArrowTypeError("a set has no order")
        array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else pa.array(column, from_pandas=True)
        if not (pa.types.is_null(array.type) or _holds_text(array.type, lists)):
            raise pa.ArrowTypeError(str(array.type))
        return array.cast(_LISTS if lists else pa.string())
    except UnicodeEncodeError as error:
        raise DataError(f"{argument}: column '{name}' holds half a character: {shown(error.object)}") from error
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        row = _first_odd(column, lists)
        where = f"{argument}, row {row + 1}" if row is not None else argument
        what = "lists of ids, which are text" if lists else "text"
        raise DataError(f"{where}: column '{name}' must hold {what}{_shown(column, row)}") from error


def _holds_text(kind: Any, lists: bool) -> bool:
    if lists != bool(pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return False
    return is_text(kind.value_type if lists else kind)


def _first_odd(column: Any, lists: bool) -> int | None:
    """Row of the first value that is no text, or no list of texts."""
    for row, value in enumerate(column):
        value = value.as_py() if isinstance(value, pa.Scalar) else value
        if lists:
            if (
                isinstance(value, str | Set)
                or not isinstance(value, Iterable)
                or not all(isinstance(one, str) for one in value)
            ):
                return row
        elif not isinstance(value, str):
            return row
    return None


def _shown(column: Any, row: int | None) -> str:
    if row is None:
        return ""
    value = column[row] if not hasattr(column, "iloc") else column.iloc[row]
    value = value.as_py() if isinstance(value, pa.Scalar) else value
    return f"; got {shown(value.tolist() if hasattr(value, 'tolist') else value)}"


def _of_table(columns: Mapping[str, Any], locale: str | Sequence[str] | None, argument: str) -> Sessions:
    lists = columns["prev_items"]
    if "locale" in columns and locale is not None:
        raise DataError(f"{argument}: has a column 'locale'; leave the argument locale out")
    locales = columns["locale"] if "locale" in columns else _locales(locale, len(lists), argument)
    return _checked(lists, locales, columns.get("next_item"), argument)


def _of_lists(data: Any, locale: str | Sequence[str] | None, argument: str) -> Sessions:
    if not isinstance(data, Iterable) or isinstance(data, bytes) or getattr(data, "ndim", 1) == 0:
        more = "; give training() or sessions(split) of it" if isinstance(data, Store) else ""
        raise DataError(
            f"{argument}: sessions are a data frame, lists of ids, an Arrow table or a file; got {shown(data)}{more}"
        )
    rows = list(data)
    for row, one in enumerate(rows):
        if isinstance(one, str):
            raise DataError(f"{argument}: a list of lists of ids is wanted; for one session write [[{one!r}, ...]]")
        if not isinstance(one, Iterable) or isinstance(one, Mapping | Set | bytes):
            raise DataError(f"{argument}, row {row + 1}: a session is a list of ids; got {shown(one)}")
    lists = _plain([list(one) for one in rows], "prev_items", argument) if rows else pa.array([], _LISTS)
    return _checked(lists, _locales(locale, len(rows), argument), None, argument)


def _locales(locale: str | Sequence[str] | None, count: int, argument: str) -> Any:
    if locale is None or isinstance(locale, str):
        return pa.array([locale or ONE_LOCALE] * count, pa.string())
    names = list(locale)
    if len(names) != count:
        raise DataError(
            f"locale: {len(names):,} for the {count:,} sessions of {argument}; give one each, or one for all"
        )
    return _plain(names, "locale", "locale") if names else pa.array([], pa.string())


def _checked(lists: Any, locales: Any, next_items: Any, argument: str) -> Sessions:
    """Sessions without an empty place: a missing list is an empty one, a missing id is refused."""
    lists = pc.fill_null(lists, pa.scalar([], _LISTS)) if lists.null_count else lists
    given = lists.flatten()
    inner, changed = stripped_array(given)
    if inner.null_count:
        row = int(row_numbers(list_lengths(lists))[pc.index(pc.is_null(inner), True).as_py()])
        raise DataError(f"{argument}, row {row + 1}: an id is missing (None, NaN or empty); leave it out of its list")
    if inner is not given:
        if pc.any(controls := pc.match_substring_regex(inner, r"\p{Cc}")).as_py():
            row = int(row_numbers(list_lengths(lists))[pc.index(controls, True).as_py()])
            raise DataError(f"{argument}, row {row + 1}: a control character inside an id; remove it")
        lists = list_array(offsets_of(list_lengths(lists)), inner)
    locales, others = stripped_array(locales)
    if next_items is not None:
        next_items, more = stripped_array(next_items)
        others += more
    if changed + others:
        notice_once(f"{argument}: blanks around {changed + others:,} ids; read without them")
    if locales.null_count:
        row = pc.index(pc.is_null(locales), True).as_py()
        raise DataError(f"{argument}, row {row + 1}: 'locale' is missing; give every session its locale")
    return Sessions(lists, locales, next_items)
