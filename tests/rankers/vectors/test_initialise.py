"""First item vectors from co-occurrence."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest

from llmrec.rankers.sessions import CodedSessions
from llmrec.rankers.vectors.initialise import align, co_occurrence, svd_vectors


def coded(*sessions: list[int]) -> CodedSessions:
    offsets = np.cumsum([0, *map(len, sessions)])
    return CodedSessions(offsets, np.array(list(chain(*sessions))), np.zeros(len(sessions), dtype=np.int64))


def test_co_occurrence_matches_the_counts_worked_by_hand() -> None:
    # 0-1 at distance 1, 1-2 at distance 1, 0-2 at distance 2 for a half; 2 beside itself does not count.
    counts = co_occurrence(coded([0, 1, 2], [2, 2], [1, 0]), 3, window=2, decay=0.5).toarray()
    np.testing.assert_allclose(counts, [[0, 2, 0.5], [2, 0, 1], [0.5, 1, 0]])


def test_items_of_different_sessions_do_not_co_occur() -> None:
    assert co_occurrence(coded([0], [1]), 2, window=3, decay=1.0).nnz == 0


@pytest.mark.parametrize("local", [0.0, 0.5, 1.0])
def test_vectors_have_length_one_and_items_seen_together_point_the_same_way(local: float) -> None:
    sessions = coded(*([[0, 1, 2], [2, 0, 1], [3, 4, 5], [5, 3, 4]] * 3))
    vectors = svd_vectors(sessions, 7, 4, window=2, decay=0.5, local=local, seed=0)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)  # item 6 never occurs: a random one
    similar = vectors @ vectors.T
    assert similar[:3, :3].min() > 0.2
    assert similar[3:6, 3:6].min() > 0.2
    assert abs(similar[:3, 3:6]).max() < 0.1  # two islands without a bridge


def test_the_factors_rebuild_the_normalised_matrix_where_they_are_enough() -> None:
    # With as many dimensions as items, cosines are the normalised matrix's: item 0 and 1 only ever meet each other,
    # so the matrix is [[.2, 1], [1, .2]] there: one positive eigenvalue, equal vectors.
    vectors = svd_vectors(coded([0, 1], [2, 3, 2]), 4, 4, window=1, decay=1.0, seed=3)
    np.testing.assert_allclose(vectors @ vectors.T, [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]], atol=1e-3)


def test_the_same_seed_gives_the_same_vectors() -> None:
    sessions = coded([0, 1, 2, 3, 4], [2, 4, 1])
    first, second = (svd_vectors(sessions, 5, 3, window=3, decay=0.5, local=0.5, seed=1) for _ in range(2))
    assert (first == second).all()


@pytest.mark.parametrize("size", [2, 40])
def test_more_dimensions_than_items_are_fine(size: int) -> None:
    assert svd_vectors(coded([0, 1]), 3, size, window=1, decay=1.0, seed=0).shape == (3, size)


def test_aligned_vectors_agree_with_trained_ones_and_keep_their_angles() -> None:
    rng = np.random.default_rng(0)
    fresh = rng.standard_normal((9, 4)).astype(np.float32)
    turn, _ = np.linalg.qr(rng.standard_normal((4, 4)))
    shared = np.array([1, 3, 4, 6, 8])
    aligned = align(fresh, shared, (fresh[shared] @ turn).astype(np.float32))
    np.testing.assert_allclose(aligned, fresh @ turn, atol=1e-5)
    np.testing.assert_allclose(aligned @ aligned.T, fresh @ fresh.T, atol=1e-4)
