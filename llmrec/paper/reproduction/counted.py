"""Cells that are counted in the data: Tables 1 and 2, Figures 2, 4 and 5, by row and column of their recipes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from llmrec.paper.reproduction.recipe import Row
from llmrec.paper.reproduction.records import Cell
from llmrec.paper.statistics.corpus import ALL, TRAIN, Corpus, open_corpus
from llmrec.paper.statistics.figures import (
    product_frequency,
    product_overlap,
    repeat_shares,
    repeated_items,
    session_lengths,
)
from llmrec.paper.statistics.overview import overview
from llmrec.paper.statistics.sknn import sknn_scores
from llmrec.schema import SMALL_LOCALES

__all__ = ["COUNTED", "count_cells"]

Found = Iterator[tuple[str, str, float]]  # row, column, value
LONG: Final = 100  # items: "only few sessions are with a length larger than 100" (§3)


def count_cells(row: Row, data: Path) -> tuple[dict[str, Cell], float]:
    """Cells of a row that the data has, and the seconds that counting them took, with those of the rows counted along.

    Raises:
        DataError: a file cannot be read.
    """
    found, seconds = _counted(row.method.counts, data)
    cells = {column: Cell(found[row.name, column]) for column in row.columns if (row.name, column) in found}
    return cells, seconds


@lru_cache(maxsize=16)  # rows of one table are counted at once
def _counted(name: str, data: Path) -> tuple[Mapping[tuple[str, str], float], float]:
    started = time.monotonic()
    with open_corpus(data) as corpus:
        found = {(row, column): float(value) for row, column, value in COUNTED[name](corpus)}
    return found, time.monotonic() - started


def _table1(corpus: Corpus) -> Found:
    for row, column, value in _table2(corpus):
        if row == "Total" and column in ("train_sessions", "test_sessions"):
            yield "amazon_m2", column, value
        if row == "Total" and column == "train_products":
            yield "amazon_m2", "products", value


def _table2(corpus: Corpus) -> Found:
    """Training and, as the paper counts it, the phase-1 tests of Tasks 1 and 2 together."""
    tested: dict[str, list[int]] = {}
    for row in overview(corpus).table.to_pylist():
        name = "Total" if row["locale"] == ALL else row["locale"]
        if row["split"] == TRAIN:
            if row["num_products"] is not None:
                yield name, "train_products", row["num_products"]
            yield from _sizes(name, "train", row["num_sessions"], row["num_interactions"])
        elif row["split"] in ("test_task1_phase1", "test_task2_phase1", "test_task1", "test_task2"):
            sums = tested.setdefault(name, [0, 0])
            sums[:] = [sums[0] + row["num_sessions"], sums[1] + row["num_interactions"]]
    whole = any(locale not in SMALL_LOCALES for locale in tested if locale != "Total")
    for name, (sessions, interactions) in tested.items():
        if whole or name != "Total":  # the total of Task 2 alone is not the paper's
            yield from _sizes(name, "test", sessions, interactions)


def _sizes(row: str, part: str, sessions: int, interactions: int) -> Found:
    yield row, f"{part}_sessions", sessions
    yield row, f"{part}_interactions", interactions
    yield row, f"{part}_length", interactions / max(sessions, 1)


def _splits(corpus: Corpus) -> Found:
    for row in overview(corpus).table.to_pylist():
        if row["locale"] == ALL:
            for column in ("num_sessions", "mean_length", "longest", "repeat_share"):
                yield row["split"], column, row[column]


def _figure2(corpus: Corpus) -> Found:
    seen = _points(product_frequency(corpus), "times", "num_products")
    times, products = seen[ALL]
    yield "long_tail", "products_seen_once", products[times == 1].sum() / products.sum()
    yield "long_tail", "most_seen", times.max()
    overlap = product_overlap(corpus).to_pylist()
    small = [row["overlap"] for row in overlap if row["locale_a"] in SMALL_LOCALES and row["locale_b"] == "DE"]
    if small:
        yield "overlap", "most_of_small_in_DE", max(small)
    yield from (("lengths", column, value) for column, value in _lengths(corpus)[ALL].items())
    for row in repeat_shares(corpus).to_pylist():
        yield "repeats", row["locale"], row["share"]
    yield from (("repeated_items", column, value) for column, value in _repeated(corpus)[ALL].items())


def _figure2_sknn(corpus: Corpus) -> Found:
    scores = sknn_scores(corpus).table["score"].to_numpy()
    yield "sknn", "median", np.median(scores)
    yield "sknn", "at_least_half", np.mean(scores >= 0.5)


def _figure4(corpus: Corpus) -> Found:
    for name, values in _lengths(corpus).items():
        yield from ((name, column, value) for column, value in values.items())


def _figure5(corpus: Corpus) -> Found:
    for name, values in _repeated(corpus).items():
        yield from ((name, column, value) for column, value in values.items())


def _lengths(corpus: Corpus) -> dict[str, dict[str, float]]:
    return {
        name: {
            "mean": (x * y).sum() / y.sum(),
            "longest": x.max(),
            f"longer_than_{LONG}": y[x > LONG].sum() / y.sum(),
        }
        for name, (x, y) in _points(session_lengths(corpus), "length", "num_sessions").items()
    }


def _repeated(corpus: Corpus) -> dict[str, dict[str, float]]:
    return {
        name: {"one_item": y[x == 1].sum() / y.sum(), "most": x.max()}
        for name, (x, y) in _points(repeated_items(corpus), "num_repeated", "num_sessions").items()
    }


def _points(table: Any, x: str, y: str) -> dict[str, tuple[Any, Any]]:
    """x and y of each locale."""
    names = np.array(table["locale"].to_pylist(), dtype=object)
    first, second = table[x].to_numpy(), table[y].to_numpy()
    return {name: (first[names == name], second[names == name]) for name in dict.fromkeys(names)}


COUNTED: Final[Mapping[str, Callable[[Corpus], Found]]] = {
    "table1": _table1,
    "table2": _table2,
    "splits": _splits,
    "figure2": _figure2,
    "figure2_sknn": _figure2_sknn,
    "figure4": _figure4,
    "figure5": _figure5,
}
