"""Leading singular and eigenvectors of large sparse matrices by randomised subspace iteration (Halko et al. 2011)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from scipy.linalg import lu

from llmrec.arrays import Floats
from llmrec.processes import library_threads_off

__all__ = ["leading_subspace", "right_vectors"]

OVERSAMPLING: Final = 10
STEPS: Final = 4
_NOTHING: Final = 1e-6  # of the largest eigenvalue: what is smaller is rounding


def leading_subspace(
    multiply: Callable[[Floats], Floats],
    start: Floats,
    steps: int,
    apart: Callable[[Floats], Floats] = lambda columns: np.linalg.qr(columns)[0],
) -> Floats:
    """Orthonormal basis near the leading eigenvectors of a symmetric matrix ``(N, N)``, shape ``(N, D)``.

    Args:
        multiply: The matrix times some columns.
        start: Random columns, shape ``(N, D)``, ``D`` at most ``N``; some more than are wanted make those better.
        steps: Multiplications; each tells apart better what the spectrum tells apart.
        apart: Keeps columns from falling together between two steps; they span the same space after it.
    """
    basis = start
    for _ in range(steps - 1):
        basis = apart(multiply(basis))
    orthonormal: Floats = np.linalg.qr(multiply(basis))[0]
    return orthonormal


@library_threads_off()  # they would wait for each other longer than they compute
def right_vectors(matrix: Any, dim: int, rng: np.random.Generator) -> Floats:
    """First right singular vectors of a sparse matrix ``(rows, columns)``, shape ``(columns, dim)``.

    The iteration is on the side with fewer entries, rows or columns, so that few texts cost little, however many
    columns they have. Where the matrix has a smaller rank than ``dim``, the rest is 0.
    """
    few_rows = matrix.shape[0] < matrix.shape[1]
    tall = matrix.T if few_rows else matrix
    number = tall.shape[1]
    start = rng.standard_normal((number, min(dim + OVERSAMPLING, number)), dtype=np.float32)
    # LU as in scikit-learn: QR takes ten times as long
    basis = leading_subspace(
        lambda columns: tall.T @ (tall @ columns), start, STEPS, lambda columns: lu(columns, True)[0]
    )
    image = tall @ basis
    values, rotation = np.linalg.eigh((image.T @ image).astype(np.float64))
    leading = np.argsort(-values)[:dim]
    leading = leading[values[leading] > _NOTHING * values.max(initial=0)]
    turn = rotation[:, leading]
    found = (
        image @ (turn / np.sqrt(values[leading])).astype(np.float32) if few_rows else basis @ turn.astype(np.float32)
    )
    components = np.zeros((matrix.shape[1], dim), dtype=np.float32)
    signs = np.sign(found[np.abs(found).argmax(axis=0), np.arange(found.shape[1])])
    components[:, : found.shape[1]] = found * signs
    return components
