"""Products that no session holds: what teaches fusion about them, and what they are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import llmrec
from llmrec.errors import ConfigError
from llmrec.rankers import TrainingSessions
from llmrec.rankers.fusion.candidates import Candidates
from llmrec.rankers.fusion.deciding.judging import decide_cold_bonus
from llmrec.rankers.fusion.explain import explain_session
from llmrec.rankers.fusion.ranker import Fusion
from llmrec.rankers.fusion.settings import FusionSettings
from llmrec.rankers.fusion.training import ValidationExamples
from llmrec.rankers.fusion.tree_text import check_model
from llmrec.rankers.fusion.trees import COUNT, Examples, Trees, grow_trees, with_bonus
from llmrec.testing.ranker_contract import products, training_sessions

QUICK: dict[str, Any] = {"rounds": 20, "min_leaf": 5, "threads": 1, "folds": 3, "sources": ("covisit_walk",)}
TEXTS: dict[str, Any] = {"sources": ("covisit_walk", "title_vectors")}
OPEN: dict[str, Any] = {"cold_bonus": "auto"}
NAMES = ["item.age", COUNT]


def fitted(training: TrainingSessions | None = None, table: Any = None, **changes: Any) -> Fusion:
    return Fusion(FusionSettings(**QUICK | changes)).fit(training or training_sessions(), table)


def values(ranker: Fusion) -> dict[str, Any]:
    return {one.setting: one.value for one in ranker.decisions}


def shop_with_new_products(number: int = 240) -> tuple[TrainingSessions, pa.Table]:
    """Two products of a shelf are followed by a third one of it; many shelves were looked at once."""
    lists = [[f"S{shelf:03}-{place}" for place in range(3)] for shelf in range(number)]
    rows = [
        {"id": f"S{shelf:03}-{place}", "locale": "UK", "title": f"word{shelf} thing{shelf} part {place}"}
        for shelf in range(number)
        for place in range(4)
    ]
    return TrainingSessions.of(lists, ["UK"] * number), pa.Table.from_pylist(rows)


def candidates(counts: list[float]) -> np.ndarray[Any, Any]:
    return np.array([[one % 3, count] for one, count in enumerate(counts)], dtype=np.float32)


def model() -> str:
    rng = np.random.default_rng(0)
    features = np.stack([rng.integers(0, 3, 3_000), np.zeros(3_000)], axis=1).astype(np.float32)
    labels = np.zeros(3_000, dtype=np.int8)
    labels[::10] = 1
    features[::10, 0] += 1
    examples = Examples(features, labels, np.full(300, 10), np.ones(3_000, np.float32))
    return grow_trees(examples, NAMES, FusionSettings(**QUICK), 0)


def test_a_bonus_goes_to_what_was_never_counted_and_to_nothing_else() -> None:
    plain, bonus = Trees([model()]), Trees([with_bonus(model(), 0.75)])
    check_model(bonus.texts[0].encode())
    asked = candidates([0, np.log1p(1), 2, 0])
    assert np.allclose(bonus.scores(asked) - plain.scores(asked), [0.75, 0, 0, 0.75])
    assert bonus.feature_names() == NAMES
    # LightGBM reads it as the masks do, the first trees alone too, and its reasons add up to the score
    own = bonus._models[0].predict(asked, raw_score=True)
    assert (own == bonus.scores(asked)).all()
    check_model(bonus._first_trees(2).model_to_string().encode())
    assert np.allclose(bonus.contributions(asked).sum(axis=1), own)


def test_without_a_bonus_a_model_stays_as_it_is() -> None:
    assert with_bonus(model(), 0.0) == model()


def test_a_bonus_needs_the_count_that_it_reads() -> None:
    with pytest.raises(ConfigError, match=r"cold_bonus reads the feature item\.count; take 'item'"):
        fitted(cold_bonus=1.0, without=("item",))


def test_a_new_product_stands_higher_with_a_bonus_and_after_it_is_saved(tmp_path: Path) -> None:
    training, table = shop_with_new_products()
    scores = []
    for bonus in (0.0, 2.0):
        ranker = fitted(training, table, **TEXTS, cold_bonus=bonus)
        ids, values_ = ranker.rank_session(["S003-0", "S003-1"], "UK", 50)
        scores.append(values_[ids.index("S003-3")])
        ranker.save(tmp_path / str(bonus))
        loaded = llmrec.load_ranker(tmp_path / str(bonus))
        assert loaded.rank_session(["S003-0", "S003-1"], "UK", 50) == (ids, values_)
        assert explain_session(ranker, ["S003-0", "S003-1"], "UK")["products"][0]["id"] == ids[0]
    assert scores[1] == pytest.approx(scores[0] + 2, abs=1e-3)


def test_the_bonus_is_the_largest_that_costs_little_out_of_fold() -> None:
    """All targets of a shelf that was looked at once are new out of fold, so every bonus gains or costs nothing."""
    training, table = shop_with_new_products()
    ranker = fitted(training, table, **TEXTS | OPEN)
    assert values(ranker) == {"cold_bonus": 1.0}
    assert "1 for products that no session holds gives +" in str(ranker.decisions)


@pytest.mark.parametrize(
    ("new", "sessions", "bonus"),
    [("others", 60, 0.0), ("others", 4, 0.0), ("others", 3, 1.0), ("targets", 60, 1.0), ("others", 0, 0.0)],
)
def test_a_bonus_is_given_where_it_costs_little(new: str, sessions: int, bonus: float) -> None:
    """Two candidates a session that the model cannot tell apart; the target stands first, for its code is smaller."""
    codes, rows = np.tile([0, 1], 60), np.repeat(np.arange(60), 2)
    found = Candidates(rows, codes, *(np.zeros((120, 1), np.float32) for _ in range(3)))
    unseen = (codes == {"others": 1, "targets": 0}[new]) & (rows < sessions)
    features = np.stack([np.ones(120), ~unseen], axis=1).astype(np.float32)
    judged = ValidationExamples(features, found, np.zeros(60, dtype=np.int64))
    (one,) = decide_cold_bonus(FusionSettings(**QUICK, cold_bonus="auto"), [(model(), NAMES, judged)])
    assert one.value == bonus
    if new == "others" and sessions == 60:
        assert one.why.startswith("0.25 for products that no session holds gives -0.5000")


@pytest.mark.parametrize(
    ("table", "changes", "why"),
    [
        (None, {}, "no candidate out of fold is a product that no session holds"),
        (products(24), TEXTS | {"cold_share": 0.5}, "cold_share is given"),
    ],
)
def test_what_cannot_be_cold_or_is_taught_by_hand_gets_no_bonus(table: Any, changes: dict[str, Any], why: str) -> None:
    ranker = fitted(None, table, **QUICK | OPEN | changes)
    plain = fitted(None, table, **QUICK | changes)
    assert values(ranker) == {"cold_bonus": 0.0}
    assert why in ranker.decisions[0].why
    assert ranker.trees is not None
    assert plain.trees is not None
    assert ranker.trees.texts == plain.trees.texts
