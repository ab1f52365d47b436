"""Item vectors before any training: from how often items occur together, or from what their titles say."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from llmrec.arrays import Floats, Ints
from llmrec.rankers.sessions import CodedSessions
from llmrec.text.encoders.base import unit_rows

__all__ = ["align", "beside_known", "co_occurrence", "svd_vectors", "text_vectors"]

OVERSAMPLING: Final = 16
POWER_STEPS: Final = 5
GLOBAL_OWN: Final = 0.2  # weight of an item's tie to itself beside all its others; it keeps small eigenvalues above 0
LOCAL_OWN: Final = 2.0
_ROWS: Final = 1 << 16  # rows multiplied at once in float64
_DEPENDENT: Final = 1e-12  # of the largest eigenvalue: what is smaller is rounding
_NO_SPREAD: Final = 1e-4  # of the widest component; what is narrower is rounding, which whitening would blow up


def co_occurrence(sessions: CodedSessions, num_items: int, window: int, decay: float) -> Any:
    """How often items occur near each other, symmetric, as a sparse matrix ``(N, N)``.

    Args:
        sessions: Known items alone.
        num_items: ``N``.
        window: Farthest distance of two items in a session that counts.
        decay: A pair at distance ``d`` counts ``decay ** (d - 1)``.
    """
    items = sessions.items
    total = sparse.csr_array((num_items, num_items), dtype=np.float32)
    for distance in range(1, window + 1):
        first, other = sessions.apart(distance)
        together = items[first] != items[other]
        left, right = items[first[together]], items[other[together]]
        weights = np.full(len(left), decay ** (distance - 1), dtype=np.float32)
        if sessions.weights is not None:
            weights *= sessions.weights[sessions.rows[first[together]]].astype(np.float32)
        total += sparse.csr_array((weights, (left, right)), shape=total.shape)
    return (total + total.T).tocsr()


def svd_vectors(
    sessions: CodedSessions, num_items: int, size: int, *, window: int, decay: float, local: float = 0.0, seed: int = 0
) -> Floats:
    """Item vectors from the normalised co-occurrence matrix ``A = D^-1/2 C D^-1/2``, unit rows, shape ``(N, size)``.

    One part of the dimensions holds the leading eigenvectors: large groups of items, which bring the right item among
    the first hundred. The other (``local``) holds random vectors that `POWER_STEPS` multiplications with ``A + 2 I``
    have carried to an item's near neighbours, as in FastRP (Chen et al. 2019): pairs, which bring it to the top. Both
    parts weigh the same. An item that never occurs beside another has a random direction.

    Args:
        sessions: Known items alone.
        num_items: ``N``.
        size: Dimensions; beyond what ``N`` items can fill, columns are empty.
        window: As in `co_occurrence`.
        decay: As in `co_occurrence`.
        local: Part of the dimensions that is local; 0 is the truncated SVD alone.
        seed: Seed of the random starts.
    """
    rng = np.random.default_rng(seed)
    counts = co_occurrence(sessions, num_items, window, decay)
    degree = counts.sum(axis=1)
    root = sparse.diags_array(1 / np.sqrt(np.maximum(degree, 1e-12)))
    scaled, own = root @ counts @ root, sparse.diags_array((degree > 0) * 1.0)
    del counts  # as large as the matrices made of it; so is the other below
    near = round(local * size)
    parts = [
        unit_rows(_eigenvectors((scaled + weight * own).astype(np.float32).tocsr(), columns, rng), rng)
        for weight, columns in ((GLOBAL_OWN, size - near), (LOCAL_OWN, near))
        if columns
    ]
    del scaled
    return unit_rows(np.concatenate(parts, axis=1), rng)


def beside_known(
    sessions: CodedSessions,
    vectors: Floats,
    visits: NDArray[np.int32],
    new: Ints,
    *,
    window: int,
    decay: float,
    seed: int = 0,
) -> Floats:
    """Vectors of new items from those that known ones have, unit rows, shape ``(len(new), D)``.

    The mean of what stood near them, an item weighing the less the more often it was seen, as in `svd_vectors`. An item
    that stood beside no known one has a random direction.

    Args:
        sessions: The sessions with the new items; known items alone.
        vectors: Shape ``(N, D)``; 0 for an item that has none.
        visits: Shape ``(N,)``; how often each item was seen.
        new: Codes of the new items.
        window: As in `co_occurrence`.
        decay: As in `co_occurrence`.
        seed: Seed of the random directions.
    """
    beside = co_occurrence(sessions, len(vectors), window, decay)[new]
    scaled = beside @ sparse.diags_array(1 / np.sqrt(np.maximum(visits, 1)).astype(np.float32))
    return unit_rows(scaled @ vectors, np.random.default_rng(seed))


def _eigenvectors(matrix: Any, size: int, rng: np.random.Generator) -> Floats:
    """Leading eigenvectors times the roots of their eigenvalues (Halko et al. 2011), shape ``(N, size)``.

    `POWER_STEPS` steps tell apart what the spectrum tells apart: a large multiple of the identity in ``matrix`` makes
    it flat, and the result a projection of near neighbourhoods.
    """
    number = matrix.shape[0]
    rank = min(size, number)
    basis = rng.standard_normal((number, min(number, rank + OVERSAMPLING)), dtype=np.float32)
    for _ in range(POWER_STEPS):
        basis = _orthonormal(matrix @ basis)
    basis = _orthonormal(basis)  # once more, for the first time is as exact as float32 lets it be
    values, rotation = np.linalg.eigh(basis.T @ (matrix @ basis))
    leading = np.argsort(-values)[:rank]
    vectors = np.zeros((number, size), dtype=np.float32)
    vectors[:, :rank] = (basis @ rotation[:, leading]) * np.sqrt(np.maximum(values[leading], 0))
    return vectors


def _orthonormal(columns: Floats) -> Floats:
    """Orthonormal columns that span the same, ``(N, D)``, and 0 for what depends on others.

    By the eigenvectors of what they have in common: with a million rows a thirtieth of the time of QR.
    """
    common = np.zeros((columns.shape[1], columns.shape[1]))
    for start in range(0, len(columns), _ROWS):
        part = columns[start : start + _ROWS].astype(np.float64)
        common += part.T @ part
    values, axes = np.linalg.eigh(common)
    apart = values > _DEPENDENT * values.max(initial=0)
    turned: Floats = columns @ np.where(apart, axes / np.sqrt(np.where(apart, values, 1)), 0).astype(np.float32)
    return turned


def text_vectors(text: Floats, size: int, *, whitening: float = 0.0, seed: int = 0) -> Floats:
    """Item vectors from the principal components of their texts' vectors, unit rows, shape ``(N, size)``.

    The mean is taken away first: encoders' vectors share a direction that tells no item from another. An item without
    text has a random direction.

    Args:
        text: Shape ``(N, T)``; 0 for an item without text.
        size: Dimensions; beyond ``T`` columns are empty.
        whitening: Components are divided by their spread to this power.
        seed: Seed of the random directions.
    """
    rng = np.random.default_rng(seed)
    titled = np.flatnonzero((text != 0).any(axis=1))
    mean = text[titled].mean(axis=0) if len(titled) else 0
    centred = np.zeros_like(text)
    centred[titled] = text[titled] - mean
    values, axes = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    leading = np.argsort(-values, kind="stable")[:size]
    spread = np.sqrt(np.maximum(values[leading], 0) / max(1, len(titled)))
    kept = spread > _NO_SPREAD * spread.max(initial=1e-12)
    axes = np.where(kept, axes[:, leading] / np.where(kept, spread, 1) ** whitening, 0)
    axes *= np.where(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])] < 0, -1, 1)
    vectors = np.zeros((len(text), size), dtype=np.float32)
    vectors[:, : len(leading)] = centred @ axes.astype(np.float32)
    return unit_rows(vectors, rng)


def align(fresh: Floats, shared: NDArray[np.int64], trained: Floats) -> Floats:
    """Turn fresh vectors so that the items in both sets point where training has left them (orthogonal Procrustes).

    Args:
        fresh: Shape ``(N, D)``.
        shared: Shape ``(P,)``; rows of ``fresh`` that ``trained`` knows.
        trained: Shape ``(P, D)``; their trained vectors.

    Returns:
        The fresh vectors rotated, shape ``(N, D)``; lengths and angles among them are kept.
    """
    left, _, right = np.linalg.svd(fresh[shared].T @ trained)
    rotated: Floats = fresh @ (left @ right)
    return rotated
