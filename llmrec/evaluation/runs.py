"""Run files: ranked lists or titles of one split, in the KDD Cup's submission form, with a sidecar that says whence.

``RUN.parquet`` has the columns ``locale`` and ``next_item_prediction`` (a list of at most 100 ids, or one title), its
rows in the test file's order, and in its metadata, under ``llmrec``, a record: provenance and whether the run stops
short of its split. ``RUN.json`` beside it is a copy for people and other programs; of two that differ the one inside
counts, so that a run and its record change in one step. The record names the rows that it is of, and their sessions
(`llmrec.data.digests`), so that it is never taken for that of others.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from llmrec.console import notice_once
from llmrec.data.digests import MARK, rows_fingerprint
from llmrec.data.lists import stripped_array
from llmrec.data.raw import parquet_table
from llmrec.errors import DataError, shown
from llmrec.files import table_files
from llmrec.output import atomic_file, check, claimed
from llmrec.ragged import list_array, list_lengths, offsets_of, row_numbers
from llmrec.records import Count, parse_record, record_text

__all__ = ["PREDICTION", "Kind", "Run", "read_run", "run_of", "run_record", "sidecar_of", "write_run"]

PREDICTION: Final = "next_item_prediction"
Kind = Literal["titles", "ranking"]


@dataclass(frozen=True)
class Run:
    """A run in memory.

    Attributes:
        path: Where it was read.
        kind: ``titles`` (one string a session) or ``ranking`` (a list of ids a session).
        locales: Arrow strings, ``S`` rows.
        predictions: Arrow strings or lists of strings, ``S`` rows, none null.
        provenance: How it was made; empty for a run from elsewhere that has no sidecar.
        partial: Whether it holds only the first sessions of its split.
    """

    path: Path
    kind: Kind
    locales: pa.ChunkedArray
    predictions: pa.ChunkedArray
    provenance: Mapping[str, Any] = field(default_factory=dict)
    partial: bool = False

    def __len__(self) -> int:
        return len(self.locales)

    @property
    def sessions_fingerprint(self) -> str | None:
        """What the sessions of its whole split are known by; None for a run from elsewhere, or of long ago."""
        known = self.provenance.get("sessions_fingerprint")
        return known if isinstance(known, str) else None


def sidecar_of(run: Path) -> Path:
    """Path of the JSON file beside a run."""
    return run.with_suffix(".json")


def write_run(
    path: Path,
    locales: Sequence[str] | pa.Array | pa.ChunkedArray,
    predictions: Sequence[str] | Sequence[Sequence[str]] | pa.Array | pa.ChunkedArray,
    provenance: Mapping[str, Any],
    partial: bool = False,
) -> None:
    """Write a run and its sidecar.

    Args:
        path: The Parquet file; its ending must not be ``.json``, which is the sidecar's.
        locales: ``S`` locales, in the order of the split's sessions.
        predictions: ``S`` titles, or ``S`` lists of ids, best first; none null.
        provenance: From `llmrec.evaluation.provenance.collect_provenance`, with ``sessions_fingerprint`` of the whole
            split.
        partial: Whether these are only the split's first sessions.

    Raises:
        ConfigError: ``path`` ends in ``.json``.
        DataError: the numbers of rows differ, a value is null, or predictions are neither titles nor lists.
        DiskError: the place cannot be written.
    """
    real = check(path, "run")
    run = run_of(path, locales, predictions)
    names, values, kind = run.locales, run.predictions, run.kind
    text = record_text(run_record(kind, len(names), rows_fingerprint(names, values), partial, provenance))
    table = pa.table({"locale": names, PREDICTION: values}).replace_schema_metadata({MARK: text})
    with claimed((real, "run")), contextlib.ExitStack() as after:  # a disk that fills up leaves the old pair
        for sidecar in {sidecar_of(real), sidecar_of(path)}:
            if sidecar == sidecar_of(real) or sidecar.is_file():  # beside a link there need be none
                after.enter_context(atomic_file(sidecar)).write_text(text, encoding="utf-8")
        with atomic_file(path) as temporary:
            pq.write_table(table, temporary, compression="zstd")


def run_record(
    kind: Kind, rows: int, fingerprint: str | None, partial: bool, provenance: Mapping[str, Any]
) -> dict[str, Any]:
    """The record of a run, for inside and beside it; ``fingerprint`` is None where nobody has seen all rows."""
    record: dict[str, Any] = {"kind": kind, "rows": rows, "rows_fingerprint": fingerprint}
    return record | {"partial": partial, "provenance": dict(provenance)}


def run_of(path: Path, locales: Any, predictions: Any) -> Run:
    """A run of locales and predictions as `write_run` takes them; ``path`` is what errors call it.

    Raises:
        DataError: the numbers of rows differ, a value is null, or predictions are neither titles nor lists.
    """
    try:
        names, values = (_column(values) for values in (locales, predictions))
    except UnicodeEncodeError as error:
        raise DataError(f"{path}: holds half a character, which no file can: {shown(error.object)}") from error
    if len(names) != len(values):
        raise DataError(f"{path}: {len(names)} locales for {len(values)} predictions; give one prediction a session")
    kind = _kind_of(values, path)
    for column, content in (("locale", names), (PREDICTION, values)):
        _refuse_null(content, column, path)
    return Run(path, kind, names, values)


def read_run(path: Path) -> Run:
    """Read and check a run; one without a record or sidecar, from another program, counts as complete.

    Raises:
        DataError: no such file, not Parquet, a column missing, a null, or a sidecar that is not this run's.
    """
    table = _read_table(path)
    for column in ("locale", PREDICTION):
        if column not in table.column_names:
            raise DataError(f"{path}: no column '{column}'; a run has 'locale' and '{PREDICTION}'")
        _refuse_null(table[column], column, path)
    predictions = _plain(table[PREDICTION])
    locales, kind = _plain(table["locale"]), _kind_of(predictions, path)
    if not pa.types.is_string(locales.type):
        raise DataError(f"{path}: column 'locale' is {locales.type}; it must hold text")
    made = _read_record(path, table)
    if made.rows_fingerprint not in (None, rows_fingerprint(locales, predictions)):
        raise DataError(
            f"{path}: holds other rows than those that its record tells of; write the run again, or without the record "
            f"(metadata 'llmrec', {sidecar_of(path).name}) if the change is meant"
        )
    if made.kind not in (None, kind):
        raise DataError(f"{path}: holds {kind}, its record says {made.kind}; write the run again")
    locales, predictions = _by_the_rule(path, locales, predictions)
    return Run(path, kind, locales, predictions, made.provenance, made.partial)


def _by_the_rule(path: Path, locales: Any, predictions: Any) -> tuple[Any, Any]:
    """Ids without blanks around them, see `llmrec.data.lists`; in a run, whose places count, none may be missing."""
    locales, changed = stripped_array(locales)
    if locales.null_count:
        row = pc.index(pc.is_null(locales), True).as_py()
        raise DataError(f"{path}, row {row + 1}: 'locale' is empty; a run has the locale of each session")
    if pa.types.is_list(predictions.type):
        lists = predictions.combine_chunks()
        lists = pa.concat_arrays(lists.chunks) if isinstance(lists, pa.ChunkedArray) else lists
        flat = lists.flatten()
        ids, in_lists = stripped_array(flat)
        if ids is not flat:
            _refuse_no_ids(path, lists, ids)
            predictions = pa.chunked_array([list_array(offsets_of(list_lengths(lists)), ids)])
            changed += in_lists
    if changed:
        notice_once(f"{path}: blanks around {changed:,} ids; read without them")
    return locales, predictions


def _refuse_no_ids(path: Path, lists: Any, ids: Any) -> None:
    for what, wrong in (
        ("an empty or nan id", pc.and_(pc.is_null(ids), pc.is_valid(lists.flatten()))),
        ("a control character inside an id", pc.fill_null(pc.match_substring_regex(ids, r"\p{Cc}"), False)),
    ):
        if (place := pc.index(wrong, True).as_py()) >= 0:
            row = int(row_numbers(list_lengths(lists))[place])
            raise DataError(f"{path}, row {row + 1}: {what} in a ranked list; write ids alone")


def _read_table(path: Path) -> Any:
    if not table_files(path):
        but = " but a folder; a cluster writes part-*.parquet there" if path.is_dir() else ""
        raise DataError(f"{path}: no such run{but or '; `llmrec rank` and `llmrec generate` write them'}")
    return parquet_table(path)


class _Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    kind: Kind | None = None
    rows: Count | None = None
    rows_fingerprint: str | None = None
    partial: bool = False
    provenance: dict[str, Any] = msgspec.field(default_factory=dict)


def _read_record(path: Path, table: Any) -> _Record:
    """The record inside a run, or in the sidecar of one that has none inside."""
    sidecar, held = sidecar_of(path), (table.schema.metadata or {}).get(MARK)
    beside = sidecar.read_bytes() if sidecar.is_file() else None
    text = beside if held is None else held
    if text is None:
        return _Record()
    if beside not in (None, text):
        notice_once(f"{sidecar}: not the record of {path.name}, whose own counts; write the run again to have both")
    where = sidecar if held is None else path
    made = parse_record(text, _Record, where, "write the run again, or move it: a run's record has this name")
    if made.rows not in (None, len(table)):
        raise DataError(f"{where}: tells of {made.rows} rows, the run has {len(table)}; write the run again")
    return made


def _column(values: Any) -> Any:
    """Arrow column of strings or of lists of strings, whatever it came as."""
    if isinstance(values, pa.ChunkedArray):
        return _plain(values)
    if not isinstance(values, pa.Array):
        rows = list(values)
        # asked here: Arrow would read a title among lists as a list of its letters
        forms = {isinstance(row, list | tuple | np.ndarray) for row in rows if row is not None}
        try:
            values = pa.array(rows, pa.list_(pa.string()) if True in forms else pa.string())
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise DataError("a run holds text alone: titles or lists of ids") from error
        if len(forms) > 1:
            raise DataError("a run holds titles or lists of ids, not both")
    return _plain(pa.chunked_array([values]))


def _plain(values: Any) -> Any:
    """Cast dictionaries, views and large types to plain strings; leave foreign types for `_kind_of` to name."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        values = values.cast(kind.value_type)
        kind = values.type
    if pa.types.is_null(kind):
        return values.cast(pa.string())
    if _is_text(kind):
        return values.cast(pa.string())
    if _is_list(kind) and (_is_text(kind.value_type) or pa.types.is_null(kind.value_type)):
        return values.cast(pa.list_(pa.string()))
    return values


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_list(kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _kind_of(predictions: Any, path: Path) -> Kind:
    if pa.types.is_string(predictions.type):
        return "titles"
    if pa.types.is_list(predictions.type) and pa.types.is_string(predictions.type.value_type):
        return "ranking"
    raise DataError(
        f"{path}: column '{PREDICTION}' is {predictions.type}; it must hold a title or a list of ids a session"
    )


def _refuse_null(values: Any, column: str, path: Path) -> None:
    if values.null_count:
        row = pc.index(pc.is_null(values), True).as_py()
        raise DataError(f"{path}, row {row + 1}: '{column}' is empty (null); write an empty string or list instead")
