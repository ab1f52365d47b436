"""Neural rankers under the contract of all rankers, their switches, and training that goes on from a trained one."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from llmrec.errors import ConfigError, DataError
from llmrec.rankers.catalogue import build_catalogue
from llmrec.rankers.neural import settings as of
from llmrec.rankers.neural.base import hold_out, item_prior
from llmrec.rankers.neural.models_by_name import Core, Gru4Rec, Gru4RecF, Mgs, Narm, SasRec, SrGnn, SrGnnF, Stamp
from llmrec.rankers.sessions import CodedSessions, Sessions, TrainingSessions
from llmrec.testing.ranker_contract import ITEMS, SESSIONS, RankerContract, products, training_sessions

TINY: dict[str, Any] = {"embedding_size": 8, "history": 6, "batch_size": 64, "learning_rate": 0.02, "max_epochs": 2}
STRONG: dict[str, Any] = {
    "init": "svd",
    "svd_local": 0.5,
    "readout": "attention",
    "unit_length": True,
    "loss": "sampled",
}


class TestGru4Rec(RankerContract):
    ranker = Gru4Rec
    settings = of.Gru4RecSettings(**TINY, hidden_size=8)


class TestStrongGru4Rec(RankerContract):
    ranker = Gru4Rec
    settings = of.Gru4RecSettings(**TINY, **STRONG, hidden_size=8, num_negatives=16)


class TestNarm(RankerContract):
    ranker = Narm
    settings = of.NarmSettings(**TINY, hidden_size=8)


class TestStamp(RankerContract):
    ranker = Stamp
    settings = of.StampSettings(**TINY)


class TestSrGnn(RankerContract):
    ranker = SrGnn
    settings = of.SrGnnSettings(**TINY)


class TestSasRec(RankerContract):
    ranker = SasRec
    settings = of.SasRecSettings(**TINY, inner_size=16)


class TestCore(RankerContract):
    ranker = Core
    settings = of.CoreSettings(**TINY, inner_size=16, unit_length=True, learn_scale=False, item_dropout=0.1)


class TestGru4RecF(RankerContract):
    ranker = Gru4RecF
    settings = of.Gru4RecSettings(**TINY, hidden_size=8)
    needs_products = True


class TestSrGnnF(RankerContract):
    ranker = SrGnnF
    settings = of.SrGnnSettings(**TINY)
    needs_products = True


class TestMgs(RankerContract):
    ranker = Mgs
    settings = of.MgsSettings(**TINY)
    needs_products = True


@pytest.mark.parametrize(("ranker", "settings"), [(TestSrGnnF.ranker, TestSrGnnF.settings), (Mgs, TestMgs.settings)])
def test_features_grow_with_the_catalogue(ranker: Any, settings: Any) -> None:
    first = ranker(dataclasses.replace(settings, max_epochs=1)).fit(training_sessions(), products(24))
    more = TrainingSessions.of([["B03", "A_NEW", "B04"]] * 5, ["DE"] * 5)
    grown = first.finetuned(first.settings, more, products(24))
    assert "A_NEW" in grown.rank_session(["B03"], "DE", 30)[0] or grown.catalogue.sold is not None
    assert all(len(value) == 26 for value in grown._features.values())  # padding and 25 items


@pytest.mark.parametrize("ranker", [Gru4RecF, SrGnnF, Mgs])
def test_rankers_that_read_products_say_that_they_need_them(ranker: Any) -> None:
    with pytest.raises(DataError, match="with products"):
        ranker(ranker.settings_class(**TINY)).fit(training_sessions())


def ring_mrr(ranker: Any) -> float:
    """On the ring an item's next two neighbours follow it alike: a perfect ranker has (1 + 1/2) / 2 = .75."""
    ids, _ = ranker.rank(Sessions.of([[item] for item in ITEMS], ["DE"] * 24), 24)
    places = [
        [listed.index(ITEMS[(row + step) % 24]) + 1 for step in (1, 2)] for row, listed in enumerate(ids.to_pylist())
    ]
    return float(np.mean(1 / np.array(places)))


@pytest.mark.parametrize("loss", ["full", "chunked", "sampled"])
@pytest.mark.parametrize("readout", ["model", "attention"])
@pytest.mark.parametrize("unit_length", [True, False])
def test_every_switch_learns_the_ring(loss: Any, readout: Any, unit_length: bool) -> None:
    settings = of.Gru4RecSettings(
        **{**TINY, "embedding_size": 16, "max_epochs": 15},
        hidden_size=16,
        dropout_prob=0.0,
        loss=loss,
        readout=readout,
        unit_length=unit_length,
        num_negatives=32,
        patience=15,
    )
    assert ring_mrr(Gru4Rec(settings).fit(training_sessions())) > 0.5  # chance is about .16


def test_factorised_vectors_know_the_ring_before_training() -> None:
    settings = of.Gru4RecSettings(**TINY, **STRONG, hidden_size=8, freeze_items=True, freeze_encoder=True)
    settings = dataclasses.replace(settings, learning_rate=1e-9, max_epochs=1)
    assert (
        ring_mrr(Gru4Rec(settings).fit(training_sessions())) > 0.35
    )  # neighbours to both sides, so at best .75 / 2 or so


def test_frozen_items_stay_and_a_frozen_encoder_stays() -> None:
    base = of.Gru4RecSettings(**TINY, **STRONG, hidden_size=8, num_negatives=16)
    started = Gru4Rec(dataclasses.replace(base, learning_rate=1e-12, max_epochs=1)).fit(training_sessions())
    start = {name: value.clone() for name, value in started.scorer.state_dict().items()}
    items = Gru4Rec(dataclasses.replace(base, freeze_items=True)).fit(training_sessions()).scorer.state_dict()
    encoder = Gru4Rec(dataclasses.replace(base, freeze_encoder=True)).fit(training_sessions()).scorer.state_dict()
    table, recurrent = "model.inner.item_embedding.weight", "model.inner.gru_layers.weight_ih_l0"
    torch.testing.assert_close(items[table], start[table])
    assert not torch.allclose(items[recurrent], start[recurrent], atol=1e-4)
    torch.testing.assert_close(encoder[recurrent], start[recurrent])
    assert not torch.allclose(encoder[table], start[table], atol=1e-4)


def test_row_updates_learn_as_well_as_dense_ones() -> None:
    settings = of.Gru4RecSettings(
        **{**TINY, "max_epochs": 10}, **STRONG, hidden_size=8, num_negatives=16, row_updates=True
    )
    assert ring_mrr(Gru4Rec(settings).fit(training_sessions())) > 0.5


@pytest.mark.parametrize(
    ("settings", "changes", "message"),
    [
        (of.Gru4RecSettings, {"row_updates": True}, "row_updates needs loss: sampled; 'full' uses"),
        (of.Gru4RecSettings, {"svd_local": 1.5}, "svd_local must be at most 1; got 1.5"),
        (of.NarmSettings, {"dropout_probs": (0.1,)}, "dropout_probs must be two numbers"),
        (of.SasRecSettings, {"n_heads": 3}, "embedding_size 8 must be a multiple of n_heads 3"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings: Any, changes: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(**TINY, **changes)


def test_the_catalogue_grows_without_losing_trained_rows() -> None:
    settings = of.Gru4RecSettings(**TINY, **STRONG, hidden_size=8, num_negatives=16)
    first = Gru4Rec(settings).fit(training_sessions())
    before = first.scorer.item_vectors().detach().clone()
    more = TrainingSessions.of([["B03", "A_NEW", "B04", "Z_NEW"]] * 30, ["IT"] * 30)
    frozen = dataclasses.replace(settings, freeze_items=True, freeze_encoder=True, learning_rate=1e-12)
    grown = first.finetuned(frozen, more)
    ids = grown.catalogue.vocabulary.ids.to_pylist()
    assert ids == ["A_NEW", *ITEMS, "Z_NEW"]
    assert grown.catalogue.locales == ("DE", "FR", "IT")
    torch.testing.assert_close(grown.scorer.item_vectors()[2:-1], before[1:])
    assert first.catalogue.vocabulary.ids.to_pylist() == ITEMS  # the old ranker is as it was
    old, new = (ranker.rank(SESSIONS, 100).ids.to_pylist() for ranker in (first, grown))
    assert [[item for item in listed if "NEW" not in item] for listed in new] == old
    trained = first.finetuned(dataclasses.replace(settings, max_epochs=10), more)
    assert "Z_NEW" in trained.rank_session(["B03", "A_NEW", "B04"], "IT", 3)[0]


def test_going_on_with_another_shape_is_refused() -> None:
    settings = of.Gru4RecSettings(**TINY, hidden_size=8)
    ranker = Gru4Rec(dataclasses.replace(settings, max_epochs=1)).fit(training_sessions())
    with pytest.raises(ConfigError, match=r"cannot go on from a 'gru4rec' whose .* keep its settings"):
        ranker.finetuned(dataclasses.replace(settings, hidden_size=4), training_sessions())
    with pytest.raises(ConfigError, match="embedding_size was 8, now 4"):
        ranker.finetuned(dataclasses.replace(settings, embedding_size=4), training_sessions())


def test_held_out_items_are_gone_from_what_is_learnt() -> None:
    offsets = np.array([0, 3, 4, 6, 8, 10])
    labelled = np.array([True, True, True, True, False])
    training = CodedSessions(offsets, np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]), np.zeros(5, dtype=np.int64), labelled)
    learn, held = hold_out(training, share=1.0, most=100, seed=0)
    assert held is not None
    sessions, targets = held
    assert targets.tolist() == [2, 5, 7]  # labelled sessions of two or more
    assert sessions.items.tolist() == [0, 1, 4, 6]
    assert learn.items.tolist() == [0, 1, 3, 4, 6, 8, 9]
    assert np.diff(learn.offsets).tolist() == [2, 1, 1, 1, 2]
    assert hold_out(training, share=0.0, most=100, seed=0) == (training, None)
    assert hold_out(training, share=1.0, most=2, seed=0)[1][1].shape == (2,)  # type: ignore[index]


def test_ranking_does_not_depend_on_the_sessions_length_limit_of_a_batch() -> None:
    ranker = Stamp(of.StampSettings(**TINY)).fit(training_sessions())
    long = [ITEMS[number % 24] for number in range(40)]
    ids, _ = ranker.rank(Sessions.of([long, ["B03"]], ["DE", "DE"]), 5)
    assert ids[1].as_py() == ranker.rank_session(["B03"], "DE", 5)[0]
    assert ids[0].as_py() == []  # every item was seen


def test_the_prior_is_the_locales_share_and_how_often_an_item_occurs() -> None:
    # item 0: once in each of the two locales; item 1: twice in the first; item 2: never
    training = CodedSessions(np.array([0, 3, 4]), np.array([0, 1, 1, 0]), np.array([0, 1]))
    prior = item_prior(training, 3, 3, locale_weight=0.5, popularity_weight=2.0)
    assert prior is not None

    def share(count: int, total: int) -> float:
        return 0.5 * float(np.log((count + 0.1) / (total + 0.3)))

    often = 2.0 * np.log([3, 3, 1])
    expected = [
        [share(1, 2) + often[0], share(2, 2) + often[1], share(0, 0) + often[2]],
        [share(1, 2) + often[0], share(0, 2) + often[1], share(0, 0) + often[2]],
        often,  # a locale without sessions
        often,  # unknown locales
    ]
    assert prior == pytest.approx(np.array(expected), abs=1e-6)
    assert item_prior(training, 3, 3, 0.0, 0.0) is None


def test_whoever_watches_hears_of_every_epoch_and_can_end_it() -> None:
    class EnoughError(Exception):
        pass

    heard: list[int] = []

    def watch(epoch: int, score: float) -> None:
        assert 0 <= score <= 1
        heard.append(epoch)
        if epoch == 2:
            raise EnoughError

    ranker = Gru4Rec(of.Gru4RecSettings(**{**TINY, "max_epochs": 5}, hidden_size=8, validation_share=0.2))
    ranker.watch = watch
    with pytest.raises(EnoughError):
        ranker.fit(training_sessions())
    assert heard == [1, 2]


def test_an_untrained_ranker_ranks() -> None:
    ranker = Gru4Rec(of.Gru4RecSettings(**TINY, hidden_size=8))
    ranker.catalogue = build_catalogue(training_sessions())
    ids, _ = ranker.untrained().rank(SESSIONS, 3)
    assert all(len(listed) == 3 for listed in ids.to_pylist())
