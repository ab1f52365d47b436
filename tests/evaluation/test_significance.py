"""Approximate randomisation: what the definition gives where every swap can be listed, and how p behaves."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.errors import ConfigError, DataError
from llmrec.evaluation.bleu import bleu_from_stats, bleu_stats
from llmrec.evaluation.significance import randomisation_p_bleu, randomisation_p_mean

PAIRS = [("a b c d e", "a b c d f"), ("q r s t u", "q r s x y"), ("a b c d", "a b c d"), ("k l m n o p", "k l m n o z")]


def exact_p(gains: np.ndarray) -> float:
    sums = [abs(np.dot(signs, gains)) for signs in itertools.product((-1, 1), repeat=len(gains))]
    return float(np.mean([value >= abs(gains.sum()) - 1e-9 for value in sums]))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0]), min_size=1, max_size=9))
def test_p_is_the_share_of_all_swaps_that_reach_the_difference(gains: list[float]) -> None:
    values = np.array(gains)
    p = randomisation_p_mean(values, np.zeros(len(values)), samples=4000, seed=1)
    assert p == pytest.approx(exact_p(values), abs=0.04)  # five standard errors of a share of 4,000 draws


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(0, 5))
def test_p_does_not_depend_on_which_run_is_first(values: list[float], seed: int) -> None:
    ours, theirs = np.array(values), np.array(values)[::-1]
    p = randomisation_p_mean(ours, theirs, samples=50, seed=seed)
    assert p == randomisation_p_mean(theirs, ours, samples=50, seed=seed)
    assert 1 / 51 <= p <= 1
    assert randomisation_p_mean(ours, ours, samples=50, seed=seed) == 1


def test_a_difference_in_every_session_is_no_chance() -> None:
    assert randomisation_p_mean(np.ones(40), np.zeros(40), samples=999) == 1 / 1000


def test_bleu_swaps_whole_sessions() -> None:
    ours = bleu_stats([good for good, _ in PAIRS], [good for good, _ in PAIRS])
    theirs = bleu_stats([bad for _, bad in PAIRS], [good for good, _ in PAIRS])
    observed = abs(float(bleu_from_stats(ours.sum(axis=0)) - bleu_from_stats(theirs.sum(axis=0))))
    reached = []
    for signs in itertools.product((False, True), repeat=len(PAIRS)):
        swap = np.array(signs)[:, None]
        one, other = np.where(swap, theirs, ours), np.where(swap, ours, theirs)
        reached.append(abs(bleu_from_stats(one.sum(axis=0)) - bleu_from_stats(other.sum(axis=0))) >= observed - 1e-9)
    assert randomisation_p_bleu(ours, theirs, samples=4000) == pytest.approx(np.mean(reached), abs=0.04)
    assert randomisation_p_bleu(ours, ours, samples=20) == 1


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(DataError, match="got 2 and 3"):
        randomisation_p_mean(np.ones(2), np.ones(3))
    with pytest.raises(DataError, match="nothing to compare"):
        randomisation_p_mean(np.ones(0), np.ones(0))
    with pytest.raises(ConfigError, match="at least 1; got 0"):
        randomisation_p_bleu(np.ones((2, 10), dtype=np.int64), np.ones((2, 10), dtype=np.int64), samples=0)
