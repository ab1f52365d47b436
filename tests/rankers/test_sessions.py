"""Vocabulary, sessions and catalogue: what every ranker stands on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.errors import DataError
from llmrec.rankers import Sessions, TrainingSessions, read_session_files, read_training_files
from llmrec.rankers.catalogue import Catalogue, build_catalogue, catalogue_and_codes
from llmrec.rankers.sessions import CodedSessions
from llmrec.vocabulary import Vocabulary

IDS = st.text(min_size=1, max_size=6)
LISTS = st.lists(st.lists(IDS, max_size=5), min_size=1, max_size=8)


@given(st.lists(IDS, min_size=1), st.lists(IDS))
def test_codes_are_places_in_ascending_order(known: list[str], asked: list[str]) -> None:
    vocabulary = Vocabulary.of(pa.array(known, pa.string()))
    in_order = sorted(set(known), key=str.encode)
    assert vocabulary.ids.to_pylist() == in_order
    expected = [in_order.index(item) if item in known else -1 for item in asked]
    assert vocabulary.encode_list(asked).tolist() == expected
    # many lookups at once go through Arrow; both ways must agree
    assert vocabulary.encode(pa.array(asked * 50, pa.string())).tolist() == expected * 50
    assert vocabulary.decode(np.arange(len(vocabulary))).to_pylist() == in_order


@given(st.lists(IDS, min_size=1), st.lists(IDS, min_size=1))
def test_a_merged_vocabulary_keeps_every_item(first: list[str], second: list[str]) -> None:
    one, other = (Vocabulary.of(pa.array(ids, pa.string())) for ids in (first, second))
    both, places = one.merged(other)
    assert set(both.ids.to_pylist()) == {*first, *second}
    assert both.decode(places).to_pylist() == one.ids.to_pylist()


@given(LISTS)
def test_parts_of_coded_sessions_hold_the_same_items(lists: list[list[str]]) -> None:
    training = TrainingSessions.of([*lists, ["z"]], ["DE"] * (len(lists) + 1))
    coded = build_catalogue(training).encode_training(training)
    rows = np.arange(len(coded))[::-1]
    ids = Vocabulary.of(training.sequences.flatten()).ids.to_pylist()

    def as_lists(some: CodedSessions) -> list[list[str]]:
        return [
            [ids[code] for code in some.items[start:stop]]
            for start, stop in zip(some.offsets[:-1], some.offsets[1:], strict=True)
        ]

    assert as_lists(coded) == [*lists, ["z"]]
    assert as_lists(coded.take(rows)) == [*lists, ["z"]][::-1]
    assert as_lists(coded.last(2)) == [items[-2:] for items in [*lists, ["z"]]]


def test_unknown_items_can_be_left_out() -> None:
    catalogue = build_catalogue(TrainingSessions.of([["a", "b", "c"]], ["DE"]))
    coded = catalogue.encode(Sessions.of([["x", "b"], ["x"], [], ["c", "x", "a"]], ["DE", "FR", "DE", "DE"]))
    assert coded.items.tolist() == [-1, 1, -1, 2, -1, 0]
    assert coded.locales.tolist() == [0, 1, 0, 0]  # FR was not in training: the row after the last locale
    known = coded.known()
    assert known.items.tolist() == [1, 2, 0]
    assert known.offsets.tolist() == [0, 1, 1, 1, 3]


def test_a_slice_of_sessions_is_coded_as_itself() -> None:
    catalogue = build_catalogue(TrainingSessions.of([["a", "b", "c"]], ["DE"]))
    sessions = Sessions.of([["a"], ["b", "c"], ["c"]], ["DE"] * 3).slice(1, 2)
    coded = catalogue.encode(sessions)
    assert (coded.offsets.tolist(), coded.items.tolist()) == ([0, 2, 3], [1, 2, 2])


def test_popular_items_are_the_locales_own_then_everybodys() -> None:
    # DE: b twice, a once. FR: c three times. All: c 3, b 2, a 1.
    catalogue = build_catalogue(TrainingSessions.of([["b", "a"], ["b"], ["c", "c", "c"]], ["DE", "DE", "FR"]))
    assert catalogue.locales == ("DE", "FR")
    assert catalogue.popular.tolist() == [[1, 0, -1], [2, -1, -1], [2, 1, 0]]


def test_a_catalogue_survives_its_arrays() -> None:
    table = pa.table({"id": ["ü", "b"], "locale": ["DE", "FR"]})
    catalogue = build_catalogue(TrainingSessions.of([["ü", "b", "日本"]], ["DE"]), table)
    again = Catalogue.from_arrays(catalogue.arrays(), catalogue.locales)
    assert again.vocabulary.ids.to_pylist() == ["b", "ü", "日本"]
    assert again.sold is not None
    assert again.sold.tolist() == [[False, True, False], [True, True, True]]
    assert again.popular.tolist() == catalogue.popular.tolist()


def test_a_grown_catalogue_keeps_the_older_items_and_locales() -> None:
    old = build_catalogue(TrainingSessions.of([["b", "d", "d"]], ["UK"]))
    new = build_catalogue(TrainingSessions.of([["a", "b"]], ["FR"]), pa.table({"id": ["a"], "locale": ["FR"]}))
    grown, places = old.grown(new)
    assert grown.vocabulary.ids.to_pylist() == ["a", "b", "d"]
    assert places.tolist() == [1, 2]
    assert grown.locales == ("FR", "UK")
    assert grown.sold is not None
    assert grown.sold.tolist() == [[True, False, False], [True, True, True], [True, True, True]]
    assert grown.popular[1].tolist()[:2] == [2, 1]  # UK's own, in new codes: d before b


def write(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_training_files_may_be_labelled_bare_or_both(tmp_path: Path) -> None:
    labelled = write(tmp_path / "a.parquet", prev_items=[["x"], ["y", "z"]], next_item=["n", None], locale=["DE", "FR"])
    bare = write(tmp_path / "b.parquet", prev_items=[["p", "q"]], locale=["JP"])
    training = read_training_files([labelled, bare])
    assert training.sequences.to_pylist() == [["x", "n"], ["y", "z"], ["p", "q"]]
    assert training.labelled.tolist() == [True, False, False]
    assert training.locales.to_pylist() == ["DE", "FR", "JP"]


def test_targets_in_a_file_to_rank_for_are_not_read(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", prev_items=[["x"], []], next_item=["n", "m"], locale=["DE", "FR"])
    sessions = read_session_files(file)
    assert sessions.prev_items.to_pylist() == [["x"], []]
    assert sessions.bare().sequences.to_pylist() == [["x"], []]


def test_an_empty_training_file_is_one_line(tmp_path: Path) -> None:
    file = write(
        tmp_path / "empty.parquet",
        prev_items=pa.array([], pa.list_(pa.string())),
        next_item=pa.array([], pa.string()),
        locale=pa.array([], pa.string()),
    )
    with pytest.raises(DataError, match=r"^empty\.parquet: no session to learn from; .*--train$"):
        read_training_files([file])


def test_distinct_items_ages_and_rows_of_sessions() -> None:
    sessions = CodedSessions(np.array([0, 4, 4, 6]), np.array([3, 1, 3, 2, 5, 5]), np.zeros(3, dtype=np.int64))
    assert sessions.ages.tolist() == [3, 2, 1, 0, 1, 0]
    assert sessions.padded().tolist() == [[3, 1, 3, 2], [-1] * 4, [5, 5, -1, -1]]
    distinct = sessions.distinct()  # each where it stands last
    assert distinct.offsets.tolist() == [0, 3, 3, 4]
    assert distinct.items.tolist() == [1, 3, 2, 5]


@given(st.lists(IDS, min_size=1))
def test_coding_a_column_is_its_vocabulary_and_codes(items: list[str]) -> None:
    column = pa.array([*items, None], pa.string())
    vocabulary, codes = Vocabulary.coded(column)
    assert vocabulary.ids.equals(Vocabulary.of(column).ids)
    assert codes.tolist() == [*vocabulary.encode_list(items).tolist(), -1]


def test_the_catalogue_and_the_codes_come_together() -> None:
    training = TrainingSessions.of([["b", "a"], [], ["c", "c"]], ["DE", "DE", "FR"])
    catalogue, coded = catalogue_and_codes(training)
    encoded = catalogue.encode_training(training)
    assert coded.items.tolist() == encoded.items.tolist() == [1, 0, 2, 2]
    assert coded.offsets.tolist() == encoded.offsets.tolist()
    assert coded.locales.tolist() == encoded.locales.tolist() == [0, 0, 1]
