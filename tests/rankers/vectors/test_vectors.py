"""Rankers by vectors: their contract, and what they find."""

from __future__ import annotations

from llmrec.rankers import TrainingSessions
from llmrec.rankers.vectors.item_vectors import (
    ItemVectors,
    ItemVectorsSettings,
    TitleVectors,
    TitleVectorsSettings,
)
from tests.rankers.contract import RankerContract, products, training_sessions


class TestItemVectors(RankerContract):
    ranker = ItemVectors
    settings = ItemVectorsSettings(size=8)


class TestTitleVectors(RankerContract):
    ranker = TitleVectors
    settings = TitleVectorsSettings(size=16)
    needs_products = True
    float_tolerance = 1e-4  # scores are whole multiples of 1/16,384, and a last bit may decide which

    def test_sessions_of_one_item_are_enough_to_fit(self) -> None:
        few = TrainingSessions.of([["B01"], ["B02"], ["B02"]], ["DE", "DE", "FR"], labelled=False)
        listed = self.fit(training=few).rank_session(["B01"], "DE", 24)[0]
        assert len(listed) == 23  # all other products, those without a session too


def test_items_that_stand_together_point_the_same_way() -> None:
    sequences = [["a", "b"], ["b", "c"], ["x", "y"], ["y", "z"]] * 5
    ranker = ItemVectors(ItemVectorsSettings(size=4, prior_weight=0)).fit(
        TrainingSessions.of(sequences, ["DE"] * len(sequences))
    )
    assert set(ranker.rank_session(["a"], "DE", 2)[0]) == {"b", "c"}


def test_a_title_finds_its_like() -> None:
    ranker = TitleVectors(TitleVectorsSettings(size=16)).fit(training_sessions(), products(24))
    first = ranker.rank_session(["B04"], "DE", 3)[0]  # "Kabel 1 rot": the other three cables of number 1, or the red
    assert set(first) <= {"B05", "B06", "B07", "B00", "B08", "B12", "B16", "B20"}
