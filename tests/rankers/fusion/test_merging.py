"""Sources' proposals in one list: against a plain dictionary."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.rankers.fusion.merging import merge


@pytest.mark.parametrize("most", [1, 3, 4, 20])
def test_the_best_by_prior_are_kept_in_the_order_of_their_codes(most: int) -> None:
    random = np.random.default_rng(0)
    sources, depth, items = 3, 6, 12
    ranked = np.stack([[random.permutation(items)[:depth] for _ in range(sources)] for _ in range(40)])
    ranked[random.random(ranked.shape) < 0.2] = -1  # short lists, here with holes
    ranked[7] = -1
    table, given = ranked.reshape(40, -1), random.random((40, sources * depth), dtype=np.float32)
    columns = (np.repeat(np.arange(sources), depth), np.tile(np.arange(1, depth + 1), sources))
    slots = np.zeros(items, dtype=np.int32)
    rows, codes, scores, ranks, priors = merge(table, given, columns, most, slots, 20.0)
    assert not slots.any()
    for row in range(40):
        sums: dict[int, float] = {}
        places: dict[tuple[int, int], int] = {}
        for column, code in enumerate(table[row].tolist()):
            if code >= 0:
                sums[code] = sums.get(code, 0) + 1 / (20 + columns[1][column])
                places[code, int(columns[0][column])] = column
        wanted = sorted(sorted(sums, key=lambda code: (-np.float32(sums[code]), code))[:most])
        own = rows == row
        assert codes[own].tolist() == wanted
        assert priors[own] == pytest.approx([sums[code] for code in wanted])
        for code, score, rank in zip(wanted, scores[own], ranks[own], strict=True):
            for source in range(sources):
                column = places.get((code, source), -1)
                assert np.isnan(score[source]) if column < 0 else score[source] == given[row, column]
                assert np.isnan(rank[source]) if column < 0 else rank[source] == columns[1][column]
