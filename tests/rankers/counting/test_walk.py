"""The walk over the co-visitation graph: shares worked by hand on a chain."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from llmrec.rankers import TrainingSessions
from llmrec.rankers.counting.walk import CovisitWalk, CovisitWalkSettings
from llmrec.rankers.counting.walking import nth_largest, walk
from llmrec.testing.ranker_contract import ITEMS, RankerContract, training_sessions

PLAIN: dict[str, Any] = {"forward": (1.0,), "backward": (), "source_power": 0.0, "hop_weight": 0.5}


class TestCovisitWalk(RankerContract):
    ranker = CovisitWalk
    settings = CovisitWalkSettings()


def fitted(sequences: list[list[str]], locales: list[str] | None = None, **changes: Any) -> CovisitWalk:
    training = TrainingSessions.of(sequences, locales or ["DE"] * len(sequences), labelled=False)
    return CovisitWalk(CovisitWalkSettings(**PLAIN | changes)).fit(training)


def test_each_step_counts_the_share_of_walks_that_arrive() -> None:
    # a → b 3/4, a → c 1/4, b → d, d → e: the second step weighs 1/2, the third 1/4
    ranker = fitted([["a", "b"], ["a", "b"], ["a", "b"], ["a", "c"], ["b", "d"], ["d", "e"]])
    ids, scores = ranker.rank_session(["a"], "DE", 4)
    assert ids == ["b", "d", "c", "e"]
    assert scores == pytest.approx([0.75, 0.75 * 0.5, 0.25, 0.75 * 0.25])


def test_fewer_steps_reach_less() -> None:
    ranker = fitted([["a", "b"], ["b", "c"]], steps=1)
    assert ranker.rank_session(["a"], "DE", 2)[1] == [1.0, 0.0]  # c only fills the list up


def test_only_the_best_items_of_a_step_go_on() -> None:
    ranker = fitted([["a", "b"], ["a", "b"], ["a", "c"], ["b", "d"], ["c", "e"]], steps=2, hop_items=1)
    ids, scores = ranker.rank_session(["a"], "DE", 4)
    # b 2/3, d by way of b; e, by way of c, only fills the list up: 1 below the last
    assert ids[:3] == ["b", "c", "d"] or ids[:3] == ["b", "d", "c"]
    assert (ids[3], scores[3]) == ("e", pytest.approx(min(scores[:3]) - 1))


def test_a_locale_is_offered_what_its_sessions_hold() -> None:
    ranker = fitted([["a", "b"], ["a", "c"], ["a", "c"]], ["FR", "DE", "DE"])
    assert ranker.rank_session(["a"], "FR", 1)[0] == ["b"]
    assert ranker.rank_session(["a"], "UK", 1)[0] == ["c"]  # an unknown locale: all of them


def test_a_session_alone_and_among_others_has_the_same_list() -> None:
    ranker = CovisitWalk(CovisitWalkSettings(hop_items=3, steps=3)).fit(training_sessions())
    sessions = [[*ITEMS[start : start + 4], ITEMS[start]] for start in range(0, 12, 2)] + [[], [ITEMS[0]]]
    ids, scores = ranker.rank(sessions, k=8, locale="DE")
    for items, own, values in zip(sessions, ids.to_pylist(), scores.to_pylist(), strict=True):
        assert ranker.rank_session(items, "DE", 8) == (own, values)


def test_what_ties_at_the_end_of_a_list_goes_by_code() -> None:
    ranker = fitted([["a", name] for name in "fbdec"], steps=1)
    for k in range(1, 6):
        assert ranker.rank_session(["a"], "DE", k)[0] == list("bcdef")[:k]


@pytest.mark.parametrize("values", [[3.0], [2.0, 1.0], [1.0, 1.0, 1.0, 0.5], [0.0, 5.0, 2.0, 5.0, -1.0, 7.0, 2.0]])
def test_the_nth_largest_is_found(values: list[float]) -> None:
    for nth, wanted in enumerate(sorted(values, reverse=True), 1):
        assert nth_largest(np.array(values, dtype=np.float32), nth) == wanted


def test_what_grows_beyond_all_numbers_is_left_out_and_written_nowhere() -> None:
    """A step may weigh more than a float32 holds, and times a share of 0 that is no number; others' lists stay."""
    drawn, size = np.random.default_rng(0), 40
    offsets = np.concatenate([[0, size], size + 2 * np.arange(1, size)])  # item 0 leads everywhere, others lead on
    shares = np.concatenate([drawn.random(size), np.zeros(2 * (size - 1))]).astype(np.float32)
    for _ in range(300):
        most = int(drawn.integers(1, 30))
        codes = np.concatenate([drawn.permutation(size), drawn.integers(0, size, 2 * (size - 1))]).astype(np.int32)
        graph = (offsets, codes, shares)
        one_and_none = (np.array([0, 1, 1]), np.array([0]), np.ones(1, np.float32), np.zeros(2, np.int64))
        rules = (2, 8, np.float32(np.inf), 0.0)
        offered = (
            np.ones((1, size), np.int32),
            np.ones(size, np.int64),
            np.zeros(1, np.bool_),
            np.zeros((0, 0), np.bool_),
        )
        ranked, scores = walk(graph, one_and_none, rules, offered, most, np.zeros((size, 4), np.float32))
        assert (ranked[1] == -1).all()
        assert not np.isnan(scores[0][ranked[0] != -1]).any()
