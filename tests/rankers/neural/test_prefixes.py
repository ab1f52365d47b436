"""Prefixes of sessions as training examples, and their batches."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest

from llmrec.rankers.neural.prefixes import BatchPlan, build_prefixes, share_of
from llmrec.rankers.sessions import CodedSessions


def coded(*sessions: list[int]) -> CodedSessions:
    offsets = np.cumsum([0, *map(len, sessions)])
    return CodedSessions(offsets, np.array(list(chain(*sessions))), np.zeros(len(sessions), dtype=np.int64))


def examples(sessions: CodedSessions, max_length: int, every_prefix: bool = True) -> list[tuple[list[int], int]]:
    prefixes = build_prefixes(sessions, max_length, every_prefix)
    rows, lengths, targets = prefixes.batch(np.arange(len(prefixes)))
    return [(row[:size].tolist(), target) for row, size, target in zip(rows, lengths, targets.tolist(), strict=True)]


def test_every_item_after_the_first_is_a_target() -> None:
    made = examples(coded([4, 2, 7], [9], [], [1, 1]), max_length=10)
    assert made == [([5], 3), ([5, 3], 8), ([2], 2)]  # rows are codes + 1


def test_only_the_last_item_where_that_is_asked_for() -> None:
    assert examples(coded([4, 2, 7], [9], [1, 1]), 10, every_prefix=False) == [([5, 3], 8), ([2], 2)]


def test_long_prefixes_keep_their_last_items() -> None:
    assert examples(coded([0, 1, 2, 3]), max_length=2) == [([1], 2), ([1, 2], 3), ([2, 3], 4)]


def test_batches_are_padded_to_their_own_longest_example() -> None:
    prefixes = build_prefixes(coded([4, 2, 7, 8]), 10)
    rows, lengths, _ = prefixes.batch(np.array([0, 1]))
    assert rows.tolist() == [[5, 0], [5, 3]]
    assert lengths.tolist() == [1, 2]


def test_an_epoch_has_every_example_once_and_the_next_another_order() -> None:
    plan = BatchPlan(np.random.default_rng(0).integers(1, 9, 1000), 64, seed=5)
    first = list(plan.epoch(0))
    assert len(first) == plan.steps_per_epoch == 16
    assert sorted(np.concatenate(first).tolist()) == list(range(1000))
    again = BatchPlan(plan.lengths, 64, seed=5)
    assert all((one == other).all() for one, other in zip(first, again.epoch(0), strict=True))
    assert [one.tolist() for one in plan.epoch(1)] != [one.tolist() for one in first]
    assert [one.tolist() for one in plan.epoch(0, first=3)] == [one.tolist() for one in first[3:]]


def test_examples_of_a_batch_have_nearly_the_same_length() -> None:
    lengths = np.random.default_rng(0).integers(1, 50, 20_000)
    padded = sum(len(one) * lengths[one].max() for one in BatchPlan(lengths, 100, seed=0).epoch(0))
    assert padded < 1.1 * lengths.sum()  # about 2 times without the grouping


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
def test_processes_share_a_batch(processes: int) -> None:
    batch = np.arange(10, 15)
    shares = [share_of(batch, one, processes) for one in range(processes)]
    assert all(len(share) for share in shares)
    assert sorted(np.concatenate(shares[: len(batch)]).tolist()) == batch.tolist()
