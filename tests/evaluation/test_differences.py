"""Differences of two runs: their interval against theory, and p against every swap where these can be listed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.errors import ConfigError, DataError
from llmrec.evaluation.bleu import bleu_from_stats, bleu_stats, corpus_bleu
from llmrec.evaluation.bootstrap import interval_of, resampled_sums
from llmrec.evaluation.differences import difference_of, randomisation_p

PAIRS = [("a b c d e", "a b c d f"), ("q r s t u", "q r s x y"), ("a b c d", "a b c d"), ("k l m n o p", "k l m n o z")]


def exact_p(gains: np.ndarray) -> float:
    sums = [abs(np.dot(signs, gains)) for signs in itertools.product((-1, 1), repeat=len(gains))]
    return float(np.mean([value >= abs(gains.sum()) - 1e-9 for value in sums]))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0]), min_size=1, max_size=9))
def test_p_is_the_share_of_all_swaps_that_reach_the_difference(gains: list[float]) -> None:
    values = np.array(gains)
    p = randomisation_p(values, np.zeros(len(values)), samples=4000, seed=1)
    assert p == pytest.approx(exact_p(values), abs=0.04)  # five standard errors of a share of 4,000 draws


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(0, 5))
def test_p_does_not_depend_on_which_run_is_first(values: list[float], seed: int) -> None:
    ours, theirs = np.array(values), np.array(values)[::-1]
    p = randomisation_p(ours, theirs, samples=50, seed=seed)
    assert p == randomisation_p(theirs, ours, samples=50, seed=seed)
    assert 1 / 51 <= p <= 1
    assert randomisation_p(ours, ours, samples=50, seed=seed) == 1


def test_a_difference_in_every_session_is_no_chance() -> None:
    assert randomisation_p(np.ones(40), np.zeros(40), samples=999) == 1 / 1000


def test_bleu_swaps_whole_sessions() -> None:
    ours = bleu_stats([good for good, _ in PAIRS], [good for good, _ in PAIRS])
    theirs = bleu_stats([bad for _, bad in PAIRS], [good for good, _ in PAIRS])
    observed = abs(float(bleu_from_stats(ours.sum(axis=0)) - bleu_from_stats(theirs.sum(axis=0))))
    reached = []
    for signs in itertools.product((False, True), repeat=len(PAIRS)):
        swap = np.array(signs)[:, None]
        one, other = np.where(swap, theirs, ours), np.where(swap, ours, theirs)
        reached.append(abs(bleu_from_stats(one.sum(axis=0)) - bleu_from_stats(other.sum(axis=0))) >= observed - 1e-9)
    assert randomisation_p(ours, theirs, samples=4000) == pytest.approx(np.mean(reached), abs=0.04)
    assert randomisation_p(ours, ours, samples=20) == 1


def test_the_interval_has_the_width_that_theory_gives() -> None:
    # gains are +1 or 0 with share p; the mean's standard error is sqrt(p (1 - p) / S), the interval +-1.96 of it
    size, share = 4000, 0.25
    gains = (np.arange(size) < share * size).astype(float)
    interval = difference_of(gains, np.zeros(size), samples=2000)
    error = (share * (1 - share) / size) ** 0.5
    assert interval.difference == share
    assert interval.low == pytest.approx(share - 1.96 * error, abs=0.15 * error)
    assert interval.high == pytest.approx(share + 1.96 * error, abs=0.15 * error)


def test_drawing_by_equal_gains_is_the_bootstrap_of_sessions() -> None:
    # gains of -1, 0, 1/2 and 1 by the hundred: the interval is that of resampling the sessions one by one
    gains = np.repeat([-1.0, 0.0, 0.5, 1.0], [70, 400, 130, 100])
    sums = resampled_sums(gains[:, None], samples=4000, seed=11)[:, 0] / len(gains)
    one_by_one = interval_of(float(gains.mean()), sums)
    grouped = difference_of(gains, np.zeros(len(gains)), samples=4000, seed=1)
    error = gains.std() / len(gains) ** 0.5
    assert grouped.difference == one_by_one.difference == (-70 + 65 + 100) / 700
    assert grouped.low == pytest.approx(one_by_one.low, abs=0.15 * error)
    assert grouped.high == pytest.approx(one_by_one.high, abs=0.15 * error)


def test_the_same_run_twice_differs_by_nothing() -> None:
    stats = bleu_stats(["a b c d", "c d e f g"], ["a b c d e", "c d e f h"])
    interval = difference_of(stats, stats, samples=50)
    assert (interval.difference, interval.low, interval.high) == (0.0, 0.0, 0.0)


def test_a_clear_gain_has_an_interval_above_zero_that_holds_the_difference() -> None:
    wanted = [f"w{row} a b c d" for row in range(60)]
    better = [text if row % 4 else "x a b c d" for row, text in enumerate(wanted)]
    worse = [text if row % 2 else "x a b y d" for row, text in enumerate(wanted)]
    stats = bleu_stats(better, wanted), bleu_stats(worse, wanted)
    interval = difference_of(*stats, samples=400, seed=3)
    exact = corpus_bleu(better, wanted).score - corpus_bleu(worse, wanted).score
    assert interval.difference == pytest.approx(exact, abs=1e-9)
    assert 0 < interval.low < interval.difference < interval.high
    assert interval == difference_of(*stats, samples=400, seed=3)


def test_what_cannot_be_compared_is_refused() -> None:
    bleu = np.ones((2, 10), dtype=np.int64)
    for compare in (difference_of, randomisation_p):
        for ours, theirs in ((np.ones(2), np.ones(3)), (bleu, bleu[:1])):
            with pytest.raises(DataError, match=f"got 2 and {len(theirs)}"):
                compare(ours, theirs)
        with pytest.raises(DataError, match="nothing to compare"):
            compare(np.ones(0), np.ones(0))
        with pytest.raises(ConfigError, match="at least 1; got 0"):
            compare(bleu, bleu, samples=0)
