"""Sessions as rankers read them: Arrow columns of ids, and the same as codes in flat arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmrec.data.connection import connected
from llmrec.data.sessions import read_sessions_file
from llmrec.data.store import LabelledSessions
from llmrec.errors import DataError
from llmrec.rankers.vocabulary import UNKNOWN

__all__ = ["CodedSessions", "Sessions", "TrainingSessions", "read_session_files", "read_training_files"]

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Sessions:
    """Sessions to rank for.

    Attributes:
        prev_items: Arrow lists of ids in time order, ``S`` of them; a list may be empty.
        locales: Arrow strings, ``S`` of them.
    """

    prev_items: Any
    locales: Any

    @classmethod
    def of(cls, prev_items: Sequence[Sequence[str]], locales: Sequence[str]) -> Sessions:
        """Sessions from plain lists."""
        return cls(pa.array(prev_items, pa.list_(pa.string())), pa.array(locales, pa.string()))

    def __len__(self) -> int:
        return len(self.locales)

    def slice(self, start: int, count: int) -> Sessions:
        """Sessions ``start`` to ``start + count``, without a copy."""
        return Sessions(self.prev_items.slice(start, count), self.locales.slice(start, count))

    def bare(self) -> TrainingSessions:
        """The same sessions as something to learn from: their own consecutive items (transductive use)."""
        return TrainingSessions(self.prev_items, self.locales, np.zeros(len(self), dtype=np.bool_))


@dataclass(frozen=True)
class TrainingSessions:
    """Sessions to learn from; a ranker's ``fit`` takes nothing else, so a file of test targets cannot reach it.

    Attributes:
        sequences: Arrow lists of ids in time order, ``S`` of them; the last is ``next_item`` where labelled.
        locales: Arrow strings, ``S`` of them.
        labelled: Shape ``(S,)``; whether the sequence ends with a ``next_item``.
    """

    sequences: Any
    locales: Any
    labelled: NDArray[np.bool_]

    @classmethod
    def of(cls, sequences: Sequence[Sequence[str]], locales: Sequence[str], labelled: bool = True) -> TrainingSessions:
        """Training sessions from plain lists, ``next_item`` last in each."""
        lists, names = pa.array(sequences, pa.list_(pa.string())), pa.array(locales, pa.string())
        return cls(lists, names, np.full(len(names), labelled, dtype=np.bool_))

    def __len__(self) -> int:
        return len(self.locales)

    def take(self, rows: Ints) -> TrainingSessions:
        """The sessions of some rows."""
        places = pa.array(rows)
        return TrainingSessions(self.sequences.take(places), self.locales.take(places), self.labelled[rows])

    def joined(self, *others: TrainingSessions) -> TrainingSessions:
        """These sessions, then the others."""
        every = (self, *others)
        return TrainingSessions(
            pa.concat_arrays([one.sequences for one in every]),
            pa.concat_arrays([one.locales for one in every]),
            np.concatenate([one.labelled for one in every]),
        )


@dataclass(frozen=True)
class CodedSessions:
    """Sessions as codes of a catalogue: session ``i`` is ``items[offsets[i]:offsets[i + 1]]``.

    Attributes:
        offsets: Shape ``(S + 1,)``.
        items: Shape ``(T,)``; codes, -1 for an item that the catalogue does not have (never in training).
        locales: Shape ``(S,)``; places in the catalogue's locales, ``len(locales)`` for one it does not have.
        labelled: Shape ``(S,)``; whether the last item is a session's ``next_item``. None for sessions to rank for.
    """

    offsets: Ints
    items: Ints
    locales: Ints
    labelled: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.locales)

    @property
    def lengths(self) -> Ints:
        """Number of items of each session, shape ``(S,)``."""
        return np.diff(self.offsets)

    @property
    def rows(self) -> Ints:
        """Session of each item, shape ``(T,)``."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def known(self) -> CodedSessions:
        """The same sessions without the items that the catalogue does not have."""
        keep = self.items != UNKNOWN
        if keep.all():
            return self
        kept = np.concatenate([[0], np.cumsum(keep)])
        return CodedSessions(kept[self.offsets], self.items[keep], self.locales, self.labelled)

    def take(self, rows: Ints) -> CodedSessions:
        """The sessions of some rows."""
        lengths = self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        places = np.repeat(self.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        labelled = None if self.labelled is None else self.labelled[rows]
        return CodedSessions(offsets, self.items[places], self.locales[rows], labelled)

    def slice(self, start: int, count: int) -> CodedSessions:
        """Sessions ``start`` to ``start + count``, without a copy of their items."""
        offsets = self.offsets[start : start + count + 1]
        labelled = None if self.labelled is None else self.labelled[start : start + count]
        items = self.items[offsets[0] : offsets[-1]]
        return CodedSessions(offsets - offsets[0], items, self.locales[start : start + count], labelled)

    def without_last(self, rows: NDArray[np.bool_]) -> CodedSessions:
        """The same sessions, bare of the last item where ``rows``, shape ``(S,)``, says so."""
        cut = rows & (self.lengths > 0)
        keep = np.ones(len(self.items), dtype=np.bool_)
        keep[self.offsets[1:][cut] - 1] = False
        offsets = self.offsets - np.concatenate([[0], np.cumsum(cut)])
        labelled = None if self.labelled is None else self.labelled & ~rows
        return CodedSessions(offsets, self.items[keep], self.locales, labelled)

    def without_items(self, codes: Ints) -> CodedSessions:
        """The same sessions bare of some items; one whose ``next_item`` goes is no longer labelled."""
        keep = ~np.isin(self.items, codes)
        kept = np.concatenate([[0], np.cumsum(keep)])
        labelled = None
        if self.labelled is not None:
            labelled = self.labelled.copy()
            filled = self.lengths > 0
            labelled[filled] &= keep[self.offsets[1:][filled] - 1]
        return CodedSessions(kept[self.offsets], self.items[keep], self.locales, labelled)

    def last(self, count: int) -> CodedSessions:
        """The last ``count`` items of each session."""
        lengths = np.minimum(self.lengths, count)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        places = np.repeat(self.offsets[1:] - offsets[1:], lengths) + np.arange(offsets[-1])
        return CodedSessions(offsets, self.items[places], self.locales, self.labelled)

    @property
    def ages(self) -> Ints:
        """How many items of its session come after each item, shape ``(T,)``."""
        ages: Ints = np.repeat(self.offsets[1:], self.lengths) - 1 - np.arange(len(self.items))
        return ages

    def distinct(self) -> CodedSessions:
        """Each item of a session once, where it stands last."""
        rows = self.rows
        order = np.lexsort((self.items, rows))  # stable: the last of equal pairs is the latest
        ends = np.ones(len(order), dtype=np.bool_)
        ends[:-1] = (np.diff(rows[order]) != 0) | (np.diff(self.items[order]) != 0)
        places = np.sort(order[ends])
        offsets = np.concatenate([[0], np.cumsum(np.bincount(rows[places], minlength=len(self)))])
        return CodedSessions(offsets, self.items[places], self.locales, self.labelled)

    def padded(self) -> Ints:
        """Items as a matrix, shape ``(S, longest)``, -1 beyond a session's end."""
        lengths = self.lengths
        matrix = np.full((len(self), max(1, int(lengths.max(initial=0)))), UNKNOWN)
        matrix[np.arange(matrix.shape[1]) < lengths[:, None]] = self.items
        return matrix


def read_session_files(*files: Path) -> Sessions:
    """Sessions to rank for, in the files' order; targets that a file holds are left unread.

    Raises:
        DataError: a file is missing or malformed.
    """
    tables = [_read(file, labels=False) for file in files]
    return Sessions(
        pa.concat_arrays([table["prev_items"] for table in tables]),
        pa.concat_arrays([table["locale"] for table in tables]),
    )


def read_training_files(files: Iterable[Path] | LabelledSessions) -> TrainingSessions:
    """Sessions to learn from: labelled ones (``next_item`` present), bare ones, or files of both kinds.

    Raises:
        DataError: a file is missing or malformed, or all of them together hold no session of an item.
    """
    paths = list(files.files if isinstance(files, LabelledSessions) else files)
    parts = []
    for path in paths:
        table = _read(path, labels=True)
        if "next_item" in table:
            labelled = table["next_item"].is_valid().to_numpy(zero_copy_only=False)
            sequences = _append(table["prev_items"], table["next_item"])
        else:
            labelled = np.zeros(len(table["locale"]), dtype=np.bool_)
            sequences = table["prev_items"]
        parts.append(TrainingSessions(sequences, table["locale"], labelled))
    if not sum(len(part.sequences.flatten()) for part in parts):
        named = ", ".join(path.name for path in paths) or "no file"
        raise DataError(f"{named}: no session to learn from; give a file of sessions that hold items to --train")
    return parts[0].joined(*parts[1:])


def _append(lists: Any, last: Any) -> Any:
    """Lists with one more element at the end of each; a null adds nothing."""
    one = pc.is_valid(last).cast(pa.int64()).to_numpy(zero_copy_only=False)
    lengths = lists.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths + one)])
    size = len(lists.flatten())
    places = np.empty(int(offsets[-1]), dtype=np.int64)
    ends = np.zeros(len(places), dtype=np.bool_)
    ends[offsets[1:][one > 0] - 1] = True
    places[~ends] = np.arange(size)
    places[ends] = size + np.flatnonzero(one)
    values = pa.concat_arrays([lists.flatten(), last]).take(pa.array(places))
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values)


def _read(path: Path, labels: bool) -> dict[str, Any]:
    """Columns of a sessions file as plain Arrow arrays: ``prev_items``, ``locale`` and, if wanted, ``next_item``."""
    with connected() as con:
        table = read_sessions_file(con, path)
        names = ["prev_items", "locale", *(["next_item"] if labels and "next_item" in table.columns else [])]
        # the file's order, which is its time where it has no other
        columns = con.to_pyarrow(table.select(*names))
    kinds = {"prev_items": pa.list_(pa.string()), "locale": pa.string(), "next_item": pa.string()}
    plain = {name: columns[name].cast(kinds[name]).combine_chunks() for name in names}
    plain["locale"] = pc.fill_null(plain["locale"], "")
    return plain
