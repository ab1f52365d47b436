"""Rankers that train go on from their weights; a fused one takes in sources and counts, and keeps its trees."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

import llmrec
from llmrec.errors import ConfigError, ModelError
from llmrec.rankers.sessions import TrainingSessions
from llmrec.testing import products, training_sessions

FUSION: Final[dict[str, Any]] = {"sources": ["covisit_near", "covisit_walk"], "scorers": [], "rounds": 10, "folds": 3}
NEURAL: Final[dict[str, Any]] = {"embedding_size": 8, "hidden_size": 8, "max_epochs": 1, "batch_size": 32}
LATER: Final = TrainingSessions.of([["B03", "NEW"], ["B04", "NEW"], ["B05", "B06"]], ["DE", "UK", "DE"])


def test_fusion_takes_sources_in_and_keeps_its_trees(tmp_path: Path) -> None:
    table = products(16)
    fused = llmrec.fit("fusion", training_sessions(), table, **FUSION)
    fused.save(tmp_path / "model")
    updated: Any = llmrec.update(llmrec.load_ranker(tmp_path / "model"), LATER, table)
    whole: Any = llmrec.fit("fusion", training_sessions().joined(LATER), table, **FUSION)
    assert updated.trees.arrays().keys() == fused.trees.arrays().keys()
    for name, value in fused.trees.arrays().items():
        np.testing.assert_array_equal(updated.trees.arrays()[name], value)
    for name, value in whole.context.evidence.arrays().items():
        np.testing.assert_array_equal(updated.context.evidence.arrays()[name], value)
    for name, source in whole.context.sources.items():
        for key, value in source._state().items():
            np.testing.assert_array_equal(updated.context.sources[name]._state()[key], value)
    updated.save(tmp_path / "model")
    again = llmrec.load_ranker(tmp_path / "model")
    assert again.rank([["B03"]]).to_list() == updated.rank([["B03"]]).to_list()


def test_fusion_grows_its_trees_anew_when_told() -> None:
    fused = llmrec.fit("fusion", training_sessions(), **FUSION)
    grown: Any = llmrec.update(fused, LATER, refit=True)
    whole: Any = llmrec.fit("fusion", training_sessions().joined(LATER), **FUSION)
    for name, value in whole.trees.arrays().items():
        np.testing.assert_array_equal(grown.trees.arrays()[name], value)
    assert "NEW" in grown.rank_session(["B03"], "DE", 30)[0]


def test_fusion_that_read_products_reads_them_again() -> None:
    fused = llmrec.fit("fusion", training_sessions(), products(16), **FUSION)
    with pytest.raises(ConfigError, match="fusion: reads products"):
        llmrec.update(fused, LATER)
    with pytest.raises(ConfigError, match="half_life: fusion has no visits that fade"):
        llmrec.update(fused, LATER, products(16), half_life=3)


def test_a_neural_ranker_goes_on_from_its_weights(tmp_path: Path) -> None:
    ranker: Any = llmrec.fit("gru4rec", training_sessions(), **NEURAL)
    ranker.save(tmp_path / "model")
    still: Any = llmrec.update(
        llmrec.load_ranker(tmp_path / "model"), LATER, learning_rate=1e-9, item_learning_rate=1e-9
    )
    assert "NEW" in still.catalogue.vocabulary.ids.to_pylist()
    places = still.catalogue.vocabulary.encode(ranker.catalogue.vocabulary.ids)
    np.testing.assert_allclose(still._items.cpu()[places], ranker._items.cpu(), atol=1e-3)
    assert len(still.known_sessions().batches) == 2
    moved: Any = llmrec.update(ranker, LATER, max_epochs=3)
    assert moved.settings.max_epochs == 3
    assert "NEW" in moved.rank_session(["B03"], "DE", 30)[0]
    moved.save(tmp_path / "moved")
    assert not (tmp_path / "moved" / "learnt_from.safetensors").exists()
    again: Any = llmrec.update(llmrec.load_ranker(tmp_path / "moved"), [["B01", "B02"]])
    assert [batch.sessions for batch in again.known_sessions().batches] == [120, 3, 1]


def test_what_a_neural_ranker_cannot_do_is_one_line() -> None:
    ranker = llmrec.fit("gru4rec", training_sessions(), products(16), **NEURAL)
    with pytest.raises(ConfigError, match="gru4rec: reads products"):
        llmrec.update(ranker, LATER)
    with pytest.raises(ConfigError, match="half_life: gru4rec has no visits that fade"):
        llmrec.update(ranker, LATER, products(16), half_life=3)
    with pytest.raises(ConfigError, match="embedding_size was 8, now 16"):
        llmrec.update(ranker, LATER, products(16), embedding_size=16)
    with pytest.raises(ConfigError, match="unknown key 'max_epoch'"):
        llmrec.update(ranker, LATER, products(16), max_epoch=16)


def test_sources_that_give_other_features_ask_for_new_trees() -> None:
    fused: Any = llmrec.fit("fusion", training_sessions(), products(16), **FUSION)
    fused.trees = llmrec.fit("fusion", training_sessions(), **FUSION | {"sources": ["covisit_near"]}).trees
    with pytest.raises(ModelError, match="grow them with refit"):
        llmrec.update(fused, LATER, products(16))
