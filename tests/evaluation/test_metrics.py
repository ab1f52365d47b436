import math
import re

import ir_measures
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import RR, R, nDCG

from llmrec.errors import ConfigError, DataError
from llmrec.evaluation import metrics
from llmrec.evaluation.metrics import mrr_at_k, ndcg_at_k, ranks_of_targets, recall_at_k

ITEMS = [f"B{number:03d}" for number in range(150)]


def test_a_rank_counts_from_one_and_an_absent_target_is_zero():
    lists = [["a", "b", "c"], ["a", "b"], [], ["c"]]
    assert ranks_of_targets(lists, ["c", "z", "a", "c"]).tolist() == [3, 0, 0, 1]


def test_metrics_match_the_values_worked_by_hand():
    ranks = np.array([1, 2, 0, 101])
    assert mrr_at_k(ranks, 100) == (1 + 1 / 2) / 4
    assert recall_at_k(ranks, 100) == 2 / 4
    assert ndcg_at_k(ranks, 100) == pytest.approx((1 + 1 / math.log2(3)) / 4, abs=1e-15)
    assert mrr_at_k(ranks, 1) == 1 / 4
    assert recall_at_k(ranks, 101) == 3 / 4


def test_no_sessions_score_zero():
    nothing = ranks_of_targets([], [])
    assert (mrr_at_k(nothing, 100), recall_at_k(nothing, 100), ndcg_at_k(nothing, 100)) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("metric", [mrr_at_k, recall_at_k, ndcg_at_k])
def test_a_cutoff_below_one_is_refused(metric):
    with pytest.raises(ConfigError, match="at least 1; got 0"):
        metric(np.array([1]), 0)


ranked_sessions = st.lists(
    st.tuples(st.lists(st.sampled_from(ITEMS), max_size=100, unique=True), st.sampled_from(ITEMS)),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(ranked_sessions, st.sampled_from([1, 5, 100]))
def test_metrics_agree_with_ir_measures(sessions, k):
    lists, targets = [ranked for ranked, _ in sessions], [target for _, target in sessions]
    ranks = ranks_of_targets(lists, targets)
    relevant = [ir_measures.Qrel(str(row), target, 1) for row, target in enumerate(targets)]
    scored = [
        ir_measures.ScoredDoc(str(row), item, 1.0 / place)
        for row, ranked in enumerate(lists)
        for place, item in enumerate(ranked, 1)
    ]
    if not scored:
        assert not ranks.any()
        return
    reference = ir_measures.calc_aggregate([RR @ k, R @ k, nDCG @ k], relevant, scored)
    assert mrr_at_k(ranks, k) == pytest.approx(reference[RR @ k], abs=1e-9)
    assert recall_at_k(ranks, k) == pytest.approx(reference[R @ k], abs=1e-9)
    assert ndcg_at_k(ranks, k) == pytest.approx(reference[nDCG @ k], abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(ranked_sessions, st.integers(1, 5))
def test_ranks_do_not_depend_on_how_the_column_is_cut(sessions, size):
    lists, targets = [ranked for ranked, _ in sessions], [target for _, target in sessions]
    expected = [ranked.index(target) + 1 if target in ranked else 0 for ranked, target in sessions]
    chunked = pa.chunked_array(
        [pa.array(lists[at : at + size], pa.list_(pa.string())) for at in range(0, len(lists), size)]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "CHUNK", 3)
        assert ranks_of_targets(chunked, pa.array(targets)).tolist() == expected


def test_a_sliced_large_list_column_ranks_as_its_rows_do():
    column = pa.array([["x"], ["a", "b"], ["b"]], pa.large_list(pa.large_string())).slice(1)
    assert ranks_of_targets(column, pa.array(["b", "b"], pa.large_string())).tolist() == [2, 1]


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ([["a"], ["b", "c", "b"]], "RUN, row 2: id 'b' is ranked twice"),
        ([["a"], [str(number) for number in range(101)]], "RUN, row 2: 101 ids in a ranked list; cut it to 100"),
        ([["a"], None], "RUN, row 2: no ranked list (null)"),
        ([[], ["a", None]], "RUN, row 2: a ranked list holds an empty (null) id"),
        ([["a"]], "RUN: 1 ranked lists for 2 targets"),
    ],
)
def test_a_bad_list_is_refused_with_its_row(lists, message):
    with pytest.raises(DataError, match=re.escape(message)):
        ranks_of_targets(lists, ["a", "b"], source="RUN")
