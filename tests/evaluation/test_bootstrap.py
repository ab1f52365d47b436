import numpy as np
import pytest

from llmrec.errors import ConfigError, DataError
from llmrec.evaluation import bootstrap
from llmrec.evaluation.bootstrap import interval_of, paired_bootstrap_mean, resampled_sums


def test_every_resample_draws_as_many_sessions_as_there_are():
    sums = resampled_sums(np.ones((7, 2)), samples=25, seed=0)
    assert sums.shape == (25, 2)
    assert (sums == 7).all()


def test_sums_do_not_depend_on_the_memory_allowed(monkeypatch):
    stats = np.arange(20.0).reshape(10, 2)
    at_once = resampled_sums(stats, samples=13, seed=5)
    monkeypatch.setattr(bootstrap, "_WEIGHTS_BYTES", 8 * 10 * 3)
    assert np.array_equal(resampled_sums(stats, samples=13, seed=5), at_once)


def test_the_interval_has_the_width_that_theory_gives():
    # gains are +1 or 0 with share p; the mean's standard error is sqrt(p (1 - p) / S), the interval +-1.96 of it
    size, share = 4000, 0.25
    gains = (np.arange(size) < share * size).astype(float)
    interval = paired_bootstrap_mean(gains, np.zeros(size), samples=2000)
    error = (share * (1 - share) / size) ** 0.5
    assert interval.difference == share
    assert interval.low == pytest.approx(share - 1.96 * error, abs=0.15 * error)
    assert interval.high == pytest.approx(share + 1.96 * error, abs=0.15 * error)


def test_drawing_by_equal_gains_is_the_bootstrap_of_sessions():
    # gains of -1, 0, 1/2 and 1 by the hundred: the interval is that of resampling the sessions one by one
    gains = np.repeat([-1.0, 0.0, 0.5, 1.0], [70, 400, 130, 100])
    sums = resampled_sums(gains[:, None], samples=4000, seed=11)[:, 0] / len(gains)
    one_by_one = interval_of(float(gains.mean()), sums)
    grouped = paired_bootstrap_mean(gains, np.zeros(len(gains)), samples=4000, seed=1)
    error = gains.std() / len(gains) ** 0.5
    assert grouped.difference == one_by_one.difference == (-70 + 65 + 100) / 700
    assert grouped.low == pytest.approx(one_by_one.low, abs=0.15 * error)
    assert grouped.high == pytest.approx(one_by_one.high, abs=0.15 * error)


def test_no_samples_no_sessions_and_unequal_runs_are_refused():
    with pytest.raises(ConfigError, match="at least 1; got 0"):
        paired_bootstrap_mean(np.ones(2), np.ones(2), samples=0)
    with pytest.raises(DataError, match="no session has a target"):
        paired_bootstrap_mean(np.ones(0), np.ones(0))
    with pytest.raises(DataError, match="got 2 and 3"):
        paired_bootstrap_mean(np.ones(2), np.ones(3))
