"""Rows of codes and weights, in memory and as a file's arrays."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.rankers.counting.rows import WeightedRows


def test_weights_stay_with_their_codes() -> None:
    rows = WeightedRows(np.array([0, 2, 2, 3]), np.array([7, 8, 9], np.int32), np.array([0.5, 1.0, 2.0], np.float32))
    taken = rows.take(np.array([2, 0]))
    assert (taken.values.tolist(), taken.weights.tolist()) == ([9, 7, 8], [2.0, 0.5, 1.0])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("offsets", [0, 2, 1, 3]),
        ("offsets", [0, 3]),
        ("offsets", [0, 1, 2, 2]),
        ("codes", [7, 8, 10]),
        ("codes", [-1, 8, 9]),
        ("weights", [1.0]),
    ],
)
def test_arrays_that_do_not_fit_are_refused(name: str, value: list[float]) -> None:
    arrays = WeightedRows.sets(np.array([0, 2, 2, 3]), np.array([7, 8, 9])).arrays("rows")
    assert WeightedRows.from_arrays(arrays, "rows", 3, 10, weighted=False).values.tolist() == [7, 8, 9]
    changed = arrays | {f"rows.{name}": np.array(value, arrays[f"rows.{name}"].dtype)}
    with pytest.raises(ValueError, match="rows"):
        WeightedRows.from_arrays(changed, "rows", 3, 10, weighted=False)
