"""Singular vectors of sparse matrices, from whichever side has fewer entries."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from llmrec.text.encoders.svd import leading_subspace, right_vectors

SINGULAR = [9.0, 5.0, 2.0, 1.0]


def matrix(rows: int, columns: int, singular: list[float]) -> np.ndarray:
    """A matrix with the given singular values and random vectors."""
    rng = np.random.default_rng(0)
    left, _ = np.linalg.qr(rng.standard_normal((rows, len(singular))))
    right, _ = np.linalg.qr(rng.standard_normal((columns, len(singular))))
    return ((left * singular) @ right.T).astype(np.float32)


@pytest.mark.parametrize(("rows", "columns"), [(30, 200), (200, 30)])
@pytest.mark.parametrize("dim", [2, 4])
def test_right_vectors_are_those_of_the_whole_decomposition(rows: int, columns: int, dim: int) -> None:
    dense = matrix(rows, columns, SINGULAR)
    found = right_vectors(sparse.csr_matrix(dense), dim, np.random.default_rng(1))
    np.testing.assert_allclose(found.T @ found, np.eye(dim), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(dense @ found, axis=0), SINGULAR[:dim], rtol=1e-5)  # and no sign


@pytest.mark.parametrize(("rows", "columns"), [(12, 40), (40, 12), (3, 40)])
def test_beyond_its_rank_a_matrix_has_no_vector(rows: int, columns: int) -> None:
    found = right_vectors(sparse.csr_matrix(matrix(rows, columns, [3.0, 1.0])), 6, np.random.default_rng(1))
    assert found.shape == (columns, 6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=0), [1, 1, 0, 0, 0, 0], atol=1e-5)


def test_a_subspace_holds_the_leading_eigenvectors() -> None:
    symmetric = np.diag([1.0, 8.0, 0.5, 4.0]).astype(np.float32)
    start = np.random.default_rng(0).standard_normal((4, 2), dtype=np.float32)
    basis = leading_subspace(symmetric.__matmul__, start, 12)
    np.testing.assert_allclose((basis**2).sum(axis=1), [0, 1, 0, 1], atol=1e-4)  # (4 / 8) ** 12 of the others is left
