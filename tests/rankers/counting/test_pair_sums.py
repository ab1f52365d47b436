"""Sums over pairs: earlier and later ones together are those of all, and what is read is made of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.rankers.counting.pair_sums import added, arrays_of, best_of_each, sums_of_arrays
from llmrec.rankers.counting.rows import WeightedRows

PAIRS = st.dictionaries(st.tuples(st.integers(0, 4), st.integers(0, 4)), st.integers(1, 3), max_size=12)


def rows_of(pairs: dict[tuple[int, int], float], size: int = 5) -> WeightedRows:
    held = sorted(pairs)
    offsets = np.searchsorted([source for source, _ in held], np.arange(size + 1))
    weights = np.array([pairs[pair] for pair in held], dtype=np.float64)
    return WeightedRows(offsets, np.array([target for _, target in held], dtype=np.int32), weights)


def pairs_of(rows: WeightedRows) -> dict[tuple[int, int], float]:
    return {
        (int(row), int(value)): float(weight)
        for row, value, weight in zip(rows.rows, rows.values, rows.weights, strict=True)
    }


@given(before=PAIRS, later=PAIRS)
def test_sums_of_two_batches_are_those_of_both(before: Any, later: Any) -> None:
    both = {pair: before.get(pair, 0) + later.get(pair, 0) for pair in before.keys() | later.keys()}
    assert pairs_of(added(rows_of(before), rows_of(later))) == both
    assert pairs_of(sums_of_arrays(arrays_of(rows_of(both)), 5)) == both


def test_what_has_faded_to_nothing_is_no_pair_any_more() -> None:
    faded = added(rows_of({(0, 1): 2.0, (0, 2): 2.0**-20}), rows_of({(0, 1): 1.0, (3, 0): 1.0}), 0.25)
    assert pairs_of(faded) == {(0, 1): 1.5, (3, 0): 1.0}


@given(pairs=PAIRS, number=st.integers(1, 4), powers=st.tuples(st.floats(0, 2), st.floats(0, 2)))
def test_the_heaviest_of_each_equal_a_loop(pairs: Any, number: int, powers: tuple[float, float]) -> None:
    best = pairs_of(best_of_each(rows_of(pairs), *powers, number))
    total = [[sum(value for pair, value in pairs.items() if pair[end] == item) for item in range(5)] for end in (0, 1)]
    weights = {
        pair: value / np.power(float(total[0][pair[0]]), powers[0]) / np.power(float(total[1][pair[1]]), powers[1])
        for pair, value in pairs.items()
    }
    for source in range(5):
        own = sorted((-weight, target) for (one, target), weight in weights.items() if one == source)[:number]
        found = {target: weight for (one, target), weight in best.items() if one == source}
        assert [*found] == sorted(found)
        assert found == {target: pytest.approx(-weight, rel=1e-6) for weight, target in own}


@pytest.mark.parametrize("most", [1.0, 2.0**30])
def test_sums_of_any_size_come_back_from_a_file(most: float) -> None:
    rows = rows_of({(0, 1): most, (2, 0): 0.5})
    assert pairs_of(sums_of_arrays(arrays_of(rows), 5)) == pairs_of(rows)


@pytest.mark.parametrize(
    ("name", "value"), [("codes", [1, 0]), ("codes", [1, 1]), ("codes", [0, 9]), ("weights", [0, 1]), ("weights", [1])]
)
def test_arrays_that_are_no_sums_are_refused(name: str, value: list[int]) -> None:
    arrays = arrays_of(rows_of({(0, 1): 1.0, (0, 2): 1.0}))
    changed = {**arrays, f"pairs.{name}": np.array(value, arrays[f"pairs.{name}"].dtype)}
    with pytest.raises(ValueError, match="pairs"):
        sums_of_arrays(changed, 5)
