"""The generative ranker: codes of items, beams that keep to them, and the contract of all rankers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from llmrec.errors import ConfigError, DataError
from llmrec.rankers import Sessions
from llmrec.rankers.generative.beams import PrefixTable, beam_search
from llmrec.rankers.generative.ranker import Tiger, TigerSettings
from llmrec.rankers.generative.semantic_ids import semantic_ids, tokens_of
from llmrec.testing.ranker_contract import ITEMS, RankerContract, products, training_sessions

TINY = TigerSettings(
    text_dim=8,
    levels=2,
    codes=4,
    history=5,
    beams=4,
    embedding_size=16,
    inner_size=32,
    num_layers=1,
    num_heads=2,
    batch_size=64,
    max_epochs=2,
    warmup_steps=2,
)


class TestTiger(RankerContract):
    ranker = Tiger
    settings = TINY
    needs_products = True
    ranks_cold_items = True


def test_codes_quantise_what_is_left_and_tell_equals_apart() -> None:
    # two far groups of two near points each, one of which is there twice
    points = np.array([[0, 0], [0, 1], [9, 0], [9, 1], [9, 1]], dtype=np.float32)
    codes = semantic_ids(points, 2, 2, seed=0)
    assert codes[0, 0] == codes[1, 0] != codes[2, 0] == codes[3, 0]
    assert codes[0, 1] == codes[2, 1] != codes[1, 1] == codes[3, 1]
    assert codes[:, 2].tolist() == [0, 0, 0, 0, 1]


def test_more_clusters_than_points_are_not_needed() -> None:
    codes = semantic_ids(np.zeros((3, 2), dtype=np.float32), 2, 8, seed=0)
    assert codes.tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 2]]


def test_every_level_has_tokens_of_its_own() -> None:
    tokens = tokens_of(np.array([[0, 1], [1, 0]], dtype=np.int32))
    assert tokens.tolist() == [[0, 0], [1, 4], [2, 3]]


def test_beams_find_the_likeliest_items_that_are_allowed() -> None:
    tokens = np.array([[1, 3], [1, 4], [2, 3], [2, 5]])
    table = PrefixTable.of(tokens)
    rng = np.random.default_rng(0)
    likely = np.log(rng.random((3, 6)))  # by the last token: start, 1 or 2

    def decode(rows: np.ndarray, so_far: np.ndarray) -> np.ndarray:
        return likely[so_far[:, -1] if so_far.shape[1] else np.zeros(len(rows), dtype=int)]

    whole = np.array([likely[0, first] + likely[first, second] for first, second in tokens])
    kinds = [table.alive(np.ones(4, dtype=bool)), table.alive(np.array([True, False, False, True]))]
    rows, items, scores = beam_search(table, kinds, np.array([0, 1]), 4, decode)
    assert items[rows == 0].tolist() == np.argsort(-whole).tolist()
    assert scores[rows == 0] == pytest.approx(np.sort(whole)[::-1], rel=1e-6)
    assert sorted(items[rows == 1].tolist()) == [0, 3]


def test_it_learns_the_ring() -> None:
    settings = dataclasses.replace(TINY, max_epochs=25, learning_rate=1e-2, dropout_prob=0.0, patience=25, codes=8)
    ranker = Tiger(settings).fit(training_sessions(), products(24))
    ids, _ = ranker.rank(Sessions.of([[item] for item in ITEMS], ["DE"] * 24), 24)
    places = [
        [listed.index(ITEMS[(row + step) % 24]) + 1 for step in (1, 2)] for row, listed in enumerate(ids.to_pylist())
    ]
    assert np.mean(1 / np.array(places)) > 0.4  # at best .75, by chance .16


def test_a_training_that_was_stopped_goes_on(tmp_path: Path) -> None:
    settings = dataclasses.replace(TINY, checkpoint_every=1)
    whole = Tiger(settings).fit(training_sessions(), products(24))
    half = dataclasses.replace(settings, max_minutes=1e-9)
    stopped = Tiger(half).fit(training_sessions(), products(24), folder=tmp_path / "half")
    assert len(stopped.history) == 1
    folder = tmp_path / "whole"
    Tiger(settings).fit(training_sessions(), products(24), folder=folder)
    again = Tiger(settings).fit(training_sessions(), products(24), folder=folder, resume=True)
    for name, value in whole._state().items():
        np.testing.assert_array_equal(value, again._state()[name], name)


def test_what_it_cannot_do_is_said() -> None:
    with pytest.raises(DataError, match="products"):
        Tiger(TINY).fit(training_sessions())
    with pytest.raises(ConfigError, match="num_heads"):
        dataclasses.replace(TINY, num_heads=3)
    fitted = Tiger(dataclasses.replace(TINY, max_epochs=1)).fit(training_sessions(), products(24))
    with pytest.raises(ConfigError, match="all files to --train"):
        fitted.finetuned(TINY, training_sessions(), products(24))


def test_a_search_is_told_after_each_epoch_and_can_stop_it() -> None:
    ranker, seen = Tiger(dataclasses.replace(TINY, max_epochs=5, validation_share=0.3)), []

    def watch(epoch: int, score: float) -> None:
        seen.append((epoch, score))
        if epoch == 2:
            raise InterruptedError

    ranker.watch = watch
    with pytest.raises(InterruptedError):
        ranker.fit(training_sessions(), products(len(ITEMS)))
    assert [epoch for epoch, _ in seen] == [1, 2]
    assert all(0 < score <= 1 for _, score in seen)
