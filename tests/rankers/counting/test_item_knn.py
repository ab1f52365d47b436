"""SKNN of the paper's §3, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from llmrec.rankers import TrainingSessions
from llmrec.rankers.counting.item_knn import ItemKnn, ItemKnnSettings
from llmrec.testing.ranker_contract import RankerContract


class TestItemKnn(RankerContract):
    ranker = ItemKnn
    settings = ItemKnnSettings()


def fitted(sequences: list[list[str]], **settings: Any) -> ItemKnn:
    return ItemKnn(ItemKnnSettings(**settings)).fit(TrainingSessions.of(sequences, ["DE"] * len(sequences)))


SEQUENCES = [["a", "b"], ["a", "c", "d"], ["a", "d", "d"], ["e", "f"]]


def test_scores_are_sums_of_cosines_of_sets() -> None:
    # {a, c} with {a, b}: 1/√4, with {a, c, d}: 2/√6, with {a, d}: 1/√4; a repeated item counts once on either side
    ids, scores = fitted(SEQUENCES).rank_session(["a", "c", "a"], "DE", 2)
    assert ids == ["d", "b"]
    assert scores == pytest.approx([2 / 6**0.5 + 1 / 2, 1 / 2])


def test_only_the_nearest_vote() -> None:
    ids, scores = fitted(SEQUENCES, neighbours=1).rank_session(["a", "c"], "DE", 1)
    assert (ids, scores) == (["d"], pytest.approx([2 / 6**0.5]))


def test_ties_among_neighbours_go_to_the_newer_session() -> None:
    assert fitted([["a", "b"], ["a", "c"]], neighbours=1).rank_session(["a"], "DE", 1)[0] == ["c"]


def test_only_an_items_newest_sessions_are_looked_at() -> None:
    ids, scores = fitted(SEQUENCES, sample=1).rank_session(["a"], "DE", 1)
    assert (ids, scores) == (["d"], pytest.approx([1 / 2**0.5]))
