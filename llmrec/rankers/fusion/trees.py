"""Gradient-boosted trees that order a session's candidates or estimate a value; the only file that knows LightGBM."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Floats, Ints, checked
from llmrec.console import progress_bar
from llmrec.errors import ConfigError, ModelError, needing, require
from llmrec.ragged import offsets_of
from llmrec.rankers.fusion.settings import FusionSettings
from llmrec.rankers.fusion.tree_text import check_model
from llmrec.within import highest_within, order_within

__all__ = ["COUNT", "Examples", "TreeShape", "Trees", "grow_trees", "grow_values", "with_bonus"]

Doubles = NDArray[np.float64]

FIRST_STEPS: Final = 1 << 16
BINS: Final = 127  # distinct values of a feature; twice as many cost time and gained nothing


COUNT: Final = "item.count"  # the feature that is 0 for a product that no session holds
# as LightGBM would write it; the counts are what TreeSHAP takes for the shares of the leaves
_BONUS: Final = """Tree=0
num_leaves=2
num_cat=0
split_feature={feature}
split_gain=0
threshold=0.5
decision_type=2
left_child=-1
right_child=-2
leaf_value={bonus!r} 0
leaf_weight=0 0
leaf_count=1 99
internal_value=0
internal_weight=0
internal_count=100
is_linear=0
shrinkage=1


"""


class TreeShape(Protocol):
    """Settings that `grow_values` reads."""

    @property
    def leaves(self) -> int: ...  # noqa: D102
    @property
    def min_leaf(self) -> int: ...  # noqa: D102
    @property
    def learning_rate(self) -> float: ...  # noqa: D102
    @property
    def feature_share(self) -> float: ...  # noqa: D102
    @property
    def l2(self) -> float: ...  # noqa: D102
    @property
    def threads(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class Examples:
    """Candidates of training sessions, session after session.

    Attributes:
        features: Shape ``(C, F)``.
        labels: Shape ``(C,)``; 1 for the target, else 0.
        sizes: Shape ``(S,)``; candidates of each session.
        weights: Shape ``(C,)``; how many candidates each stands for.
    """

    features: Floats
    labels: NDArray[np.int8]
    sizes: Ints
    weights: Floats

    @classmethod
    def joined(cls, parts: Sequence[Examples]) -> Examples:
        """Several in one."""
        names = ("features", "labels", "sizes", "weights")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


class Trees:
    """Fitted models whose scores are averaged.

    Attributes:
        texts: LightGBM's own text form of each.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        with needing("rank"):
            from llmrec.rankers.fusion.tree_masks import TreeMasks  # which waits for numba
        self.texts = list(texts)
        self._masks = [TreeMasks.of(text) for text in self.texts]
        self._first: dict[int, Any] = {}  # the first trees of the first model, by their number

    def __len__(self) -> int:
        return len(self.texts)

    @functools.cached_property
    def _models(self) -> list[Any]:
        """LightGBM's own, made when asked for: to rank takes the masks alone, and its import a second."""
        lightgbm = require("lightgbm", "rank")
        try:
            return [lightgbm.Booster(model_str=text) for text in self.texts]
        except lightgbm.basic.LightGBMError as error:
            raise ModelError(f"fusion: its trees are not LightGBM's ({error}); fit it again with --save") from error

    def scores(self, features: Floats, threads: int = 0) -> Doubles:
        """Mean score of each candidate, shape ``(C,)``, higher first."""
        sums = np.zeros(len(features))
        for place in range(len(self)):
            sums += self._values(place, features, threads)
        return sums / len(self)

    def _values(self, place: int, features: Floats, threads: int, first_trees: int = 0) -> Doubles:
        """What the trees of a model, or its first ones, give each candidate, ``(C,)``."""
        masks = self._masks[place]
        if masks is not None and features.dtype == np.float32:
            return masks.scores(np.ascontiguousarray(features.T), first_trees or len(masks))
        model = self._first_trees(first_trees) if first_trees else self._models[place]
        values: Doubles = model.predict(features, raw_score=True, num_threads=threads)
        return values

    def staged_scores(
        self, rows: Ints, features: Floats, first_trees: int, finalists: int, threads: int = 0
    ) -> Doubles:
        """`scores` of the candidates of each session that the first trees like best; the others follow below them.

        Most of the time goes into trees, and most candidates are far from any list.

        Args:
            rows: Shape ``(C,)``; session of each candidate, ascending; what ties stays as it was given.
            features: Shape ``(C, F)``.
            first_trees: Trees of the first model that all candidates pass; 0 for all trees of all models.
            finalists: Candidates of a session that pass all trees.
            threads: Threads.
        """
        sizes = np.bincount(rows)
        if not first_trees or sizes.max(initial=0) <= finalists:
            return self.scores(features, threads)
        first = self._values(0, features, threads, first_trees)
        first = np.round(first * FIRST_STEPS) / FIRST_STEPS  # a batch and a session alone cut alike
        order, place = order_within(rows, first)
        best = np.sort(order[place < finalists])
        scores = np.empty(len(features))
        scores[best] = self.scores(features.T.take(best, axis=1).T, threads)
        lowest = -highest_within(rows[best], -scores[best], len(sizes))
        rest = order[place >= finalists]
        scores[rest] = lowest[rows[rest]] - place[place >= finalists]
        return scores

    def _first_trees(self, number: int) -> Any:
        """A model of its own: LightGBM keeps ``num_iteration`` in the model, where another thread would read it too."""
        if number not in self._first:
            text = self._models[0].model_to_string(num_iteration=number)
            self._first[number] = require("lightgbm", "rank").Booster(model_str=text)
        return self._first[number]

    def contributions(self, features: Floats) -> Doubles:
        """What each feature adds to the mean score, shape ``(C, F + 1)``, the last being what all share (TreeSHAP)."""
        each = [model.predict(features, pred_contrib=True) for model in self._models]
        mean: Doubles = np.mean(each, axis=0)
        return mean

    def feature_names(self) -> list[str]:
        """Names of the features that the models read, in order."""
        return self.texts[0].split("\nfeature_names=", 1)[1].split("\n", 1)[0].split(" ")

    def importances(self) -> dict[str, float]:
        """Share of each feature in the gain of all splits, highest first."""
        gains = np.sum([model.feature_importance("gain") for model in self._models], axis=0)
        names = self.feature_names()
        shares = gains / max(gains.sum(), np.finfo(np.float64).tiny)
        order = np.argsort(-shares, kind="stable")
        return {names[place]: round(float(shares[place]), 6) for place in order}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The texts as bytes, for a file."""
        return {f"trees.{place}": np.frombuffer(text.encode(), np.uint8) for place, text in enumerate(self.texts)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self | None:
        """What `arrays` gave, or None where it was not called.

        Raises:
            ValueError: a text is not a model's.
        """
        texts: list[bytes] = []
        while f"trees.{len(texts)}" in arrays:
            texts.append(checked(arrays, f"trees.{len(texts)}", "uint8", (None,)).tobytes())
            check_model(texts[-1])
        return cls([text.decode() for text in texts]) if texts else None


def grow_trees(examples: Examples, names: Sequence[str], settings: FusionSettings, seed: int) -> str:
    """Train one model; its text form is returned.

    Args:
        examples: What to learn from.
        names: Names of the features.
        settings: Objective and shape of the trees.
        seed: Seed of the draws of features and sessions.
    """
    lightgbm = require("lightgbm", "rank")
    data = lightgbm.Dataset(
        examples.features,
        examples.labels,
        group=examples.sizes,
        weight=examples.weights,
        feature_name=list(names),
        params={"max_bin": BINS, "verbose": -1, "num_threads": settings.threads, "feature_pre_filter": False},
        free_raw_data=True,
    )
    parameters = {
        "objective": settings.objective,
        "lambdarank_truncation_level": settings.truncation,
        "num_leaves": settings.leaves,
        "min_data_in_leaf": settings.min_leaf,
        "learning_rate": settings.learning_rate,
        "feature_fraction": settings.feature_share,
        "lambda_l2": settings.l2,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": settings.threads,
        "verbose": -1,
    }
    return _trained(parameters, data, settings.rounds)


def _trained(parameters: dict[str, Any], data: Any, rounds: int) -> str:
    """The text form of a model; a bar shows its trees."""
    with progress_bar(transient=True) as bar:
        task = bar.add_task("trees", total=rounds, note="")
        callbacks = [lambda _: bar.advance(task)]
        trained = require("lightgbm", "rank").train(parameters, data, num_boost_round=rounds, callbacks=callbacks)
    return str(trained.model_to_string())


def with_bonus(text: str, bonus: float) -> str:
    """A model with a first tree that adds a bonus to products which no session holds; the others stay as they are.

    Args:
        text: Text form of the model.
        bonus: What is added; with 0 the model is left as it is.

    Raises:
        ConfigError: the model does not read how often an item was seen.
    """
    if not bonus:
        return text
    head, _, rest = text.partition("\n\n")
    head, _, sizes = head.partition("\ntree_sizes=")
    names = head.split("\nfeature_names=", 1)[1].split("\n", 1)[0].split(" ")
    if COUNT not in names:
        raise ConfigError(f"fusion: cold_bonus reads the feature {COUNT}; take 'item' out of 'without'")
    cuts = offsets_of([int(size) for size in sizes.split(" ")]).tolist()
    first = _BONUS.format(feature=names.index(COUNT), bonus=float(bonus))
    trees = [first, *(rest[start:end] for start, end in pairwise(cuts))]
    trees = [f"Tree={place}\n" + tree.split("\n", 1)[1] for place, tree in enumerate(trees)]
    return f"{head}\ntree_sizes={' '.join(str(len(one)) for one in trees)}\n\n{''.join(trees)}{rest[cuts[-1] :]}"


def grow_values(
    features: Floats, values: Doubles, names: Sequence[str], shape: TreeShape, rounds: int, seed: int
) -> str:
    """Train one model that estimates a value by squares; its text form is returned.

    Args:
        features: Shape ``(C, F)``.
        values: Shape ``(C,)``; what to estimate.
        names: Names of the features.
        shape: Shape of the trees.
        rounds: Number of trees.
        seed: Seed of the draws of features.
    """
    lightgbm = require("lightgbm", "rank")
    data = lightgbm.Dataset(
        features,
        values,
        feature_name=list(names),
        params={"max_bin": BINS, "verbose": -1, "num_threads": shape.threads, "feature_pre_filter": False},
        free_raw_data=True,
    )
    parameters = {
        "objective": "l2",
        "num_leaves": shape.leaves,
        "min_data_in_leaf": shape.min_leaf,
        "learning_rate": shape.learning_rate,
        "feature_fraction": shape.feature_share,
        "lambda_l2": shape.l2,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": shape.threads,
        "verbose": -1,
    }
    return _trained(parameters, data, rounds)
