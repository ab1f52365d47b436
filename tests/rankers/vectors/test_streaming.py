"""The k best by product of vectors, in chunks, against a plain sort."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from llmrec.rankers.vectors import streaming
from llmrec.rankers.vectors.streaming import Conditions, Shelves, stream_top_k

NONE = np.zeros(0, dtype=np.int64)


def plainly(scores: np.ndarray, k: int) -> tuple[list[list[int]], list[list[float]]]:
    """Sort of each row by falling score, then rising code; what is minus infinity is out."""
    codes, values = [], []
    for row in scores:
        order = [int(one) for one in np.lexsort((np.arange(len(row)), -row)) if row[one] > -np.inf][:k]
        codes.append(order + [-1] * (k - len(order)))
        values.append([float(row[one]) for one in order] + [-np.inf] * (k - len(order)))
    return codes, values


@pytest.mark.parametrize("held", [1, 60, 10_000])
@pytest.mark.parametrize("k", [1, 7, 40])
def test_chunks_give_what_a_sort_gives(held: int, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "SCORES_HELD", held)
    rng = np.random.default_rng(0)
    # Small whole numbers: products are exact and many are equal.
    sessions, items = rng.integers(-2, 3, (12, 4)).astype(np.float32), rng.integers(-2, 3, (40, 4)).astype(np.float32)
    sold, locales = rng.random((3, 40)) < 0.6, rng.integers(0, 3, 12)
    seen_rows, seen_codes = rng.integers(0, 12, 30), rng.integers(0, 40, 30)
    prior = rng.integers(-1, 2, (3, 40)).astype(np.float32)
    scores = sessions @ items.T + prior[locales]
    scores[~sold[locales]] = -np.inf
    scores[seen_rows, seen_codes] = -np.inf
    given = Conditions(sold, locales, seen_rows, seen_codes, prior)
    codes, values = stream_top_k(torch.from_numpy(sessions), torch.from_numpy(items), k, given)
    assert (codes.tolist(), values.tolist()) == plainly(scores, k)
    shelves = Shelves.of(sold)
    shelved = torch.from_numpy(items[shelves.order])
    codes, values = stream_top_k(torch.from_numpy(sessions), shelved, k, given, shelves)
    assert (codes.tolist(), values.tolist()) == plainly(scores, k)


@pytest.mark.parametrize("locales", [1, 7, 70])
def test_shelves_hold_what_a_locale_sells_and_nothing_else(locales: int) -> None:
    sold = np.random.default_rng(0).random((locales, 200)) < 0.5
    sold[0] = True
    shelves = Shelves.of(sold)
    assert np.array_equal(shelves.order[shelves.places], np.arange(200))
    for here, ranges in zip(sold, shelves.ranges, strict=True):
        rows = [row for first, last in ranges for row in range(first, last)]
        assert sorted(shelves.order[rows].tolist()) == np.flatnonzero(here).tolist()
    assert shelves.ranges[0] == [(0, 200)]


def test_nothing_left_to_rank_is_an_empty_list() -> None:
    given = Conditions(np.zeros((1, 3), dtype=np.bool_), np.array([0]), NONE, NONE)
    codes, values = stream_top_k(torch.ones(1, 2), torch.ones(3, 2), 2, given)
    assert codes.tolist() == [[-1, -1]]
    assert np.isneginf(values).all()
