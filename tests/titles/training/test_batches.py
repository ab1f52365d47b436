from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from llmrec.titles.training.batches import BatchPlan, decoding_batches, pad

LENGTHS = st.lists(st.integers(1, 200), min_size=1, max_size=300).map(lambda values: np.array(values, dtype=np.int64))


@given(LENGTHS, st.integers(1, 20), st.integers(0, 5), st.integers(0, 3))
def test_an_epoch_shows_every_session_once(lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> None:
    plan = BatchPlan(lengths, batch_size, seed)
    batches = plan.epoch(epoch)
    assert len(batches) == plan.steps_per_epoch
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))


@given(st.integers(0, 40), st.integers(1, 5), st.integers(1, 4))
def test_processes_share_a_batch_without_loss_or_double(size: int, processes: int, accumulation: int) -> None:
    batch = np.arange(size)
    parts = [part for rank in range(processes) for part in BatchPlan.share(batch, rank, processes, accumulation)]
    assert len(parts) == processes * accumulation
    assert sorted(np.concatenate(parts).tolist()) == batch.tolist()
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_epochs_differ_and_a_seed_repeats_them() -> None:
    lengths = np.random.default_rng(0).integers(1, 99, 200)
    first, again = BatchPlan(lengths, 7, 1).epoch(0), BatchPlan(lengths, 7, 1).epoch(0)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert np.concatenate(first).tolist() != np.concatenate(BatchPlan(lengths, 7, 1).epoch(1)).tolist()
    assert np.concatenate(first).tolist() != np.concatenate(BatchPlan(lengths, 7, 2).epoch(0)).tolist()


def test_grouping_by_length_leaves_less_padding_than_chance() -> None:
    lengths = np.random.default_rng(0).integers(1, 200, 1000)
    grouped = sum(len(batch) * lengths[batch].max() for batch in BatchPlan(lengths, 10, 0).epoch(0))
    by_chance = sum(10 * lengths[start : start + 10].max() for start in range(0, 1000, 10))
    assert grouped < 0.7 * by_chance


@given(LENGTHS, st.integers(1, 20))
def test_decoding_batches_hold_every_session_the_longest_first(lengths: np.ndarray, batch_size: int) -> None:
    order = np.concatenate(decoding_batches(lengths, batch_size))
    assert sorted(order.tolist()) == list(range(len(lengths)))
    assert (np.diff(lengths[order]) <= 0).all()


def test_decoding_batches_are_cut_where_the_longest_session_takes_more_than_there_is() -> None:
    lengths = np.array([10, 1, 10, 1, 1, 1, 10])
    whole = [batch.tolist() for batch in decoding_batches(lengths, 4)]
    assert whole == [[0, 2, 6, 1], [3, 4, 5]]
    assert [batch.tolist() for batch in decoding_batches(lengths, 4, lambda length: length, 40)] == whole
    cut = [batch.tolist() for batch in decoding_batches(lengths, 4, lambda length: length, 20)]
    assert cut == [[0, 2], [6, 1], [3, 4, 5]]
    assert [len(batch) for batch in decoding_batches(lengths, 4, lambda length: length, 5)] == [1, 1, 1, 4]


def test_pad_fills_to_the_right() -> None:
    assert pad([[1, 2], [3]], 0).tolist() == [[1, 2], [3, 0]]
    assert pad([[], []], 9).tolist() == [[9], [9]]
