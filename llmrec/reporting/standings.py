"""Several results in one table: a method a row, the phases beside each other, as the paper's Tables 3, 4 and 7-11."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llmrec.errors import ConfigError, nearest
from llmrec.evaluation.results import Result, read_result, refuse_partial
from llmrec.evaluation.scoring import OVERALL
from llmrec.reporting.blocks import Block, Heading, Markdown, Table
from llmrec.reporting.tables import BEYOND, label_of, number

__all__ = ["MACRO", "Entry", "read_entry", "standings"]

MACRO: Final = "macro"
_NO_VALUE: Final = "–"
_FORM: Final = "RESULT.json or METHOD=RESULT.json"


@dataclass(frozen=True)
class Entry:
    """A result with its place in the table.

    Attributes:
        method: Row.
        split: Group of columns: ``task2 phase1`` …
        result: The scores.
    """

    method: str
    split: str
    result: Result


def read_entry(text: str) -> Entry:
    """Read ``RESULT.json`` or ``METHOD=RESULT.json``.

    The method is the ranker that the result's provenance names, or the run's name; the split is told by the name of the
    targets file.

    Raises:
        ConfigError: the result is partial.
        DataError: there is no such result.
    """
    name, equals, file = text.rpartition("=")
    result = read_result(Path(file))
    refuse_partial(result)
    if equals and not name:
        raise ConfigError(f"'{text}': no method before the equals sign; write {_FORM}")
    ranker = str(result.provenance.get("ranker") or Path(result.run).stem)
    return Entry(name or ranker, _split_of(result.targets), result)


def _split_of(targets: str) -> str:
    stem = re.sub(r"^(targets|sessions)_?", "", Path(targets).stem)
    return stem.removeprefix("test_").replace("_", " ")


def standings(entries: Sequence[Entry], metrics: Sequence[str] = ()) -> list[Block]:
    """Heading and table for each metric.

    Columns are each split's locales, ``overall`` (micro) and ``macro`` (the plain mean over its locales); the best of a
    column is in bold.

    Args:
        entries: Results; no two of the same method and split.
        metrics: ``mrr@100`` …; those that every result has, if none are named.

    Raises:
        ConfigError: nothing to show, two results claim a place, or a result lacks a metric.
    """
    if not entries:
        raise ConfigError(f"no results to set beside each other; give {_FORM}")
    places = {(entry.method, entry.split): entry.result for entry in entries}
    if len(places) < len(entries):
        taken = [(entry.method, entry.split) for entry in entries]
        method, split = next(place for place in taken if taken.count(place) > 1)
        raise ConfigError(f"two results of '{method}' on '{split}'; name one: OTHER=RESULT.json")
    shared = [name for name in entries[0].result.overall.metrics if all(_has(entry, name) for entry in entries)]
    for metric in metrics:
        for entry in entries:
            if not _has(entry, metric):
                known = nearest(metric, [*entry.result.overall.metrics, *_beyond(entry.result, OVERALL)])
                raise ConfigError(f"{entry.method}: no {metric} in its result{known}")
    chosen = list(metrics) or shared
    if not chosen:
        raise ConfigError("the results have no metric in common: ranked lists and titles stand in tables of their own")
    methods, splits = (list(dict.fromkeys(values)) for values in zip(*places, strict=True))
    tables = {metric: _table(metric, methods, splits, places) for metric in chosen}
    return [block for metric, table in tables.items() for block in (Heading(label_of(metric)), table)]


def _has(entry: Entry, metric: str) -> bool:
    return metric in entry.result.overall.metrics or metric in _beyond(entry.result, OVERALL)


def _beyond(result: Result, column: str) -> Mapping[str, float]:
    part = result.beyond.get(column) or (result.beyond.get(OVERALL) if len(result.locales) == 1 else None)
    return {} if part is None else part.metrics


def _table(metric: str, methods: Sequence[str], splits: Sequence[str], places: dict[tuple[str, str], Result]) -> Table:
    header, columns = ["method"], []
    for split in splits:
        held = [places[method, split] for method in methods if (method, split) in places]
        locales = list(dict.fromkeys(name for result in held for name in result.locales))
        for column in [*locales, OVERALL, *([MACRO] if len(locales) > 1 else [])]:
            header.append(f"{split} {column}".strip())
            columns.append([_value(places.get((method, split)), column, metric) for method in methods])
    cells = [_marked(column, metric) for column in columns]
    rows = [[method, *(column[row] for column in cells)] for row, method in enumerate(methods)]
    return Table(header, rows)


def _value(result: Result | None, column: str, metric: str) -> float | None:
    if result is None:
        return None
    if metric not in result.overall.metrics:
        return _beyond(result, column).get(metric)
    if column == OVERALL:
        return result.overall.metrics[metric]
    if column == MACRO:
        return result.macro.get(metric)
    return result.locales[column].metrics.get(metric) if column in result.locales else None


def _marked(values: Sequence[float | None], metric: str) -> list[str]:
    known = [value for value in values if value is not None]
    accuracy = metric.partition("@")[0] not in BEYOND  # of the other measures more is not better
    best = max(known) if len(known) > 1 and accuracy else None
    shown = [_NO_VALUE if value is None else number(metric, value) for value in values]
    return [
        Markdown(f"**{text}**") if value is not None and value == best else text
        for text, value in zip(shown, values, strict=True)
    ]
