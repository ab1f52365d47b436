"""Items seen together in sessions, as pairs to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmrec.arrays import Ints
from llmrec.data.connection import connected
from llmrec.data.sessions import read_sessions_file
from llmrec.errors import DataError
from llmrec.ragged import UNKNOWN, Ragged, list_lengths, offsets_of, row_numbers
from llmrec.vocabulary import Vocabulary, product_keys
from llmrec.within import places_among

__all__ = [
    "HeldSessions",
    "Pairs",
    "read_session_items",
    "session_pairs",
    "without_futures",
]


_TAIL: Final = 3
_PRIME: Final = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class HeldSessions:
    """Sessions parted from their last item.

    Attributes:
        prefixes: What is known, ``S`` sessions of at least one item.
        targets: What came next, shape ``(S,)``.
    """

    prefixes: Ragged
    targets: Ints

    @classmethod
    def of(cls, sessions: Ragged) -> HeldSessions:
        """Part sessions of at least two items."""
        return cls(sessions.without_last(), sessions.ends)


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
        found: NDArray[np.bool_] = (rows == columns) | (places_among(self.keys, wanted) != UNKNOWN)
        return found


def read_session_items(files: Sequence[Path], products: Vocabulary) -> Ragged:
    """Sessions of files in time order, labelled or bare, as codes, without the items that are not among the products.

    Args:
        files: CSV or Parquet.
        products: Their `product_keys`; an item's code is its place there.

    Raises:
        DataError: a file is missing or malformed, or no session holds two known items.
    """
    joined = Ragged.joined([_read(file, products) for file in files])
    usable = np.flatnonzero(joined.lengths > 1)
    if not len(usable):
        named = ", ".join(file.name for file in files) or "no file"
        raise DataError(f"{named}: no session with two items that --products has; check ids and locales of both files")
    return joined.take(usable)


def _read(file: Path, products: Vocabulary) -> Ragged:
    with connected() as con:
        table = read_sessions_file(con, file)
        names = ["prev_items", "locale", *(["next_item"] if "next_item" in table.columns else [])]
        columns = con.to_pyarrow(table.select(*names))
    lists = columns["prev_items"].cast(pa.list_(pa.string())).combine_chunks()
    locales = pc.fill_null(columns["locale"].cast(pa.string()), "").combine_chunks()
    lengths = list_lengths(lists)
    ends, rows = offsets_of(lengths)[1:], row_numbers(lengths)
    codes = products.encode(product_keys(locales.take(pa.array(rows)), lists.flatten()))
    if "next_item" in names:
        targets = products.encode(product_keys(locales, columns["next_item"].combine_chunks()))
        codes, rows = np.insert(codes, ends, targets), np.insert(rows, ends, np.arange(len(lists)))
    return Ragged(offsets_of(np.bincount(rows, minlength=len(lists))), codes).kept(codes >= 0)


def session_pairs(sessions: Ragged, num_items: int, *, window: int, decay: float) -> Pairs:
    """Pairs of different items at most ``window`` steps apart; a pair ``d`` apart weighs ``decay ** (d - 1)``."""
    keys, weights = [np.zeros(0, dtype=np.int64)], [np.zeros(0)]
    for distance in range(1, window + 1):
        one, other = (sessions.values[places] for places in sessions.apart(distance))
        together = one != other
        one, other = one[together], other[together]
        keys.append(np.minimum(one, other) * num_items + np.maximum(one, other))
        weights.append(np.full(len(one), decay ** (distance - 1)))
    distinct, places = np.unique(np.concatenate(keys), return_inverse=True)
    summed = np.bincount(places, np.concatenate(weights), len(distinct)).astype(np.float64)
    return Pairs(distinct // num_items, distinct % num_items, summed, num_items)


def without_futures(sessions: Ragged, held: HeldSessions) -> Ragged:
    """Sessions without those that go on as a held one did: the longer histories of the same customer.

    A session goes when it starts with a held session's items and its target, or, for a held session of `_TAIL` items or
    more, when it holds the last `_TAIL` of them and the target anywhere.
    """
    whole = np.insert(held.prefixes.values, held.prefixes.offsets[1:], held.targets)
    ends = held.prefixes.offsets[1:] + np.arange(len(held.targets))  # place of each target
    lengths = held.prefixes.lengths
    gone = np.zeros(len(sessions), dtype=np.bool_)
    for size in range(1, _TAIL + 1):
        usable = lengths == size if size < _TAIL else lengths >= size
        looked_for = _stretches(whole, size + 1)[ends[usable] - size]
        if len(sessions.values) <= size:
            continue
        found = np.isin(_stretches(sessions.values, size + 1), looked_for)
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
