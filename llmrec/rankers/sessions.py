"""Sessions as rankers read them: Arrow columns of ids, and the same as codes in flat arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmrec.arrays import Ints
from llmrec.data.connection import connected
from llmrec.data.digests import rows_fingerprint, sessions_fingerprint
from llmrec.data.sessions import read_sessions_file
from llmrec.data.store import LabelledSessions
from llmrec.errors import DataError
from llmrec.ragged import UNKNOWN, Ragged, list_array, list_lengths, offsets_of, split_last
from llmrec.records import Count, Digest

__all__ = [
    "CodedSessions",
    "Origin",
    "Sessions",
    "TrainingSessions",
    "counts_by_locale",
    "read_labelled_files",
    "read_session_files",
    "read_training_files",
]


_ROUNDING: Final = 1e-9  # of a sum of fractions


@dataclass(frozen=True)
class Sessions:
    """Sessions to rank for, and with their next items sessions to learn from; `llmrec.sessions` makes them.

    Attributes:
        prev_items: Arrow lists of ids in time order, ``S`` of them; a list may be empty.
        locales: Arrow strings, ``S`` of them.
        next_items: Arrow strings, ``S`` of them, null where unknown; None where none is known. No ranking reads them.

    Example:
        >>> Sessions.of([["tea", "cup"], ["pot"]], ["UK", "DE"])
        Sessions(2: UK 1, DE 1; next items known of 0)
    """

    prev_items: Any
    locales: Any
    next_items: Any = None

    @classmethod
    def of(cls, prev_items: Sequence[Sequence[str]], locales: Sequence[str]) -> Sessions:
        """Sessions from plain lists.

        Args:
            prev_items: ``S`` lists of ids in time order.
            locales: ``S`` locales.
        """
        return cls(pa.array(prev_items, pa.list_(pa.string())), pa.array(locales, pa.string()))

    def __len__(self) -> int:
        return len(self.locales)

    def __repr__(self) -> str:
        counts = Counter(self.locales.to_pylist()).most_common(6)
        shops = ", ".join(f"{locale} {count:,}" for locale, count in counts)
        known = 0 if self.next_items is None else len(self.next_items) - self.next_items.null_count
        return f"Sessions({len(self):,}: {shops}; next items known of {known:,})"

    @property
    def fingerprint(self) -> str:
        """What a run of them is bound to, see `llmrec.data.digests.sessions_fingerprint`."""
        return sessions_fingerprint(self.prev_items, self.locales)

    def slice(self, start: int, count: int) -> Sessions:
        """Some sessions, without a copy.

        Args:
            start: Row of the first, from 0.
            count: How many, fewer at the end.
        """
        ends = None if self.next_items is None else self.next_items.slice(start, count)
        return Sessions(self.prev_items.slice(start, count), self.locales.slice(start, count), ends)

    def training(self) -> TrainingSessions:
        """The same sessions as something to learn from; ``next_item`` ends a session where it is known."""
        if self.next_items is None:
            return self.bare()
        labelled = self.next_items.is_valid().to_numpy(zero_copy_only=False)
        return TrainingSessions(_append(self.prev_items, self.next_items), self.locales, labelled)

    def bare(self) -> TrainingSessions:
        """The same sessions as something to learn from: their own consecutive items (transductive use)."""
        return TrainingSessions(self.prev_items, self.locales, np.zeros(len(self), dtype=np.bool_))


class Origin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where training sessions came from: a file's name, empty for what was no file, and what tells its rows."""

    name: str
    sessions: Count
    fingerprint: Digest


@dataclass(frozen=True)
class TrainingSessions:
    """Sessions to learn from; a ranker's ``fit`` takes nothing else.

    A store hands out its labelled splits alone, never a test split's targets. Of files that a user names, the commands
    refuse those whose rows repeat the sessions to rank with their labels (`llmrec.data.overlap`).

    Attributes:
        sequences: Arrow lists of ids in time order, ``S`` of them; the last is ``next_item`` where labelled.
        locales: Arrow strings, ``S`` of them.
        labelled: Shape ``(S,)``; whether the sequence ends with a ``next_item``.
        files: Of each file that they were read from; empty for what was no file.
    """

    sequences: Any
    locales: Any
    labelled: NDArray[np.bool_]
    files: tuple[Origin, ...] = ()

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

    def without_last(self) -> tuple[Sessions, Any]:
        """The sessions without their last items, and these, as Arrow strings, null for an empty session."""
        lists, ends = split_last(self.sequences)
        return Sessions(lists, self.locales), ends

    def joined(self, *others: TrainingSessions) -> TrainingSessions:
        """These sessions, then the others."""
        every = (self, *others)
        return TrainingSessions(
            pa.concat_arrays([one.sequences for one in every]),
            pa.concat_arrays([one.locales for one in every]),
            np.concatenate([one.labelled for one in every]),
            tuple(file for one in every for file in one.files),
        )

    def origins(self) -> tuple[Origin, ...]:
        """`files`, or one without a name where there are none."""
        return self.files or (self._origin(""),)

    def of_file(self, name: str) -> TrainingSessions:
        """The same sessions, which a file of this name holds."""
        return replace(self, files=(self._origin(name),))

    def _origin(self, name: str) -> Origin:
        return Origin(name=name, sessions=len(self), fingerprint=rows_fingerprint(self.locales, self.sequences))


@dataclass(frozen=True, eq=False)
class CodedSessions(Ragged):
    """Sessions as codes of a catalogue: session ``i`` is ``items[offsets[i]:offsets[i + 1]]``.

    Attributes:
        offsets: Shape ``(S + 1,)``.
        values: Shape ``(T,)``; `items`.
        locales: Shape ``(S,)``; places in the catalogue's locales, ``len(locales)`` for one it does not have.
        labelled: Shape ``(S,)``; whether the last item is a session's ``next_item``. None for sessions to rank for.
        weights: Shape ``(S,)``; how much each counts where old ones have faded. None: each counts once.
    """

    locales: Ints
    labelled: NDArray[np.bool_] | None = None
    weights: NDArray[np.float64] | None = None

    @property
    def items(self) -> Ints:
        """Codes, shape ``(T,)``; -1 for an item that the catalogue does not have (never in training)."""
        return self.values

    @property
    def with_label(self) -> NDArray[np.bool_]:
        """`labelled`, shape ``(S,)``, and False for all where there is none."""
        return np.zeros(len(self), dtype=np.bool_) if self.labelled is None else self.labelled

    def known(self) -> CodedSessions:
        """The same sessions without the items that the catalogue does not have."""
        keep = self.items != UNKNOWN
        return self if keep.all() else self.kept(keep)

    def take(self, rows: Ints) -> CodedSessions:
        """The sessions of some rows."""
        return replace(super().take(rows), **self._of_rows(rows))

    def slice(self, start: int, count: int) -> CodedSessions:
        """Sessions ``start`` to ``start + count``, without a copy of their items."""
        return replace(super().slice(start, count), **self._of_rows(slice(start, start + count)))

    def _of_rows(self, rows: Any) -> dict[str, Any]:
        """What is known of some sessions beside their items."""
        held = {"locales": self.locales, "labelled": self.labelled, "weights": self.weights}
        return {name: None if values is None else values[rows] for name, values in held.items()}

    def followed_by(self, others: CodedSessions) -> CodedSessions:
        """These sessions, then others of the same catalogue."""
        together = Ragged.joined([self, others])
        weights = None
        if self.weights is not None or others.weights is not None:
            weights = np.concatenate(
                [np.ones(len(one)) if one.weights is None else one.weights for one in (self, others)]
            )
        return CodedSessions(
            together.offsets,
            together.values,
            np.concatenate([self.locales, others.locales]),
            np.concatenate([self.with_label, others.with_label]),
            None if weights is None else np.concatenate(weights),
        )

    def without_last(self, rows: NDArray[np.bool_] | None = None) -> CodedSessions:
        """The same sessions, bare of the last item, all or where ``rows``, shape ``(S,)``, says so; no label then."""
        labelled = None if self.labelled is None else self.labelled & (False if rows is None else ~rows)
        return replace(super().without_last(rows), labelled=labelled)

    def without_items(self, codes: Ints) -> CodedSessions:
        """The same sessions bare of some items; one whose ``next_item`` goes is no longer labelled."""
        labelled = None if self.labelled is None else self.labelled & ~np.isin(self.ends, codes)
        return replace(self.kept(~np.isin(self.items, codes)), labelled=labelled)

    def counts(self, num_locales: int, num_items: int) -> Ints:
        """How often a locale's sessions hold an item, shape ``(num_locales + 1, num_items)``; the last is unknown's.

        What has faded is rounded up: an item that was ever there stays there.
        """
        counts = self.weighed_counts(num_locales, num_items)
        return counts if self.weights is None else np.ceil(counts - _ROUNDING).astype(np.int64)

    def weighed_counts(self, num_locales: int, num_items: int) -> NDArray[Any]:
        """`counts`, with fractions where sessions have faded."""
        weights = None if self.weights is None else self.weights[self.rows]
        return counts_by_locale(self.locales[self.rows], self.items, num_locales, num_items, weights)


def counts_by_locale(
    locales: Ints, items: Ints, num_locales: int, num_items: int, weights: NDArray[np.float64] | None = None
) -> NDArray[Any]:
    """How often each (locale, item) is there, shape ``(num_locales + 1, num_items)``; the last row is unknown's."""
    counts = np.bincount(locales * num_items + items, weights, minlength=(num_locales + 1) * num_items)
    return counts.reshape(num_locales + 1, num_items)


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


def read_labelled_files(files: Iterable[Path]) -> Sessions:
    """Sessions of files with their next items, those that have any.

    Raises:
        DataError: a file is missing or malformed.
    """
    parts = [_labelled(file) for file in files]
    ends = None
    if any(part.next_items is not None for part in parts):
        ends = [pa.nulls(len(part), pa.string()) if part.next_items is None else part.next_items for part in parts]
    return Sessions(
        pa.concat_arrays([part.prev_items for part in parts]),
        pa.concat_arrays([part.locales for part in parts]),
        None if ends is None else pa.concat_arrays(ends),
    )


def _labelled(path: Path) -> Sessions:
    table = _read(path, labels=True)
    return Sessions(table["prev_items"], table["locale"], table.get("next_item"))


def read_training_files(files: Iterable[Path] | LabelledSessions) -> TrainingSessions:
    """Sessions to learn from: labelled ones (``next_item`` present), bare ones, or files of both kinds.

    Raises:
        DataError: a file is missing or malformed, or all of them together hold no session of an item.
    """
    paths = list(files.files if isinstance(files, LabelledSessions) else files)
    if twice := [path for path, times in Counter(path.resolve() for path in paths).items() if times > 1]:
        raise DataError(f"{twice[0].name}: given twice as training sessions; its rows would repeat each other's labels")
    parts = [_labelled(path).training().of_file(path.name) for path in paths]
    if not sum(len(part.sequences.flatten()) for part in parts):
        named = ", ".join(path.name for path in paths) or "no file"
        raise DataError(f"{named}: no session to learn from; give a file of sessions that hold items to --train")
    return parts[0].joined(*parts[1:])


def _append(lists: Any, last: Any) -> Any:
    """Lists with one more element at the end of each; a null adds nothing."""
    one = pc.is_valid(last).cast(pa.int64()).to_numpy(zero_copy_only=False)
    offsets = offsets_of(list_lengths(lists) + one)
    size = len(lists.flatten())
    places = np.empty(int(offsets[-1]), dtype=np.int64)
    ends = np.zeros(len(places), dtype=np.bool_)
    ends[offsets[1:][one > 0] - 1] = True
    places[~ends] = np.arange(size)
    places[ends] = size + np.flatnonzero(one)
    values = pa.concat_arrays([lists.flatten(), last]).take(pa.array(places))
    return list_array(offsets, values)


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
