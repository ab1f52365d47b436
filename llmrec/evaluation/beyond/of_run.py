"""Measures beyond accuracy of a run: its lists, targets and files brought together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from llmrec.data.products import load_products
from llmrec.evaluation.beyond.measures import Lists, beyond_accuracy
from llmrec.evaluation.beyond.training import read_training
from llmrec.evaluation.results import Part
from llmrec.evaluation.runs import Run
from llmrec.evaluation.scoring import OVERALL

__all__ = ["beyond_of_run"]


def beyond_of_run(
    run: Run,
    targets: Any,
    locales: Iterable[str],
    train: Sequence[Path],
    products: Path | None,
    cutoffs: Sequence[int],
    samples: int = 1000,
    seed: int = 0,
    baseline: Any = None,
) -> dict[str, Part]:
    """Measures of the sessions that have a target: of all of them, and of each locale where there are several.

    Args:
        run: Ranked lists.
        targets: Arrow strings of the same rows; null or empty where unknown.
        locales: Names in the order to be shown.
        train: Files that the ranker learnt from.
        products: For what is of titles and of a locale's catalogue; None: these are left out.
        cutoffs: Lengths that lists are cut to.
        samples: Resampled test sets of an interval.
        seed: Of the resampling.
        baseline: Ranked lists of another run for the same sessions; None: no differences.

    Raises:
        DataError: a file cannot be read.
    """
    wanted = [bool(one) for one in targets.to_pylist()]
    kept = pa.array(wanted)
    ranked, wished, spoken = (_whole(column.filter(kept)) for column in (run.predictions, targets, run.locales))
    names = np.asarray(spoken.to_pylist())
    shop = None if products is None else load_products(products, ("locale", "id", "title"))
    other = None if baseline is None else _whole(baseline.filter(kept))
    lists = Lists(ranked, wished, names, read_training(train), shop, other)
    sets = {OVERALL: np.arange(len(names))}
    by_locale = {name: np.flatnonzero(names == name) for name in locales}
    return beyond_accuracy(lists, sets | (by_locale if len(by_locale) > 1 else {}), cutoffs, samples, seed)


def _whole(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
