"""Items seen together in sessions, as pairs to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmrec.data.connection import connected
from llmrec.data.sessions import read_sessions_file
from llmrec.errors import DataError

__all__ = [
    "HeldSessions",
    "Pairs",
    "SessionItems",
    "product_keys",
    "read_session_items",
    "session_pairs",
    "without_futures",
]

Ints = NDArray[np.int64]

_SEPARATOR: Final = "\x1f"  # no id or locale holds it
_TAIL: Final = 3
_PRIME: Final = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class SessionItems:
    """Sessions as codes of products: session ``i`` is ``items[offsets[i]:offsets[i + 1]]``, in time order.

    Attributes:
        offsets: Shape ``(S + 1,)``.
        items: Shape ``(T,)``; the last one of a labelled session is its ``next_item``.
    """

    offsets: Ints
    items: Ints

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def take(self, rows: Ints) -> SessionItems:
        """The sessions of some rows."""
        lengths = np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        places = np.repeat(self.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return SessionItems(offsets, self.items[places])


@dataclass(frozen=True)
class HeldSessions:
    """Sessions parted from their last item.

    Attributes:
        prefixes: What is known, ``S`` sessions of at least one item.
        targets: What came next, shape ``(S,)``.
    """

    prefixes: SessionItems
    targets: Ints

    @classmethod
    def of(cls, sessions: SessionItems) -> HeldSessions:
        """Part sessions of at least two items."""
        ends = sessions.offsets[1:] - 1
        keep = np.ones(len(sessions.items), dtype=np.bool_)
        keep[ends] = False
        offsets = sessions.offsets - np.arange(len(sessions.offsets))
        return cls(SessionItems(offsets, sessions.items[keep]), sessions.items[ends])


@dataclass(frozen=True)
class Pairs:
    """Unordered pairs of different items, each once.

    Attributes:
        first: The smaller code, shape ``(P,)``.
        second: The larger code.
        weights: How often and how near they were seen together.
        num_items: Items that there are.
    """

    first: Ints
    second: Ints
    weights: NDArray[np.float64]
    num_items: int

    def __len__(self) -> int:
        return len(self.first)

    @property
    def keys(self) -> Ints:
        """One number a pair, ascending."""
        return self.first * self.num_items + self.second

    def known(self, rows: Ints, columns: Ints) -> NDArray[np.bool_]:
        """Whether items were seen together or are the same; of the shape that the two arrays broadcast to."""
        wanted = np.minimum(rows, columns) * self.num_items + np.maximum(rows, columns)
        keys = self.keys
        places = np.minimum(np.searchsorted(keys, wanted), max(0, len(keys) - 1))
        found: NDArray[np.bool_] = rows == columns
        return found | (keys[places] == wanted) if len(keys) else found


def product_keys(locales: Any, ids: Any) -> Any:
    """One Arrow text for each product: an id has another title in another locale."""
    return pc.binary_join_element_wise(locales.cast(pa.string()), ids.cast(pa.string()), _SEPARATOR)


def read_session_items(files: Sequence[Path], keys: Any) -> SessionItems:
    """Sessions of files, labelled or bare, without the items that are not among the products.

    Args:
        files: CSV or Parquet.
        keys: Distinct `product_keys`, an Arrow array; an item's code is its place there.

    Raises:
        DataError: a file is missing or malformed, or no session holds two known items.
    """
    parts = [_read(file, keys) for file in files]
    lengths = np.concatenate([np.diff(part.offsets) for part in parts]) if parts else np.zeros(0, dtype=np.int64)
    if not (lengths > 1).any():
        named = ", ".join(file.name for file in files) or "no file"
        raise DataError(f"{named}: no session with two items that --products has; check ids and locales of both files")
    joined = SessionItems(np.concatenate([[0], np.cumsum(lengths)]), np.concatenate([part.items for part in parts]))
    return joined.take(np.flatnonzero(lengths > 1))


def _read(file: Path, keys: Any) -> SessionItems:
    with connected() as con:
        table = read_sessions_file(con, file)
        names = ["prev_items", "locale", *(["next_item"] if "next_item" in table.columns else [])]
        columns = con.to_pyarrow(table.select(*names))
    lists = columns["prev_items"].cast(pa.list_(pa.string())).combine_chunks()
    locales = pc.fill_null(columns["locale"].cast(pa.string()), "").combine_chunks()
    ends = np.cumsum(lists.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64))
    rows = np.repeat(np.arange(len(lists)), np.diff(ends, prepend=0))
    codes = _codes(locales.take(pa.array(rows)), lists.flatten(), keys)
    if "next_item" in names:
        targets = _codes(locales, columns["next_item"].cast(pa.string()).combine_chunks(), keys)
        codes, rows = np.insert(codes, ends, targets), np.insert(rows, ends, np.arange(len(lists)))
    counted = np.bincount(rows[codes >= 0], minlength=len(lists))
    return SessionItems(np.concatenate([[0], np.cumsum(counted)]), codes[codes >= 0])


def _codes(locales: Any, ids: Any, keys: Any) -> Ints:
    """Places among the products; -1 for what is not there."""
    places = pc.fill_null(pc.index_in(product_keys(locales, ids), keys), -1)
    codes: Ints = places.to_numpy(zero_copy_only=False).astype(np.int64)
    return codes


def session_pairs(sessions: SessionItems, num_items: int, *, window: int, decay: float) -> Pairs:
    """Pairs of different items at most ``window`` steps apart; a pair ``d`` apart weighs ``decay ** (d - 1)``."""
    rows = np.repeat(np.arange(len(sessions)), np.diff(sessions.offsets))
    keys, weights = [np.zeros(0, dtype=np.int64)], [np.zeros(0)]
    for distance in range(1, window + 1):
        one, other = sessions.items[:-distance], sessions.items[distance:]
        together = (rows[:-distance] == rows[distance:]) & (one != other)
        one, other = one[together], other[together]
        keys.append(np.minimum(one, other) * num_items + np.maximum(one, other))
        weights.append(np.full(len(one), decay ** (distance - 1)))
    distinct, places = np.unique(np.concatenate(keys), return_inverse=True)
    summed = np.bincount(places, np.concatenate(weights), len(distinct)).astype(np.float64)
    return Pairs(distinct // num_items, distinct % num_items, summed, num_items)


def without_futures(sessions: SessionItems, held: HeldSessions) -> SessionItems:
    """Sessions without those that go on as a held one did: the longer histories of the same customer.

    A session goes when it starts with a held session's items and its target, or, for a held session of `_TAIL` items or
    more, when it holds the last `_TAIL` of them and the target anywhere.
    """
    whole = np.insert(held.prefixes.items, held.prefixes.offsets[1:], held.targets)
    ends = held.prefixes.offsets[1:] + np.arange(len(held.targets))  # place of each target
    lengths = np.diff(held.prefixes.offsets)
    gone = np.zeros(len(sessions), dtype=np.bool_)
    for size in range(1, _TAIL + 1):
        usable = lengths == size if size < _TAIL else lengths >= size
        looked_for = _stretches(whole, size + 1)[ends[usable] - size]
        if len(sessions.items) <= size:
            continue
        found = np.isin(_stretches(sessions.items, size + 1), looked_for)
        starts = np.flatnonzero(found)
        rows = np.searchsorted(sessions.offsets, starts, side="right") - 1
        inside = starts + size < sessions.offsets[rows + 1]
        if size < _TAIL:
            inside &= starts == sessions.offsets[rows]
        gone[rows[inside]] = True
    return sessions.take(np.flatnonzero(~gone))


def _stretches(items: Ints, length: int) -> NDArray[np.uint64]:
    """A number for each stretch of ``length`` consecutive items, shape ``(T - length + 1,)``."""
    mixed = np.zeros(len(items) - length + 1, dtype=np.uint64)
    for place in range(length):
        mixed = (mixed ^ items[place : len(items) - length + 1 + place].astype(np.uint64)) * _PRIME
        mixed ^= mixed >> np.uint64(29)
    return mixed
