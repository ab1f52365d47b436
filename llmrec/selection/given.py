"""Runs given as sources of candidates: titles that a model wrote, or ids that a ranker listed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec.errors import DataError
from llmrec.evaluation.identity import check_sessions
from llmrec.evaluation.runs import Run, read_run
from llmrec.ragged import list_lengths, places_within, row_numbers
from llmrec.rankers.sessions import Sessions
from llmrec.selection.offers import GivenTitles
from llmrec.selection.table import TitleTable
from llmrec.text.ngrams import NO_TITLE, TitleBook

__all__ = ["given_titles", "read_given"]


_DAMPING: Final = 10.0  # a listed id weighs 1 / (this + rank), as in `llmrec blend`


def read_given(
    paths: Sequence[Path], sessions: Sessions, of: Path, table: TitleTable, limit: int | None = None
) -> list[Run]:
    """Read runs of the sessions to choose for.

    Args:
        paths: Run files.
        sessions: All sessions of their split.
        of: Where these are from.
        table: Titles of the store's products.
        limit: Number of the first sessions that are wanted, if not all; a run may go on behind them.

    Raises:
        DataError: a run is malformed, of other sessions, another length or order, lists nothing for a session, or names
            no product of the store.
    """
    wanted = sessions if limit is None else sessions.slice(0, limit)
    runs = [_checked(read_run(path), wanted.locales, table, limit is not None) for path in paths]
    fingerprint = sessions.fingerprint if runs else None
    for run in runs:
        check_sessions(run, fingerprint, of)
    return runs


def _checked(run: Run, locales: Any, table: TitleTable, limited: bool) -> Run:
    if limited and len(run) > len(locales):
        names, predictions = run.locales.slice(0, len(locales)), run.predictions.slice(0, len(locales))
        run = replace(run, locales=names, predictions=predictions)
    if len(run) != len(locales):
        raise DataError(f"{run.path}: {len(run):,} rows for {len(locales):,} sessions; give a run of the same split")
    differs = pc.not_equal(run.locales.combine_chunks(), locales)
    if pc.any(differs).as_py():
        row = pc.index(differs, True).as_py()
        raise DataError(
            f"{run.path}, row {row + 1}: locale '{run.locales[row]}' where the session's is '{locales[row]}'; give a "
            "run of the same split in its order"
        )
    if run.kind == "ranking":
        _refuse_foreign(run, table)
    return run


def _refuse_foreign(run: Run, table: TitleTable) -> None:
    lists = run.predictions.combine_chunks()
    empty = pc.equal(pc.list_value_length(lists), 0)
    if pc.any(empty).as_py():
        row = pc.index(empty, True).as_py()
        raise DataError(
            f"{run.path}, row {row + 1}: an empty list of candidates; rank again with a ranker that fills up"
        )
    listed = lists.flatten()
    if not (table.items.encode(pc.unique(listed)) >= 0).any():
        raise DataError(
            f"{run.path}, row 1: '{listed[0]}' and all other ids are no products of this store; another's run?"
        )


def given_titles(run: Run, start: int, count: int, table: TitleTable, first: int) -> tuple[GivenTitles, TitleBook]:
    """What a run says of sessions ``start`` to ``start + count``.

    Args:
        run: A checked run.
        start: First session.
        count: Number of sessions.
        table: Titles of the store's products.
        first: Place that the first title which is no product's will have in the book.

    Returns:
        The evidence, a session's weights adding up to 1, and the titles that are no product's.
    """
    rows, locales = (column.slice(start, count).combine_chunks() for column in (run.predictions, run.locales))
    if run.kind == "titles":
        written = [" ".join((text or "").split()) for text in rows.to_pylist()]
        told = np.array([place for place, text in enumerate(written) if text], dtype=np.int64)
        ones = np.ones(len(told))
        new = table.added([text for text in written if text], locales.take(pa.array(told)))
        return GivenTitles(told, np.arange(len(told)) + first, ones, ones), new
    lengths = list_lengths(rows)
    sessions, ranks = row_numbers(lengths), places_within(lengths) + 1
    titles = table.titles_of(locales.take(pa.array(sessions)), rows.flatten())
    known = titles != NO_TITLE
    sessions, weights = sessions[known], 1 / (_DAMPING + ranks[known])
    sums = np.bincount(sessions, weights=weights, minlength=len(rows))
    listed = GivenTitles(sessions, titles[known], weights / sums[sessions], np.ones(len(sessions)))
    return listed, table.added([], locales[:0])
