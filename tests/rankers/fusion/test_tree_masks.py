"""Trees as masks give what LightGBM gives, bit for bit."""

from __future__ import annotations

import lightgbm
import numpy as np
import pytest

from llmrec.arrays import Floats
from llmrec.rankers.fusion.tree_masks import TreeMasks
from llmrec.rankers.fusion.trees import Trees, grow_values
from llmrec.selection.settings import SelectSettings


def drawn(number: int = 1_500) -> Floats:
    """Five features: whole, with NaN in some, all NaN here and there, coarse, huge."""
    random = np.random.default_rng(3)
    features = random.standard_normal((number, 5)).astype(np.float32)
    features[::3, 1] = np.nan
    features[:, 2] = np.round(features[:, 2])
    features[:, 3] *= np.float32(1e30)
    features[random.random((number, 5)) < 0.02] = np.nan
    return features


def grown(leaves: int, rounds: int = 12) -> str:
    features = drawn()
    filled = np.nan_to_num(features, nan=3.0).astype(np.float64)
    values = filled[:, 0] * filled[:, 2] + (filled[:, 1] > 0) + filled[:, 3] / 1e30
    return grow_values(features, values, list("abcde"), SelectSettings(leaves=leaves, min_leaf=2), rounds, 0)


@pytest.mark.parametrize("leaves", [2, 7, 31, 32])
@pytest.mark.parametrize("number", [1, 12])
def test_scores_are_those_of_lightgbm(leaves: int, number: int) -> None:
    text = grown(leaves)
    model, masks = lightgbm.Booster(model_str=text), TreeMasks.of(text)
    assert masks is not None
    thresholds = np.array(
        [float(one) for line in text.split("\n") if line.startswith("threshold=") for one in line[10:].split()]
    )
    thresholds = thresholds[np.abs(thresholds) > 1e-30]  # LightGBM reads others back a little off
    edges = np.repeat(thresholds.astype(np.float32)[:, None], 5, axis=1)  # what is next to a threshold, on both sides
    asked = np.concatenate(
        [drawn(777), edges, np.nextafter(edges, np.float32(np.inf)), np.full((1, 5), np.inf, np.float32)]
    )
    np.testing.assert_array_equal(
        masks.scores(np.ascontiguousarray(asked.T), number), model.predict(asked, raw_score=True, num_iteration=number)
    )


def test_a_tree_of_one_value_gives_it() -> None:
    text = grow_values(drawn(), np.ones(1_500), list("abcde"), SelectSettings(), 2, 0)
    np.testing.assert_array_equal(Trees([text]).scores(drawn(3)), lightgbm.Booster(model_str=text).predict(drawn(3)))


def test_larger_trees_are_left_to_lightgbm() -> None:
    text = grown(leaves=60)
    assert TreeMasks.of(text) is None
    np.testing.assert_array_equal(Trees([text]).scores(drawn(9)), lightgbm.Booster(model_str=text).predict(drawn(9)))
