"""Rows in flat arrays: every operation against the same on plain lists."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from llmrec.ragged import (
    UNKNOWN,
    Ragged,
    flat_ranges,
    list_array,
    list_lengths,
    offsets_of,
    places_within,
    row_numbers,
    split_last,
)

ROWS = st.lists(st.lists(st.integers(0, 5), max_size=6), max_size=6)


def ragged(rows: list[list[int]]) -> Ragged:
    return Ragged(offsets_of([len(row) for row in rows]), np.array([one for row in rows for one in row], np.int64))


def lists(some: Ragged) -> list[list[int]]:
    assert some.offsets[0] == 0
    assert some.offsets[-1] == len(some.values)
    return [part.tolist() for part in np.split(some.values, some.offsets[1:-1])][: len(some)]


@given(ROWS)
def test_what_is_known_of_each_value_and_row(rows: list[list[int]]) -> None:
    some = ragged(rows)
    assert lists(some) == rows
    assert len(some) == len(rows)
    assert some.lengths.tolist() == [len(row) for row in rows]
    assert some.rows.tolist() == row_numbers(some.lengths).tolist() == [n for n, row in enumerate(rows) for _ in row]
    assert some.ages.tolist() == [len(row) - 1 - place for row in rows for place in range(len(row))]
    assert places_within(some.lengths).tolist() == [place for row in rows for place in range(len(row))]
    assert some.ends.tolist() == [row[-1] if row else UNKNOWN for row in rows]


@given(ROWS, st.data())
def test_some_rows(rows: list[list[int]], data: st.DataObject) -> None:
    some = ragged(rows)
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=8) if rows else st.just([]))
    wanted = np.array(chosen, np.int64)
    assert lists(some.take(wanted)) == [rows[one] for one in chosen]
    lengths, places = some.places(wanted)
    assert lengths.tolist() == [len(rows[one]) for one in chosen]
    assert some.values[places].tolist() == [value for one in chosen for value in rows[one]]
    start, count = data.draw(st.integers(0, len(rows))), data.draw(st.integers(0, 7))
    assert lists(some.slice(start, count)) == rows[start : start + count]
    age = data.draw(st.integers(0, 3))
    expected = [(place, rows[one][-1 - age]) for place, one in enumerate(chosen) if len(rows[one]) > age]
    assert list(zip(*some.from_end(wanted, age), strict=True)) == expected


@given(ROWS, st.integers(1, 3))
def test_two_values_of_a_row_some_places_apart(rows: list[list[int]], distance: int) -> None:
    some = ragged(rows)
    found = [some.values[places].tolist() for places in some.apart(distance)]
    expected = [pair for row in rows for pair in zip(row, row[distance:], strict=False)]
    assert list(zip(*found, strict=True)) == expected


@given(ROWS, st.data())
def test_some_values_of_each_row(rows: list[list[int]], data: st.DataObject) -> None:
    some = ragged(rows)
    count = data.draw(st.integers(1, 4))
    assert lists(some.last(count)) == [row[-count:] for row in rows]
    assert lists(some.kept(some.values > 2)) == [[value for value in row if value > 2] for row in rows]
    assert lists(some.without_last()) == [row[:-1] for row in rows]
    cut = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    shorter = [row[:-1] if one else row for one, row in zip(cut, rows, strict=True)]
    assert lists(some.without_last(np.array(cut, np.bool_))) == shorter
    latest = [[value for place, value in enumerate(row) if value not in row[place + 1 :]] for row in rows]
    assert lists(some.distinct()) == latest
    longest = max([1, *map(len, rows)])
    assert some.padded().tolist() == [row + [UNKNOWN] * (longest - len(row)) for row in rows]


@given(st.lists(ROWS, max_size=3))
def test_parts_follow_one_another(parts: list[list[list[int]]]) -> None:
    assert lists(Ragged.joined([ragged(part) for part in parts])) == [row for part in parts for row in part]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5))))
def test_ranges_follow_one_another(ranges: list[tuple[int, int]]) -> None:
    starts, lengths = (np.array([one[side] for one in ranges], np.int64) for side in (0, 1))
    expected = [number for start, length in ranges for number in range(start, start + length)]
    assert flat_ranges(starts, lengths).tolist() == expected


@given(ROWS)
def test_arrow_lists_there_and_back(rows: list[list[int]]) -> None:
    some = ragged(rows)
    column = list_array(some.offsets, pa.array(some.values))
    assert column.to_pylist() == rows
    assert list_lengths(column).tolist() == some.lengths.tolist()
    assert list_lengths(pa.array([[1], None], pa.list_(pa.int64()))).tolist() == [1, 0]


def test_arrow_lists_without_their_last_value_where_it_is_wanted() -> None:
    lists = pa.array([["a", "b"], [], ["c"], ["d", "e", "f"]])
    cut, ends = split_last(lists)
    assert cut.to_pylist() == [["a"], [], [], ["d", "e"]]
    assert ends.to_pylist() == ["b", None, "c", "f"]
    assert split_last(lists, np.array([True, True, False, False]))[0].to_pylist() == [["a"], [], ["c"], ["d", "e", "f"]]
