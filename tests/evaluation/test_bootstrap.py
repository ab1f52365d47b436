import numpy as np

from llmrec.evaluation import bootstrap
from llmrec.evaluation.bootstrap import resampled_sums


def test_every_resample_draws_as_many_sessions_as_there_are():
    sums = resampled_sums(np.ones((7, 2)), samples=25, seed=0)
    assert sums.shape == (25, 2)
    assert (sums == 7).all()


def test_sums_do_not_depend_on_the_memory_allowed(monkeypatch):
    stats = np.arange(20.0).reshape(10, 2)
    at_once = resampled_sums(stats, samples=13, seed=5)
    monkeypatch.setattr(bootstrap, "_WEIGHTS_BYTES", 8 * 10 * 3)
    assert np.array_equal(resampled_sums(stats, samples=13, seed=5), at_once)
