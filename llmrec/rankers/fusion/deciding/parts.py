"""Examples and features without some sources or scorers, as if these had never been asked."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from llmrec.arrays import Bools, Floats
from llmrec.ragged import row_numbers
from llmrec.rankers.fusion.training import Fold
from llmrec.rankers.fusion.trees import Examples

__all__ = ["columns_without", "examples_without", "proposed_without", "sources_of", "without_parts"]


def sources_of(names: Sequence[str]) -> list[str]:
    """Names of the sources, from those of their ranks, in order."""
    return [name.split(".")[1] for name in names if name.startswith("source.") and name.endswith(".rank")]


def columns_without(names: Sequence[str], off: Collection[str]) -> list[int]:
    """Places of the features that are of none of some sources, scorers or groups."""
    return [place for place, name in enumerate(names) if not {*name.split(".")[:2]} & {*off}]


def proposed_without(features: Floats, names: Sequence[str], off: Collection[str]) -> Bools:
    """Whether candidates ``(C,)`` are proposed by another source than some."""
    sources = sources_of(names)
    others = [names.index(f"source.{name}.rank") for name in sources if name not in off]
    if len(others) == len(sources):
        return np.ones(len(features), dtype=np.bool_)
    return np.asarray(~np.isnan(features[:, others]).all(axis=1), dtype=np.bool_)


def examples_without(examples: Examples, names: Sequence[str], off: Collection[str]) -> Examples:
    """Examples without the features of some sources, scorers or groups, and what these sources alone propose."""
    proposed, columns = proposed_without(examples.features, names, off), columns_without(names, off)
    sizes = np.bincount(row_numbers(examples.sizes)[proposed], minlength=len(examples.sizes))
    return replace(
        examples,
        features=examples.features[proposed][:, columns],
        labels=examples.labels[proposed],
        sizes=sizes[sizes > 0],
        weights=examples.weights[proposed],
    )


def without_parts(fold: Fold, off: Collection[str]) -> Fold:
    """A fold without the features of some scorers or groups; the candidates stay."""
    columns = columns_without(fold.names, off)
    if len(columns) == len(fold.names):
        return fold
    judged = fold.judged and replace(fold.judged, features=fold.judged.features[:, columns])
    examples = replace(fold.examples, features=fold.examples.features[:, columns])
    return replace(fold, names=[fold.names[place] for place in columns], examples=examples, judged=judged)
