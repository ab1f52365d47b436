"""Items as sequences of codes: residual k-means of their vectors, and a last code for items of the same cluster.

TIGER (Rajput et al., NeurIPS 2023) learns the codes with an RQ-VAE and names residual k-means as the simpler way; both
quantise a vector, then what is left of it, level by level, so that items of like text share their first codes.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Floats, Ints
from llmrec.console import track
from llmrec.within import nth_within

__all__ = ["level_sizes", "semantic_ids", "tokens_of"]

PAD: Final = 0  # the token of no item, and of the decoder's start
_FIT: Final = 65_536  # items that clusters are learnt from; more change them little
_ROUNDS: Final = 25
_CHUNK: Final = 8_192


def semantic_ids(vectors: Floats, levels: int, codes: int, seed: int) -> NDArray[np.int32]:
    """Codes of items, shape ``(N, levels + 1)``, each row another.

    Args:
        vectors: Shape ``(N, D)``.
        levels: Levels of the residual k-means.
        codes: Clusters of a level, fewer where there are fewer different vectors.
        seed: Of the clusters.
    """
    left = vectors.astype(np.float32).copy()
    found = np.zeros((len(vectors), levels + 1), dtype=np.int32)
    rng = np.random.default_rng(seed)
    for level in track(range(levels), "codes of items", levels):
        centres = _centres(left, codes, rng)
        found[:, level] = _nearest(left, centres)
        left -= centres[found[:, level]]
    order = np.lexsort(found.T[::-1])  # stable: of equals the smaller item's code comes first
    same = np.cumsum(np.append(0, (np.diff(found[order], axis=0) != 0).any(axis=1)))
    found[order, levels] = nth_within(same)
    return found


def level_sizes(codes: NDArray[np.int32]) -> Ints:
    """How many codes each level has, shape ``(L,)``."""
    sizes: Ints = codes.max(axis=0, initial=0).astype(np.int64) + 1
    return sizes


def tokens_of(codes: NDArray[np.int32]) -> Ints:
    """Tokens of items, shape ``(N + 1, L)``: every level has its own, and the first row is `PAD`."""
    sizes = level_sizes(codes)
    tokens = np.full((len(codes) + 1, codes.shape[1]), PAD, dtype=np.int64)
    tokens[1:] = codes + 1 + np.cumsum(sizes) - sizes
    return tokens


def _centres(points: Floats, number: int, rng: np.random.Generator) -> Floats:
    """Centres of at most so many clusters, shape ``(C, D)``: k-means++ starts, Lloyd's rounds."""
    if len(points) > _FIT:
        points = points[rng.choice(len(points), _FIT, replace=False)]
    chosen = [int(rng.integers(len(points)))]
    nearest = ((points - points[chosen[0]]) ** 2).sum(axis=1, dtype=np.float64)
    while len(chosen) < number and nearest.sum() > 1e-9 * len(points):
        chosen.append(int(rng.choice(len(points), p=nearest / nearest.sum())))
        nearest = np.minimum(nearest, ((points - points[chosen[-1]]) ** 2).sum(axis=1, dtype=np.float64))
    centres = points[chosen].astype(np.float32)
    for _ in range(_ROUNDS):
        places = _nearest(points, centres)
        sizes = np.bincount(places, minlength=len(centres))
        sums = np.zeros_like(centres)
        np.add.at(sums, places, points)
        moved = np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], centres)
        if np.allclose(moved, centres, atol=1e-6):
            break
        centres = moved.astype(np.float32)
    return centres


def _nearest(points: Floats, centres: Floats) -> Ints:
    """Nearest centre of each point, shape ``(N,)``."""
    places = np.empty(len(points), dtype=np.int64)
    lengths = (centres**2).sum(axis=1)
    for start in range(0, len(points), _CHUNK):
        part = points[start : start + _CHUNK]
        places[start : start + len(part)] = (lengths - 2 * part @ centres.T).argmin(axis=1)
    return places
