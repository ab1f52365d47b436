"""Do training rows repeat sessions to rank, with their labels? More of them than chance explains are refused.

Short sessions come again by chance: 3.6 % of the real Task-2 test sessions of phase 2 stand among the labelled ones of
phase 1, with targets of their own. How often that happens to sessions of a length is seen in the training rows
themselves, and in the sessions to rank, where one repeats another. A repeat that this rate explains is let through.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmrec.arrays import Ints
from llmrec.console import notice
from llmrec.data.connection import connected
from llmrec.data.sessions import read_sessions_file
from llmrec.errors import DataError
from llmrec.ragged import list_lengths, offsets_of

__all__ = [
    "LONGEST",
    "Overlap",
    "beyond_chance",
    "find_overlap",
    "overlap_of_files",
    "refuse_overlap",
    "repeat_rates",
    "stamped",
]

Keys = NDArray[np.uint64]

LONGEST: Final = 8  # sessions of so many items or more are looked at together
_DRIFT: Final = 2.0  # the odds of a repeat may be so many times those within the files: days and sales differ
_CHANCE: Final = math.log(1e-6)
_CHANCE_OF_ALL: Final = math.log(1e-2)  # where every session is repeated, as in a toy file, less is needed
_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Overlap:
    """Sessions to rank that training rows repeat, label included.

    Attributes:
        sessions: How many.
        of: Sessions to rank.
        expected: How many of them chance explains.
        first_row: The first of those that chance explains least, from 1.
        training_row: The training row that repeats it, from 1.
    """

    sessions: int
    of: int
    expected: float
    first_row: int
    training_row: int


def find_overlap(sequences: Any, locales: Any, prev_items: Any, session_locales: Any) -> Overlap | None:
    """Find training rows whose items, but for the last, are a session to rank of the same locale.

    Args:
        sequences: Arrow lists of ids to learn from, ``next_item`` last where there is one.
        locales: Their locales, Arrow strings.
        prev_items: Arrow lists of ids, the sessions to rank.
        session_locales: Their locales.

    Returns:
        What was found, or None where there is no repeat, or no more than chance explains.
    """
    known_keys, known_lengths = _keys(sequences, locales, cut=1)
    asked_keys, asked_lengths = _keys(prev_items, session_locales, cut=0)
    repeated = np.isin(asked_keys, known_keys) & (asked_lengths > 0)
    if not repeated.any():
        return None
    sizes = np.bincount(asked_lengths, minlength=LONGEST + 1)
    # rows alike in the label too count once: a file that is there twice would make every repeat look like chance
    _, distinct = np.unique(_keys(sequences, locales, cut=0)[0], return_index=True)
    rates = np.maximum(_rates(known_keys[distinct], known_lengths[distinct]), _rates(asked_keys, asked_lengths))
    length, expected = beyond_chance(np.bincount(asked_lengths[repeated], minlength=LONGEST + 1), sizes, rates)
    if length is None:
        return None
    likeliest = repeated & (asked_lengths == length)
    first = int(np.argmax(likeliest if likeliest.any() else repeated))
    row = int(np.argmax(known_keys == asked_keys[first]))
    return Overlap(int(repeated.sum()), len(asked_keys), expected, first + 1, row + 1)


def beyond_chance(found: Any, sizes: Any, rates: Any) -> tuple[int | None, float]:
    """The length of session whose repeats chance explains least, None where it explains all; and what it explains.

    Args:
        found: Shape ``(LONGEST + 1,)``; repeats among the sessions of each length.
        sizes: How many sessions of each length there are.
        rates: From `repeat_rates`.
    """
    expected, every = sizes * rates, found[1:].sum() == sizes[1:].sum() > 1
    total = _log_chance(int(found[1:].sum()), int(sizes[1:].sum()), float(expected[1:].sum() / sizes[1:].sum()))
    groups = [_log_chance(*group) for group in zip(found[1:], sizes[1:], rates[1:], strict=True)]
    if min(total, *groups) >= _CHANCE and not (every and total < _CHANCE_OF_ALL):
        return None, round(float(expected[1:].sum()), 1)
    return 1 + int(np.argmin(groups)), round(float(expected[1:].sum()), 1)


def overlap_of_files(train: Sequence[Path], sessions: Path) -> Overlap | None:
    """`find_overlap` of files.

    Raises:
        DataError: one is missing or malformed.
    """
    read = [_read(file, labels=True) for file in train]
    asked, locales = _read(sessions, labels=False)
    sequences, known = ([part[place] for part in read] for place in (0, 1))
    return find_overlap(pa.concat_arrays(sequences), pa.concat_arrays(known), asked, locales)


def refuse_overlap(overlap: Overlap | None, train: Sequence[Path], sessions: str, allow: bool) -> Overlap | None:
    """Refuse training rows that repeat sessions to rank with their labels, unless the user lets them through.

    Args:
        overlap: From `find_overlap`.
        train: Training files, in the order their rows were read.
        sessions: Name of the file, or split, to rank.
        allow: Whether ``--allow-overlap`` was given.

    Returns:
        ``overlap``, for the run's sidecar (`stamped`).

    Raises:
        DataError: there is overlap, and it was not allowed.
    """
    if overlap is None:
        return None
    files = ", ".join(file.name for file in train)
    message = (
        f"{files}: training rows repeat {overlap.sessions:,} of the {overlap.of:,} sessions of {sessions}, label "
        f"included (chance explains about {overlap.expected:,.0f}); for instance row {overlap.first_row:,}, "
        f"training row {overlap.training_row:,}"
    )
    if not allow:
        raise DataError(f"{message}; leave these rows out, or add --allow-overlap: the run will say so")
    notice(f"{message}; allowed, and the run says so")
    return overlap


def stamped(overlap: Overlap | None) -> dict[str, Any]:
    """What a run's sidecar says of overlap that was allowed; nothing where there is none."""
    return {} if overlap is None else {"overlap": asdict(overlap)}


def _read(file: Path, labels: bool) -> tuple[Any, Any]:
    """Lists of ids, ``next_item`` last where it is there and wanted, and locales."""
    with connected() as con:
        table = read_sessions_file(con, file)
        items = table.prev_items
        if labels and "next_item" in table.columns:
            items = ibis.ifelse(table.next_item.isnull(), items, items.concat(ibis.array([table.next_item])))
        columns = con.to_pyarrow(table.select(items=items, locale=table.locale))
    return _plain(columns["items"]), pc.fill_null(_plain(columns["locale"]), "")


def _keys(lists: Any, locales: Any, cut: int) -> tuple[Keys, Ints]:
    """A number for each row's locale and items, the last ``cut`` left out; and how many items that are, capped."""
    lists, locales = _plain(lists), _plain(locales)
    if not len(lists):
        return np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64)
    whole = list_lengths(lists)
    lengths, starts = np.maximum(whole - cut, 0), offsets_of(whole)
    words = _hashes(lists.flatten())
    keys = _hashes(pc.fill_null(locales, "")) * _FACTOR
    for place in range(int(lengths.max(initial=0))):  # a place at a time: a row is few items long, and rows are many
        rows = np.flatnonzero(lengths > place)
        keys[rows] = (keys[rows] ^ words[starts[rows] + place]) * _FACTOR
        keys[rows] ^= keys[rows] >> np.uint64(29)
    keys ^= lengths.astype(np.uint64)
    return keys, np.minimum(lengths, LONGEST)


def _plain(array: Any) -> Any:
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _hashes(texts: Any) -> Keys:
    """A 64-bit number for each text, the same for equal texts of all calls."""
    encoded = _plain(texts).dictionary_encode()
    names = encoded.dictionary.to_pylist()
    numbers = np.fromiter((_number(name) for name in names), dtype=np.uint64, count=len(names))
    places: Ints = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return np.append(numbers, np.uint64(0))[places]


def _number(text: str | None) -> int:
    return hash(text) & 0xFFFFFFFFFFFFFFFF  # alike within a process, which is all that is needed


def _rates(keys: Keys, lengths: Ints) -> NDArray[np.float64]:
    """`repeat_rates` of rows by their keys, for lengths from 0 to `LONGEST`."""
    _, places, counts = np.unique(keys, return_inverse=True, return_counts=True)
    twice = counts[places] > 1
    size, found = (np.bincount(lengths[rows], minlength=LONGEST + 1) for rows in (slice(None), twice))
    return repeat_rates(found, size)


def repeat_rates(found: Any, size: Any) -> NDArray[np.float64]:
    """Share of rows of each length that another row repeats, of their numbers; few rows lean on all of them."""
    overall = (found.sum() + 0.1) / (size.sum() + 1)
    rates: NDArray[np.float64] = (found + overall) / (size + 1)
    return rates


def _log_chance(found: int, of: int, rate: float) -> float:
    """Chernoff's bound on the logarithm of the chance that ``found`` of some sessions are repeats, with drift."""
    rate = _DRIFT * rate / (1 + (_DRIFT - 1) * rate)
    if found <= of * rate:
        return 0.0
    rest = of - found
    return float(found * math.log(of * rate / found) + (rest * math.log(of * (1 - rate) / rest) if rest else 0.0))
