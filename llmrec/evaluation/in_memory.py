"""Predictions and targets that are no files: lists, data frames, what rankers and title writers give back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from llmrec.data.store import LabelledSessions, TestSessions, TestTargets
from llmrec.errors import DataError, shown
from llmrec.evaluation.runs import PREDICTION, Run, read_run, run_of
from llmrec.evaluation.targets import Targets, read_targets
from llmrec.files import given_file
from llmrec.schema import ONE_LOCALE

__all__ = ["files_of", "given_predictions", "holds_titles", "run_in_memory", "targets_in_memory"]

_TARGETS: Final = Path("targets")
_PREDICTIONS: Final = "give what rank() or write() gave, or a list with a list of ids or a title for each session"


def holds_titles(predictions: Any) -> bool:
    """Whether predictions are titles and not lists of ids; a file is read for that."""
    if isinstance(predictions, Run):
        return predictions.kind == "titles"
    return any(isinstance(one, str) for one in predictions[:1])


def given_predictions(predictions: Any, argument: str) -> Any:
    """Predictions as a run, where they are one, or as a plain list.

    Raises:
        DataError: they are neither, or a file cannot be read.
    """
    if isinstance(predictions, Run):
        return predictions
    if isinstance(predictions, str | Path):
        return read_run(given_file(predictions, argument, f"{_PREDICTIONS}, or a run's file"))
    if hasattr(predictions, "as_run"):
        return predictions.as_run()
    plain = getattr(predictions, "to_pylist", getattr(predictions, "tolist", None))  # Arrow's and NumPy's
    rows = plain() if callable(plain) else predictions
    if not isinstance(rows, Iterable) or isinstance(rows, Mapping | Set | bytes) or hasattr(predictions, "columns"):
        raise DataError(f"{argument}: {_PREDICTIONS}; got {shown(predictions)}")
    return list(rows)


def files_of(sessions: Any, argument: str) -> list[Path]:
    """Files of sessions: sessions of a store, a path or several; none for None.

    Raises:
        DataError: a file is missing, or it is something else.
    """
    if isinstance(sessions, LabelledSessions):
        return list(sessions.files)
    if isinstance(sessions, TestSessions):
        return [sessions.file]
    names = [] if sessions is None else [sessions] if isinstance(sessions, str | Path) else sessions
    instead = "give a CSV or Parquet file, or sessions of a store"
    if not isinstance(names, list | tuple) or not all(isinstance(one, str | Path) for one in names):
        raise DataError(f"{argument}: {instead}; got {shown(sessions)}")
    return [given_file(one, argument, instead) for one in names]


def run_in_memory(predictions: Any, targets: Targets, argument: str) -> Run:
    """Predictions as a run.

    Args:
        predictions: From `given_predictions`; the locales of plain lists are the targets'.
        targets: Of the same sessions.
        argument: What an error calls ``predictions``.

    Raises:
        DataError: they are neither titles nor lists of ids, or a file cannot be read.
    """
    if isinstance(predictions, Run):
        return predictions
    rows = predictions
    if len(rows) != targets.num_rows:
        raise DataError(f"{argument}: {len(rows):,} for the {targets.num_rows:,} targets; give one for each session")
    locales = targets.locales if targets.locales is not None else [ONE_LOCALE] * len(rows)
    return run_of(Path(argument), locales, rows)


def targets_in_memory(targets: Any, titles: bool) -> Targets:
    """Targets as `read_targets` gives them.

    Args:
        targets: A path, targets of a store, sessions with next items, a data frame, an Arrow table, or a plain list.
        titles: Whether the texts of a plain list are titles, not ids.

    Raises:
        DataError: they hold no target, or a file cannot be read.
    """
    if isinstance(targets, Targets):
        return targets
    if isinstance(targets, str | Path):
        return read_targets(given_file(targets, "targets", "give a file with next_item or next_title, or a list"))
    if isinstance(targets, TestTargets):
        return read_targets(targets.file)
    if isinstance(targets, LabelledSessions) and len(targets.files) == 1:
        return read_targets(targets.files[0])
    if targets is None:
        raise DataError("targets: there are none; a test split whose source held none cannot be scored")
    if hasattr(targets, "next_items"):
        if targets.next_items is None:
            raise DataError("targets: sessions without next items; give those with a 'next_item' column")
        return Targets(
            _TARGETS, len(targets), _column(targets.locales), _column(targets.next_items), None, targets.fingerprint
        )
    if hasattr(targets, "column_names") or hasattr(targets, "columns"):
        names = [str(name) for name in getattr(targets, "column_names", getattr(targets, "columns", []))]
        return _of_table(targets, names)
    return _of_list(targets, titles)


def _of_table(table: Any, names: Sequence[str]) -> Targets:
    if twice := [name for name in ("locale", "next_item", "next_title") if names.count(name) > 1]:
        raise DataError(f"targets: the column '{twice[0]}' is there twice; leave one out")
    known = {name: _column(table[name], name) for name in ("locale", "next_item", "next_title") if name in names}
    if not {"next_item", "next_title"} & {*known}:
        raise DataError(f"targets: no column 'next_item' or 'next_title' among {', '.join(names[:8])}")
    return Targets(_TARGETS, len(table), known.get("locale"), known.get("next_item"), known.get("next_title"))


def _of_list(targets: Any, titles: bool) -> Targets:
    plain = getattr(targets, "to_pylist", getattr(targets, "tolist", None))
    targets = plain() if callable(plain) else targets
    if not isinstance(targets, Iterable) or isinstance(targets, Mapping | Set | bytes):
        raise DataError(f"targets: a file, a data frame or a list of ids or titles is wanted; got {shown(targets)}")
    targets = [None if one != one else one for one in targets]  # NaN: unknown
    for row, one in enumerate(targets):
        if one is not None and not isinstance(one, str):
            raise DataError(f"targets, row {row + 1}: a target is one id or title; got {shown(one)}")
    texts = _column(pa.array(list(targets), pa.string()))
    return Targets(_TARGETS, len(targets), None, None if titles else texts, texts if titles else None)


def _column(values: Any, name: str = PREDICTION) -> Any:
    """A column of text as Arrow chunks; null where pandas has none."""
    try:
        array = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, from_pandas=True)
        if not (pa.types.is_null(array.type) or pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
            raise pa.ArrowTypeError(str(array.type))
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(f"targets: column '{name}' must hold text; {' '.join(str(error).split())}") from error
    plain = array.cast(pa.string())
    return plain if isinstance(plain, pa.ChunkedArray) else pa.chunked_array([plain])
