"""The k best of many candidates: quick ways against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.rankers.csr import NO_WEIGHTS, Csr
from llmrec.rankers.topk import fill_up, is_among, order_within, rank_within, sum_candidates, top_k_candidates


def test_best_first_ties_to_the_smaller_code() -> None:
    rows, codes = np.array([0, 0, 0, 2, 2]), np.array([9, 4, 7, 1, 0])
    ranked, scores = top_k_candidates(rows, codes, np.array([1.0, 1.0, 2.0, -0.0, 0.0]), 3, 2)
    assert ranked.tolist() == [[7, 4], [-1, -1], [0, 1]]
    assert scores.tolist() == [[2, 1], [-np.inf, -np.inf], [0, 0]]


@pytest.mark.parametrize("largest_code", [50, (1 << 32) - 1])
@pytest.mark.parametrize("sizes", [[30] * 20, [0, 1, 50, 2, 3, 17, 33, 0, 32, 31, 49, 8, 7, 50, 1, 0, 5, 44, 12, 0]])
def test_top_k_equals_sorting_each_session(largest_code: int, sizes: list[int]) -> None:
    chance = np.random.default_rng(0)
    rows = np.repeat(np.arange(20), sizes)
    codes = np.concatenate([chance.permutation(50)[:size] for size in sizes]) * (largest_code // 50)
    scores = chance.integers(-3, 4, size=len(rows)) / 2
    shuffled = chance.permutation(len(rows))
    ranked, values = top_k_candidates(rows[shuffled], codes[shuffled], scores[shuffled], 20, 10)
    for row in range(20):
        expected = sorted(zip(-scores[rows == row], codes[rows == row], strict=True))[:10]
        assert list(zip(-values[row], ranked[row], strict=True))[: len(expected)] == expected
        assert (ranked[row, len(expected) :] == -1).all()


def test_ranks_within_a_session_count_the_better_ones() -> None:
    chance = np.random.default_rng(1)
    rows = np.sort(chance.integers(0, 12, 300)) * 2  # some sessions have none
    values = np.where(chance.random(300) < 0.1, -np.inf, chance.integers(-3, 4, size=300) / 2)
    values[:2] = 0.0, -0.0
    better = (rows[:, None] == rows) & (values.astype("float32")[:, None] < values.astype("float32"))
    assert rank_within(rows, values).tolist() == (better.sum(axis=1) + 1).tolist()
    assert not len(rank_within(rows[:0], values[:0]))


def test_order_within_sessions_is_stable() -> None:
    chance = np.random.default_rng(2)
    rows, values = np.sort(chance.integers(0, 9, 200)), chance.integers(-3, 4, size=200) / 2
    order, place = order_within(rows, values)
    assert order.tolist() == np.lexsort((np.arange(200), -values, rows)).tolist()
    assert place.tolist() == [index - rows.tolist().index(row) for index, row in enumerate(rows.tolist())]


def test_no_candidates_give_empty_lists() -> None:
    none = np.zeros(0, dtype=np.int64)
    ranked, scores = top_k_candidates(none, none, np.zeros(0), 2, 3)
    assert (ranked == -1).all()
    assert (scores == -np.inf).all()


def test_weights_of_a_pair_add_up() -> None:
    rows, codes = np.array([1, 0, 1, 1]), np.array([5, 5, 2, 5])
    found = sum_candidates(rows, codes, np.array([0.5, 1.0, 2.0, 0.25]), 6)
    assert [one.tolist() for one in found] == [[0, 1, 1], [5, 2, 5], [1.0, 2.0, 0.75]]


def test_pairs_are_found_among_held_ones_and_none_stands_for_nothing() -> None:
    rows, codes = np.array([0, 0, 1, 1]), np.array([3, 4, 3, 9])
    held_rows, held_codes = np.array([0, 1, 1, 1]), np.array([4, 9, 9, -1])
    assert is_among(rows, codes, held_rows, held_codes, 10).tolist() == [False, True, False, True]
    assert not is_among(rows, codes, held_rows[:0], held_codes[:0], 10).any()


def test_fillers_come_after_the_list_one_lower_each() -> None:
    ranked, scores = (
        np.array([[5, -1, -1], [-1, -1, -1], [1, 2, 3]]),
        np.array([[2.0, -np.inf, -np.inf]] * 3, "float32"),
    )
    fillers = np.array([[5, -1, 6, 7, 8], [5, 6, -1, -1, -1], [9, 9, 9, 9, 9]])
    fill_up(ranked, scores, fillers, np.array([[7], [-1], [-1]]))
    assert ranked.tolist() == [[5, 6, 8], [5, 6, -1], [1, 2, 3]]
    assert scores[0].tolist() == [2, 1, 0]
    assert scores[1].tolist() == [-1, -2, -np.inf]


def test_filling_up_equals_a_loop_over_the_lists() -> None:
    chance = np.random.default_rng(1)
    for _ in range(50):
        lengths = chance.integers(0, 6, size=8)
        lists = np.stack([chance.permutation(20)[:5] for _ in range(8)])
        ranked = np.where(np.arange(5) < lengths[:, None], lists, -1)
        scores = np.where(ranked >= 0, 10.0 - np.arange(5), -np.inf).astype(np.float32)
        fillers = np.stack([chance.permutation(np.r_[np.arange(20), -1, -1])[:9] for _ in range(8)])
        excluded = chance.integers(-1, 20, size=(8, 3))
        expected = []
        for row in range(8):
            held = ranked[row][ranked[row] >= 0].tolist()
            fresh = [one for one in fillers[row] if one >= 0 and one not in held and one not in excluded[row]]
            expected.append((held + fresh + [-1] * 5)[:5])
        fill_up(ranked, scores, fillers, excluded)
        assert ranked.tolist() == expected
        assert (np.diff(np.where(ranked >= 0, scores, -100)) < 0).sum() >= (ranked >= 0).sum() - 8


def test_rows_in_flat_arrays() -> None:
    csr = Csr(np.array([0, 2, 2, 3]), np.array([7, 8, 9], np.int32), NO_WEIGHTS)
    lengths, places = csr.places(np.array([2, 0, 1]))
    assert lengths.tolist() == [1, 2, 0]
    assert csr.codes[places].tolist() == [9, 7, 8]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("offsets", [0, 2, 1, 3]),
        ("offsets", [0, 3]),
        ("offsets", [0, 1, 2, 2]),
        ("codes", [7, 8, 10]),
        ("codes", [-1, 8, 9]),
        ("weights", [1.0]),
    ],
)
def test_arrays_that_do_not_fit_are_refused(name: str, value: list[float]) -> None:
    arrays = Csr(np.array([0, 2, 2, 3]), np.array([7, 8, 9], np.int32), NO_WEIGHTS).arrays("rows")
    assert Csr.from_arrays(arrays, "rows", 3, 10).codes.tolist() == [7, 8, 9]
    changed = arrays | {f"rows.{name}": np.array(value, arrays[f"rows.{name}"].dtype)}
    with pytest.raises(ValueError, match="do not fit together"):
        Csr.from_arrays(changed, "rows", 3, 10)
