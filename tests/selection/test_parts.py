"""n-grams in flat arrays count as BLEU does, and the choice at tuned prices is never below the last title."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.evaluation.bleu import bleu_from_stats, bleu_stats
from llmrec.languages import bleu_tokenizer
from llmrec.ragged import Ragged
from llmrec.selection.choice import Policy, Trial, choose, trusted, tune_policy
from llmrec.selection.linear import Prices, corpus_stats, prices_at
from llmrec.selection.offers import GivenTitles, make_offers
from llmrec.selection.settings import SelectSettings
from llmrec.selection.survival import count_survival
from llmrec.text.ngrams import TitleBook, agreement

TITLES = st.lists(st.sampled_from(["a", "b", "a b", "c,", "ボルト", "1/2", "d-e"]), max_size=9).map(" ".join)


@given(st.lists(st.tuples(TITLES, TITLES), min_size=1, max_size=6))
def test_agreement_with_one_title_counts_as_bleu_does(pairs: list[tuple[str, str]]) -> None:
    written, wanted = [one for one, _ in pairs], [other for _, other in pairs]
    locales = ["UK" if row % 2 else "JP" for row in range(len(pairs))]
    book = TitleBook.of([*written, *wanted], pa.array(locales * 2), {"JP": "char"})
    rows = np.arange(len(pairs))
    shared = agreement(book, rows, rows, rows, rows + len(pairs), np.ones(len(pairs)))
    stats = bleu_stats(written, wanted, [bleu_tokenizer(locale) for locale in locales])
    np.testing.assert_array_equal(shared, stats[:, :4])
    np.testing.assert_array_equal(corpus_stats(shared, book.lengths[: len(pairs)], book.lengths[len(pairs) :]), stats)


def test_agreement_is_the_mean_over_weighed_titles() -> None:
    book = TitleBook.of(["steel bolt 3 inch", "steel bolt 4 inch", "brass nut"])
    evidence, weights = np.array([1, 2]), np.array([0.75, 0.25])
    shared = agreement(book, np.array([0]), np.array([0]), np.array([0, 0]), evidence, weights)
    # three words and the pair "steel bolt" in common with the second title, nothing with the third
    np.testing.assert_allclose(shared[0], [3 * 0.75, 0.75, 0, 0])


def test_sessions_do_not_see_each_others_evidence() -> None:
    book = TitleBook.of(["a b", "a b"])
    shared = agreement(book, np.array([0, 1]), np.array([0, 0]), np.array([1]), np.array([1]), np.ones(1))
    np.testing.assert_array_equal(shared[:, 0], [0, 2])


def test_words_that_come_back_survive() -> None:
    book = TitleBook.of(["steel bolt one", "steel bolt two", "steel bolt six"])
    survival = count_survival(book, Ragged(np.array([0, 3]), np.array([0, 1, 2])))
    steel, _, one = survival.of(book.tokens.values[:3])
    assert steel > survival.average > one


def test_offers_are_own_titles_and_likely_ones_each_once() -> None:
    own = Ragged(np.array([0, 2, 2]), np.array([0, 1]))
    evidence = GivenTitles(np.array([0, 0, 0, 1]), np.array([1, 2, 3, 2]), np.array([0.5, 0.3, 0.2, 1.0]), np.ones(4))
    offers = make_offers(4, own, evidence, SelectSettings(titles=2))
    assert offers.rows.tolist() == [0, 0, 0, 1]
    assert offers.titles.tolist() == [0, 1, 2, 2]
    assert offers.likely.tolist() == [0, 0.5, 0.3, 1]
    only = make_offers(4, own, evidence, SelectSettings(without=("own", "likely")))
    assert only.titles.tolist() == [1]  # the last title always stays


def test_prices_are_the_slope_of_log_bleu() -> None:
    stats = corpus_stats(np.tile([5.0, 4, 3, 2], (50, 1)), np.full(50, 8), np.full(50, 8))
    prices, before = prices_at(stats), bleu_from_stats(stats.sum(axis=0))
    moved = stats.copy()
    moved[0, :4] += [1, 1, 1, 1]
    slope = prices.worth(moved[:1, :4] - stats[:1, :4])[0] / len(stats)
    assert np.log(bleu_from_stats(moved.sum(axis=0)) / before) == pytest.approx(slope, rel=0.02)


def made_trial(seed: int, signal: float) -> tuple[Trial, np.ndarray]:
    """200 sessions with five offers each; expectations tell of the matches as far as ``signal`` says."""
    draw = np.random.default_rng(seed)
    rows = np.repeat(np.arange(200), 5)
    lengths = draw.integers(5, 12, len(rows))
    found = np.minimum(draw.integers(0, 9, len(rows)), lengths)
    matches = np.maximum(found[:, None] - np.arange(4), 0).astype(np.float64)
    noise = draw.permutation(matches)
    trial = Trial(rows, lengths, matches, np.arange(200) * 5, draw.integers(5, 12, 200))
    return trial, signal * matches + (1 - signal) * noise


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("signal", [0.0, 0.3, 1.0])
def test_the_tuned_choice_is_never_below_the_last_title(seed: int, signal: float) -> None:
    trial, expected = made_trial(seed, signal)
    prices, added = prices_at(trial.stats(trial.last)), np.zeros(len(trial.rows))
    policy, gain = tune_policy(trial, expected, added, prices)
    chosen = choose(trial.rows, trial.lengths, trusted(expected, added, policy), trial.last, policy)
    ours, last = (bleu_from_stats(trial.stats(rows).sum(axis=0)) for rows in (chosen, trial.last))
    assert ours >= last
    if signal == 1:
        assert gain.low > 0
        assert ours > last + 20


def test_trees_that_mislead_are_not_trusted() -> None:
    trial, expected = made_trial(0, 1.0)
    prices = prices_at(trial.stats(trial.last))
    policy, _ = tune_policy(trial, expected, -2 * prices.worth(expected), prices)
    assert policy.trust == 0


def test_offers_that_are_all_alike_leave_the_last_title() -> None:
    trial, _ = made_trial(1, 0.0)
    alike = Trial(trial.rows, np.full(len(trial.rows), 6), np.ones((len(trial.rows), 4)), trial.last, trial.targets)
    prices = prices_at(alike.stats(alike.last))
    policy, gain = tune_policy(alike, alike.matches, np.zeros(len(alike.rows)), prices)
    assert (policy.margin, gain.difference) == (np.inf, 0)


def test_a_session_without_a_last_title_takes_the_best_offer() -> None:
    policy = Policy(Prices(np.ones(4), np.zeros(4)), 0.0, np.inf)
    chosen = choose(np.array([0, 0]), np.array([3, 3]), np.array([1.0, 2.0]), np.array([-1, -1]), policy)
    assert chosen.tolist() == [1, -1]
