"""Ids that were issued one after another."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.rankers.fusion.candidate_features.id_features import id_columns
from llmrec.rankers.fusion.candidates import Candidates
from llmrec.rankers.sessions import CodedSessions
from llmrec.vocabulary import Vocabulary

Columns = dict[str, np.ndarray]


def columns_of(ids: list[str], session: list[str], candidates: list[str]) -> Columns:
    vocabulary = Vocabulary.of(pa.array(ids))
    codes, items = vocabulary.encode_list(candidates), vocabulary.encode_list(session)
    sessions = CodedSessions(np.array([0, len(items)]), items, np.zeros(1, dtype=np.int64))
    nothing = np.zeros((len(codes), 1), dtype=np.float32)
    found = Candidates(np.zeros(len(codes), dtype=np.int64), codes, nothing, nothing, nothing[:, 0])
    return id_columns(vocabulary.numbers, sessions, found, 5)


def test_a_distance_is_the_number_of_last_places_that_differ() -> None:
    shown = columns_of(
        ["B07XJ8C8F5", "B07XJ8C8F6", "B07XJ8D8F5", "B09XJ8C8F5"],
        ["B07XJ8C8F5"],
        ["B07XJ8C8F6", "B07XJ8D8F5", "B09XJ8C8F5"],
    )
    assert shown["last"] == pytest.approx([np.log(2) / np.log(36), 3, np.log(2 * 36**7) / np.log(36)], abs=1e-3)
    assert shown["near"].tolist() == [1, 1, 0]
    assert shown["last_rank"].tolist() == [1, 2, 3]
    assert (shown["newer"] > 0).all()


def test_the_nearest_of_the_recent_items_counts_beside_the_last_one() -> None:
    shown = columns_of(["a000", "a001", "z000"], ["a000", "z000"], ["a001"])
    assert shown["least"][0] < 1 < shown["last"][0]
    assert shown["mean"][0] == pytest.approx((shown["least"][0] + shown["last"][0]) / 2)
    assert shown["newer"][0] < 0


def test_a_long_id_is_a_number_all_the_same() -> None:
    shown = columns_of(["z" * 64, "y" * 32, "a"], ["a"], ["y" * 32, "z" * 64])
    assert np.isfinite(shown["number"]).all()
    assert shown["last"] == pytest.approx([32, 64], abs=0.1)


def test_an_empty_session_tells_nothing() -> None:
    shown = columns_of(["a", "b"], [], ["a", "b"])
    assert np.isnan(shown["last"]).all()
    assert np.isnan(shown["least"]).all()
    assert shown["last_rank"].tolist() == [1, 1]


@given(st.lists(st.text(max_size=80), min_size=1, max_size=5, unique=True))
def test_any_text_is_a_number(ids: list[str]) -> None:
    numbers = Vocabulary(pa.array(ids)).numbers
    assert np.isfinite(numbers).all()
    assert (numbers >= 0).all()


def test_punctuation_and_case_do_not_count() -> None:
    assert len(set(Vocabulary(pa.array(["AB-12", "ab12", "A_B.12", "ab12"])).numbers)) == 1
    assert Vocabulary(pa.array(["", "-", "é"])).numbers.tolist() == [0, 0, 0]
