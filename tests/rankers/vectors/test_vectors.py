"""Item vectors: their contract, and what they find."""

from __future__ import annotations

from llmrec.rankers import TrainingSessions
from llmrec.rankers.vectors.item_vectors import ItemVectors, ItemVectorsSettings
from llmrec.testing.ranker_contract import RankerContract


class TestItemVectors(RankerContract):
    ranker = ItemVectors
    settings = ItemVectorsSettings(size=8)


def test_items_that_stand_together_point_the_same_way() -> None:
    sequences = [["a", "b"], ["b", "c"], ["x", "y"], ["y", "z"]] * 5
    ranker = ItemVectors(ItemVectorsSettings(size=4, prior_weight=0)).fit(
        TrainingSessions.of(sequences, ["DE"] * len(sequences))
    )
    assert set(ranker.rank_session(["a"], "DE", 2)[0]) == {"b", "c"}
