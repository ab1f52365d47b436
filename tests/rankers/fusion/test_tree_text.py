"""A text that LightGBM would crash on is refused before it sees it."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from llmrec.rankers.fusion.tree_text import check_model
from llmrec.rankers.fusion.trees import Trees, grow_values
from llmrec.selection.settings import SelectSettings


@functools.cache
def model(rounds: int = 4) -> str:
    random = np.random.default_rng(0)
    features = random.random((400, 3), dtype=np.float32)
    features[::5, 1] = np.nan
    values = np.where(np.isnan(features[:, 1]), 2.0, features[:, 0] + features[:, 2] ** 2)
    return grow_values(features, values, ["a", "b.1", "c"], SelectSettings(leaves=6, min_leaf=5), rounds, 0)


def refuse(text: str) -> None:
    with pytest.raises((ValueError, OverflowError)):
        check_model(text.encode())


def test_what_lightgbm_writes_is_a_model() -> None:
    check_model(model().encode())
    trees = Trees([model()])
    check_model(trees._first_trees(2).model_to_string().encode())


def test_a_model_of_one_value_is_one() -> None:
    features = np.zeros((50, 1), dtype=np.float32)
    check_model(grow_values(features, np.ones(50), ["a"], SelectSettings(), 2, 0).encode())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("left_child=", "left_child=9 "),
        ("num_leaves=6", "num_leaves=600000"),
        ("num_cat=0", "num_cat=1"),
        ("num_class=1", "num_class=100000000"),
        ("num_tree_per_iteration=1", "num_tree_per_iteration=1000"),
        ("max_feature_idx=2", "max_feature_idx=900000"),
        ("feature_names=a b.1 c", "feature_names=a b.1"),
        ("feature_names=a b.1 c", "feature_names=a a c"),
        ("objective=regression", "objective=custom"),
        ("tree_sizes=", "tree_sizes=1"),
        ("[boosting: gbdt]", "boosting"),
        ("Tree=1", "Tree=7"),
        ("is_linear=0", "is_linear=1"),
        ("leaf_value=", "leaf_value=nan "),
        ("end of parameters", ""),
        ("pandas_categorical:null", "pandas_categorical:[[1]]"),
    ],
)
def test_a_line_that_is_not_a_models_is_refused(old: str, new: str) -> None:
    assert old in model()
    refuse(model().replace(old, new, 1))


def changed(key: str, place: int, value: str) -> str:
    """The model with one number of its first tree changed, its sizes set right again."""
    head, tree = model().split("\nTree=0\n", 1)
    line = next(one for one in tree.split("\n") if one.startswith(f"{key}="))
    numbers = line.split("=")[1].split(" ")
    numbers[place] = value
    new = f"{key}={' '.join(numbers)}"
    first = head.split("tree_sizes=")[1].split(" ")[0]
    head = head.replace(f"tree_sizes={first}", f"tree_sizes={int(first) + len(new) - len(line)}")
    return f"{head}\nTree=0\n{tree.replace(line, new, 1)}"


@pytest.mark.parametrize(
    ("key", "place", "value"),
    [
        ("left_child", 0, "0"),  # itself: for ever
        ("left_child", 0, "5"),  # no inner node
        ("right_child", 4, "-7"),  # no leaf
        ("right_child", 4, "-1"),  # a leaf that another split has too
        ("left_child", 0, "99999999999999999999"),
        ("split_feature", 1, "3"),
        ("split_feature", 1, "-1"),
        ("decision_type", 2, "1"),  # by category, of which there are none
        ("decision_type", 2, "200"),
        ("threshold", 0, "nan"),
        ("leaf_value", 0, "1e+300"),
        ("leaf_value", 0, "1 2"),
        ("leaf_count", 0, ""),
    ],
)
def test_a_number_that_leads_nowhere_is_refused(key: str, place: int, value: str) -> None:
    for fine in (changed("leaf_value", 0, "0.5"), changed("threshold", 0, "inf")):  # by what is missing alone
        check_model(fine.encode())
        Trees([fine])
    refuse(changed(key, place, value))
