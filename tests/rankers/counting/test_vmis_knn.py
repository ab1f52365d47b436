"""VMIS-kNN, by hand."""

from __future__ import annotations

from math import log
from typing import Any

import pytest

from llmrec.rankers import TrainingSessions
from llmrec.rankers.counting.vmis_knn import VmisKnn, VmisKnnSettings
from llmrec.testing.ranker_contract import RankerContract


class TestVmisKnn(RankerContract):
    ranker = VmisKnn
    settings = VmisKnnSettings()


# For the session a, b: a weighs 1/2 and b 1, so the sessions' similarities are 0.5, 1 and 1.5. The newest shared item
# is a, one place before the end, in the first alone: its vote is 0.5 · 0.9.
SEQUENCES = [["a", "x"], ["b", "y"], ["b", "a", "z"]]


def ranked(items: list[str], k: int = 3, **settings: Any) -> tuple[list[str], Any]:
    ranker = VmisKnn(VmisKnnSettings(**settings)).fit(TrainingSessions.of(SEQUENCES, ["DE"] * 3))
    ids, scores = ranker.rank_session(items, "DE", k)
    return ids, pytest.approx(scores)


def test_votes_weigh_position_and_newest_match() -> None:
    assert ranked(["a", "b"], idf_weight=0.0) == (["z", "y", "x"], [1.5, 1.0, 0.45])


def test_a_repeated_item_stands_where_it_is_last() -> None:
    assert ranked(["b", "a", "b"], idf_weight=0.0) == (["z", "y", "x"], [1.5, 1.0, 0.45])


def test_a_vote_fades_to_nothing() -> None:
    assert ranked(["a", "b"], 2, idf_weight=0.0, match_decay=5.0) == (["z", "y"], [1.5, 1.0])


def test_rare_items_gain() -> None:
    # one of three sessions holds x, y or z each
    assert ranked(["a", "b"], 1) == (["z"], [1.5 * (1 + log(3))])


def test_neighbours_come_from_the_newest_sessions_that_share_an_item() -> None:
    assert ranked(["a", "b"], 1, sample=1, idf_weight=0.0) == (["z"], [1.5])
    # with two, the second and the third session; x is no more than the most frequent item left
    assert ranked(["a", "b"], 2, sample=2, idf_weight=0.0) == (["z", "y"], [1.5, 1.0])


def test_only_the_nearest_vote() -> None:
    assert ranked(["a", "b"], 1, neighbours=1, idf_weight=0.0) == (["z"], [1.5])


def test_history_limits_what_is_compared() -> None:
    assert ranked(["a", "b"], 2, history=1, idf_weight=0.0) == (["y", "z"], [1.0, 1.0])
