"""The best, the first and the rank within each session: quick ways against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from llmrec import within
from llmrec.within import (
    best_of_each,
    best_within,
    fill_up,
    first_k,
    grouped,
    highest_within,
    is_among,
    nth_within,
    order_within,
    places_among,
    rank_within,
    starts_anew,
    sum_candidates,
    top_k_candidates,
)

# Sessions of candidates: each a list of (item, value); values are few, so that many tie.
VALUES = st.sampled_from([-np.inf, -1.5, -0.0, 0.0, 1.0, 1.0 + 1e-12, 2.0])
SESSIONS = st.lists(st.dictionaries(st.integers(0, 9), VALUES, max_size=8), min_size=1, max_size=6)


def test_best_first_ties_to_the_smaller_code() -> None:
    rows, codes = np.array([0, 0, 0, 2, 2]), np.array([9, 4, 7, 1, 0])
    ranked, scores = top_k_candidates(rows, codes, np.array([1.0, 1.0, 2.0, -0.0, 0.0]), 3, 2)
    assert ranked.tolist() == [[7, 4], [-1, -1], [0, 1]]
    assert scores.tolist() == [[2, 1], [-np.inf, -np.inf], [0, 0]]


@pytest.mark.parametrize("largest_code", [50, (1 << 32) - 1])
@pytest.mark.parametrize("sizes", [[30] * 20, [0, 1, 50, 2, 3, 17, 33, 0, 32, 31, 49, 8, 7, 50, 1, 0, 5, 44, 12, 0]])
def test_top_k_equals_sorting_each_session(largest_code: int, sizes: list[int]) -> None:
    rng = np.random.default_rng(0)
    rows = np.repeat(np.arange(20), sizes)
    codes = np.concatenate([rng.permutation(50)[:size] for size in sizes]) * (largest_code // 50)
    scores = rng.integers(-3, 4, size=len(rows)) / 2
    shuffled = rng.permutation(len(rows))
    ranked, values = top_k_candidates(rows[shuffled], codes[shuffled], scores[shuffled], 20, 10)
    for row in range(20):
        expected = sorted(zip(-scores[rows == row], codes[rows == row], strict=True))[:10]
        assert list(zip(-values[row], ranked[row], strict=True))[: len(expected)] == expected
        assert (ranked[row, len(expected) :] == -1).all()


@pytest.mark.parametrize("sizes", [[90, 0, 3, 60], [40, 40, 40]])
def test_a_cut_before_sorting_changes_nothing(sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    rows = np.repeat(np.arange(len(sizes)), sizes)
    codes = np.concatenate([rng.permutation(200)[:size] for size in sizes])
    scores = rng.integers(0, 9, len(rows)) / 7  # few, so that many tie
    whole = top_k_candidates(rows, codes, scores, len(sizes), 5)
    monkeypatch.setattr(within, "_LONG", 0)
    near = within.near_best(scores, np.array(sizes), 5)
    assert 5 * (np.array(sizes) > 5).sum() <= len(near) < len(rows)
    for one, other in zip(whole, top_k_candidates(rows, codes, scores, len(sizes), 5), strict=True):
        np.testing.assert_array_equal(one, other)


def test_ranks_within_a_session_count_the_better_ones() -> None:
    rng = np.random.default_rng(1)
    rows = np.sort(rng.integers(0, 12, 300)) * 2  # some sessions have none
    values = np.where(rng.random(300) < 0.1, -np.inf, rng.integers(-3, 4, size=300) / 2)
    values[:2] = 0.0, -0.0
    better = (rows[:, None] == rows) & (values.astype("float32")[:, None] < values.astype("float32"))
    assert rank_within(rows, values).tolist() == (better.sum(axis=1) + 1).tolist()
    assert not len(rank_within(rows[:0], values[:0]))


def test_order_within_sessions_is_stable() -> None:
    rng = np.random.default_rng(2)
    rows, values = np.sort(rng.integers(0, 9, 200)), rng.integers(-3, 4, size=200) / 2
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
    rng = np.random.default_rng(1)
    for _ in range(50):
        lengths = rng.integers(0, 6, size=8)
        lists = np.stack([rng.permutation(20)[:5] for _ in range(8)])
        ranked = np.where(np.arange(5) < lengths[:, None], lists, -1)
        scores = np.where(ranked >= 0, 10.0 - np.arange(5), -np.inf).astype(np.float32)
        fillers = np.stack([rng.permutation(np.r_[np.arange(20), -1, -1])[:9] for _ in range(8)])
        excluded = rng.integers(-1, 20, size=(8, 3))
        expected = []
        for row in range(8):
            held = ranked[row][ranked[row] >= 0].tolist()
            fresh = [one for one in fillers[row] if one >= 0 and one not in held and one not in excluded[row]]
            expected.append((held + fresh + [-1] * 5)[:5])
        fill_up(ranked, scores, fillers, excluded)
        assert ranked.tolist() == expected
        assert (np.diff(np.where(ranked >= 0, scores, -100)) < 0).sum() >= (ranked >= 0).sum() - 8


def flat(sessions: list[dict[int, float]]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Rows, codes and values of sessions' candidates."""
    rows = [row for row, session in enumerate(sessions) for _ in session]
    codes = [code for session in sessions for code in session]
    values = [value for session in sessions for value in session.values()]
    return np.array(rows, np.int64), np.array(codes, np.int64), np.array(values, np.float64)


@given(SESSIONS, st.integers(1, 5))
def test_the_k_best_equal_a_loop_over_sessions(sessions: list[dict[int, float]], k: int) -> None:
    rows, codes, values = flat(sessions)
    ranked, scores = top_k_candidates(rows, codes, values, len(sessions), k)
    for row, session in enumerate(sessions):
        best = sorted(session.items(), key=lambda pair: (-np.float32(pair[1]), pair[0]))[:k]
        assert ranked[row].tolist() == [code for code, _ in best] + [-1] * (k - len(best))
        assert scores[row, : len(best)].tolist() == [np.float32(value) for _, value in best]


@given(SESSIONS, st.integers(1, 5))
def test_the_first_k_are_those_given_first(sessions: list[dict[int, float]], k: int) -> None:
    rows, codes, values = flat(sessions)
    ranked, scores = first_k(rows, codes, values, len(sessions), k)
    for row, session in enumerate(sessions):
        first = list(session.items())[:k]
        assert ranked[row].tolist() == [code for code, _ in first] + [-1] * (k - len(first))
        assert scores[row, : len(first)].tolist() == [np.float32(value) for _, value in first]


@given(SESSIONS, st.booleans())
def test_order_place_and_rank_equal_a_loop(sessions: list[dict[int, float]], exact: bool) -> None:
    rows, _, given_values = flat(sessions)
    values = given_values if exact else given_values.astype(np.float32)  # 1 + 1e-12 is 1 as float32
    order, places, ranks, start = [], [], [], 0
    for session in sessions:
        own = values[start : start + len(session)].tolist()
        order += [start + place for place in sorted(range(len(own)), key=lambda place: -own[place])]
        places += range(len(own))
        ranks += [1 + sum(other > one for other in own) for one in own]
        start += len(own)
    found = order_within(rows, given_values, exact=exact)
    assert (found[0].tolist(), found[1].tolist()) == (order, places)
    assert nth_within(rows).tolist() == places
    assert rank_within(rows, given_values, exact=exact).tolist() == ranks


@given(SESSIONS, st.integers(1, 3))
def test_the_best_of_each_session_equal_a_loop(sessions: list[dict[int, float]], count: int) -> None:
    rows, _, values = flat(sessions)
    expected, first, highest, start = [], [], [], 0
    for session in sessions:
        own = list(session.values())
        best = sorted(range(len(own)), key=lambda place: -own[place])[:count]
        expected += sorted(start + place for place in best)
        first.append(start + best[0] if best else -1)
        highest.append(max([*own, -1.0]))
        start += len(own)
    assert best_within(rows, values, count).tolist() == expected
    assert best_of_each(rows, values, len(sessions)).tolist() == first
    assert highest_within(rows, values, len(sessions), least=-1.0).tolist() == highest


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3))))
def test_groups_hold_equal_pairs_in_the_order_given(pairs: list[tuple[int, int]]) -> None:
    rows, codes = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
    order, starts = grouped(rows, codes, 4)
    found = [part.tolist() for part in np.split(order, starts[1:])] if len(starts) else []
    assert found == [[place for place, one in enumerate(pairs) if one == pair] for pair in sorted(set(pairs))]
    assert starts_anew(rows, codes).tolist() == [
        place == 0 or one != pairs[place - 1] for place, one in enumerate(pairs)
    ]


@given(st.lists(st.integers(0, 9), unique=True).map(sorted), st.lists(st.integers(0, 9)))
def test_places_among_ascending_keys_equal_a_loop(held: list[int], keys: list[int]) -> None:
    found = places_among(np.array(held, np.int64), np.array(keys, np.int64))
    assert found.tolist() == [held.index(key) if key in held else -1 for key in keys]


def test_the_highest_passes_over_what_is_not_known() -> None:
    rows, values = np.array([0, 0, 1]), np.array([np.nan, 2.0, np.nan], np.float32)
    assert highest_within(rows, values, 3).tolist() == [2.0, -np.inf, -np.inf]
