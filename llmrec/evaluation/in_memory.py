"""Predictions and targets that are no files: lists, data frames, what rankers and title writers give back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from llmrec.data.store import LabelledSessions, TestTargets
from llmrec.errors import DataError
from llmrec.evaluation.runs import PREDICTION, Run, read_run, run_of
from llmrec.evaluation.targets import Targets, read_targets
from llmrec.schema import ONE_LOCALE

__all__ = ["holds_titles", "run_in_memory", "targets_in_memory"]

_TARGETS: Final = Path("targets")


def holds_titles(predictions: Any) -> bool:
    """Whether predictions are titles and not lists of ids; a file is read for that."""
    if isinstance(predictions, str | Path):
        return read_run(Path(predictions)).kind == "titles"
    if hasattr(predictions, "as_run"):
        return bool(predictions.as_run().kind == "titles")
    return any(isinstance(one, str) for one in list(predictions)[:1])


def run_in_memory(predictions: Any, targets: Targets, argument: str) -> Run:
    """Predictions as a run.

    Args:
        predictions: A run's path, something with ``as_run()``, or plain lists, whose locales are the targets'.
        targets: Of the same sessions.
        argument: What an error calls ``predictions``.

    Raises:
        DataError: they are neither titles nor lists of ids, or a file cannot be read.
    """
    if isinstance(predictions, Run):
        return predictions
    if isinstance(predictions, str | Path):
        return read_run(Path(predictions))
    if hasattr(predictions, "as_run"):
        run: Run = predictions.as_run()
        return run
    rows = list(predictions)
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
        return read_targets(Path(targets))
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
    names = [str(name) for name in getattr(targets, "column_names", getattr(targets, "columns", []))]
    if names:
        return _of_table(targets, names)
    return _of_list(targets, titles)


def _of_table(table: Any, names: Sequence[str]) -> Targets:
    known = {name: _column(table[name], name) for name in ("locale", "next_item", "next_title") if name in names}
    if not {"next_item", "next_title"} & {*known}:
        raise DataError(f"targets: no column 'next_item' or 'next_title' among {', '.join(names[:8])}")
    return Targets(_TARGETS, len(table), known.get("locale"), known.get("next_item"), known.get("next_title"))


def _of_list(targets: Any, titles: bool) -> Targets:
    if not isinstance(targets, Sequence) or isinstance(targets, bytes):
        raise DataError(f"targets: a file, a data frame or a list of ids or titles is wanted; got {targets!r:.60}")
    for row, one in enumerate(targets):
        if one is not None and not isinstance(one, str):
            raise DataError(f"targets, row {row + 1}: a target is one id or title; got {one!r:.60}")
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
