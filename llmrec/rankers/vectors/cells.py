"""Item vectors in cells around centres: a session is compared with the items of the cells that lie where it points."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Floats, Ints
from llmrec.processes import library_threads_off
from llmrec.ragged import offsets_of
from llmrec.text.encoders.base import unit_rows
from llmrec.within import near_best

__all__ = ["WHOLE", "Cells", "Shelf", "nearest_centres"]

WHOLE: Final = 1 << 18  # items that are one cell: to look at all of them is quick, and exact
PROBED: Final = 64  # cells that a session is compared with
TAUGHT: Final = 64  # items for each centre that the centres are learnt from
ROUNDS: Final = 8
_PART: Final = 1 << 12  # vectors assigned at once
_STEPS: Final = 1 << 14  # products are whole multiples of 1/16,384: a batch adds up in another order than one alone


@dataclass(frozen=True, eq=False)
class Cells:
    """Items by the centre that is nearest to their vector.

    Attributes:
        centres: Shape ``(K, D)``, of length 1.
        of_item: Shape ``(N,)``, int32; cell of each item.
    """

    centres: Floats
    of_item: NDArray[np.int32]

    @classmethod
    def one(cls, vectors: Floats) -> Self:
        """All items ``(N, D)`` in one cell."""
        return cls(np.zeros((1, vectors.shape[1]), dtype=np.float32), np.zeros(len(vectors), dtype=np.int32))

    @classmethod
    @library_threads_off()
    def of(cls, vectors: Floats, seed: int) -> Self:
        """Cells of item vectors ``(N, D)`` of length 1 or 0, by spherical k-means on some of them; one cell for few."""
        if len(vectors) <= WHOLE:
            return cls.one(vectors)
        number = 2 * round(len(vectors) ** 0.5)
        rng = np.random.default_rng(seed)
        taught = vectors[np.sort(rng.permutation(len(vectors))[: TAUGHT * number])]
        centres = taught[rng.permutation(len(taught))[:number]]
        for _ in range(ROUNDS):
            own = nearest_centres(taught, centres)
            order = np.argsort(own, kind="stable")
            held, starts = np.unique(own[order], return_index=True)
            centres = taught[rng.permutation(len(taught))[:number]]  # one that nobody chose starts anew
            centres[held] = np.add.reduceat(taught[order], starts, axis=0)
            centres = unit_rows(centres)
        return cls(centres, nearest_centres(vectors, centres))

    def nearest(self, wanted: Floats) -> Ints:
        """The cells to look into for some vectors ``(S, D)``, shape ``(S, P)``."""
        if len(self.centres) <= PROBED:
            return np.tile(np.arange(len(self.centres)), (len(wanted), 1))
        products = np.round(wanted @ self.centres.T * _STEPS)
        return np.argpartition(-products, PROBED, axis=1)[:, :PROBED]


def nearest_centres(vectors: Floats, centres: Floats) -> NDArray[np.int32]:
    """For each vector ``(N, D)`` which of the centres ``(K, D)`` it is nearest to, shape ``(N,)``."""
    parts = [
        (vectors[start : start + _PART] @ centres.T).argmax(axis=1).astype(np.int32)
        for start in range(0, len(vectors), _PART)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int32)


@dataclass(frozen=True, eq=False)
class Shelf:
    """Some items, cell after cell.

    Attributes:
        codes: Shape ``(M,)``; the items.
        vectors: Shape ``(M, D)``.
        prior: Shape ``(M,)``; what is added to a product with each.
        offsets: Shape ``(K + 1,)``; where each cell starts.
    """

    codes: Ints
    vectors: Floats
    prior: Floats
    offsets: Ints

    @classmethod
    def of(cls, cells: Cells, codes: Ints, vectors: Floats, prior: Floats) -> Self:
        """Items by code, with their vectors and priors in the order of the codes, brought into that of the cells."""
        own = cells.of_item[codes]
        order = np.argsort(own, kind="stable")
        offsets = offsets_of(np.bincount(own, minlength=len(cells.centres)))
        return cls(codes[order], vectors[codes[order]], prior[order], offsets)

    def near_best(self, wanted: Floats, probed: Ints, k: int) -> tuple[Ints, Ints, Floats]:
        """For some vectors ``(S, D)`` the k best of their cells ``(S, P)``, and what ties with them once it is rounded.

        Vectors that share a cell are multiplied with it at once.

        Returns:
            Row of the vector, code of the item, and product plus prior, rounded; session after session.
        """
        sizes = np.diff(self.offsets)[probed]
        starts = offsets_of(sizes.ravel())
        values = np.empty(starts[-1], dtype=np.float32)
        order = np.argsort(probed.ravel(), kind="stable")
        cells, into, owners = probed.ravel()[order], starts[order].tolist(), order // probed.shape[1]
        for first, last in pairwise(np.flatnonzero(np.diff(cells, prepend=-1, append=-1)).tolist()):
            here = slice(*self.offsets[cells[first] : cells[first] + 2])
            if last - first == len(order):  # one cell is asked for: what is computed stands as it is wanted
                np.matmul(wanted, self.vectors[here].T, out=values.reshape(len(wanted), -1))
                values.reshape(len(wanted), -1)[:] += self.prior[here]
                break
            found = wanted[owners[first:last]] @ self.vectors[here].T
            found += self.prior[here]
            for place, row in zip(into[first:last], found, strict=True):
                values[place : place + len(row)] = row
        near = near_best(values, sizes.sum(axis=1), k, 1 / _STEPS)
        pair = np.searchsorted(starts, near, side="right") - 1
        places = self.offsets[probed.ravel()[pair]] + near - starts[pair]
        rounded = np.divide(np.round(values[near] * _STEPS), _STEPS, dtype=np.float32)
        return pair // probed.shape[1], self.codes[places], rounded
