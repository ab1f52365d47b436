"""Vectors of a catalogue on disk and those added since, and the exact search that every other one is measured by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from llmrec.arrays import Floats, Ints
from llmrec.within import order_within

__all__ = ["NONE", "ROUNDING", "Vectors", "best", "exact_candidates"]


NONE: Final = -1  # a row that stands for no product
BLOCK: Final = 1 << 16  # rows whose scores are held at once
QUERIES: Final = 256  # queries that are answered at once
FEW_ROWS: Final = 20_000
MOST_GAPS: Final = 1.2  # rows that are read for one that is wanted
GATHER_BYTES: Final = 1 << 25
# A matrix product rounds a row by where it stands; all that comes this near to the last place is scored again.
ROUNDING: Final = np.float32(4e-6)


@dataclass(frozen=True)
class Vectors:
    """Rows ``0`` to ``N + A``: a catalogue's and, after them, those added since.

    Attributes:
        base: Shape ``(N, D)``; may be memory-mapped.
        added: Shape ``(A, D)``.
    """

    base: Floats
    added: Floats

    @classmethod
    def of(cls, base: Floats) -> Vectors:
        """A catalogue to which nothing was added."""
        plain = np.asarray(base)  # a memory map's own slicing costs microseconds a call
        return cls(plain, np.zeros((0, plain.shape[1]), dtype=np.float32))

    @property
    def dim(self) -> int:
        """Width ``D``."""
        return int(self.base.shape[1])

    def __len__(self) -> int:
        return len(self.base) + len(self.added)

    def take(self, rows: Ints) -> Floats:
        """Vectors of rows in any order, shape ``(R, D)``."""
        if not len(self.added):
            return self.base.take(rows, axis=0)
        taken = np.empty((len(rows), self.dim), dtype=np.float32)
        late = rows >= len(self.base)
        taken[~late] = self.base.take(rows[~late], axis=0)
        taken[late] = self.added.take(rows[late] - len(self.base), axis=0)
        return taken

    def block(self, rows: Ints) -> Floats:
        """Vectors of rising rows; rows that follow each other are not copied."""
        if len(rows) and rows[-1] - rows[0] == len(rows) - 1:
            first, last = int(rows[0]), int(rows[-1]) + 1
            if last <= len(self.base):
                return self.base[first:last]
            if first >= len(self.base):
                return self.added[first - len(self.base) : last - len(self.base)]
        return self.take(rows)


def exact_candidates(vectors: Vectors, rows: Ints, queries: Floats, k: int) -> Ints:
    """Rows that hold the ``k`` nearest of each query, and those that rounding cannot tell from the last of them.

    Args:
        vectors: Where the rows are.
        rows: Rising rows to search.
        queries: Shape ``(Q, D)``.
        k: At least 1.

    Returns:
        Shape ``(Q, C)`` with ``C >= min(k, len(rows))``; `NONE` where a query has fewer than another.
    """
    parts = [
        _exact_part(vectors, rows, queries[start : start + QUERIES], k) for start in range(0, len(queries), QUERIES)
    ]
    width = max((part.shape[1] for part in parts), default=0)
    found = np.full((len(queries), width), NONE)
    for number, part in enumerate(parts):
        found[number * QUERIES : number * QUERIES + len(part), : part.shape[1]] = part
    return found


def _exact_part(vectors: Vectors, rows: Ints, queries: Floats, k: int) -> Ints:
    floor = np.full(len(queries), -np.inf, dtype=np.float32)
    kept: list[tuple[Ints, Ints, Floats]] = []
    for start in range(0, len(rows), BLOCK):
        part = rows[start : start + BLOCK]
        scores = _row_products(vectors, queries, part)
        if len(part) >= k:
            floor = np.maximum(floor, np.partition(scores, len(part) - k, axis=1)[:, len(part) - k])
        places, columns = np.nonzero(scores >= (floor - ROUNDING)[:, None])
        kept.append((places, part[columns], scores[places, columns]))
    if not kept:
        return np.zeros((len(queries), 0), dtype=np.int64)
    places, found, values = (np.concatenate(column) for column in zip(*kept, strict=True))
    order, ranks = order_within(places, values, exact=True)
    places, found, values = places[order], found[order], values[order]
    kth = np.full(len(queries), np.inf, dtype=np.float32)
    kth[places[ranks < k]] = values[ranks < k]  # the last of them
    near = values >= kth[places] - ROUNDING
    matrix = np.full((len(queries), int(ranks[near].max(initial=-1)) + 1), NONE)
    matrix[places[near], ranks[near]] = found[near]
    return matrix


def _row_products(vectors: Vectors, queries: Floats, rows: Ints) -> Floats:
    """Product of each query with each of some rising rows; few gaps between them are cheaper than a copy of the rest.

    Shape ``(Q, R)``.
    """
    first, last = int(rows[0]), int(rows[-1]) + 1
    if last <= len(vectors.base) and last - first <= MOST_GAPS * len(rows):
        return _products(queries, vectors.base[first:last])[:, rows - first]
    return _products(queries, vectors.block(rows))


def _products(queries: Floats, block: Floats) -> Floats:
    """Product of each query with each row, shape ``(Q, R)``."""
    if len(queries) == 1 and len(block) <= FEW_ROWS:
        # BLAS would have threads wait for each other, a whole time slice on a busy machine, over a millisecond's work
        few: Floats = np.einsum("qd,rd->qr", queries, block)
        return few
    return queries @ block.T


def best(vectors: Vectors, queries: Floats, candidates: Ints, k: int) -> tuple[Floats, Ints]:
    """The ``k`` best of candidates by the product of the vectors themselves; equal ones by the smaller row.

    Args:
        vectors: Where the rows are.
        queries: Shape ``(Q, D)``.
        candidates: Shape ``(Q, C)``; none twice in a row but `NONE`.
        k: Width of what is returned.

    Returns:
        Scores, falling, and rows, both of shape ``(Q, k)``; ``-inf`` and `NONE` beyond what there is.
    """
    scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
    rows = np.full((len(queries), k), NONE)
    step = max(1, GATHER_BYTES // (4 * vectors.dim * max(1, candidates.shape[1])))
    for start in range(0, len(queries), step):
        some = candidates[start : start + step]
        gathered = vectors.take(np.maximum(some, 0).ravel()).reshape(*some.shape, vectors.dim)
        # einsum adds a row's products in one order wherever the row stands: equal vectors have equal scores
        products = np.einsum("qcd,qd->qc", gathered, queries[start : start + step])
        products = np.where(some == NONE, np.float32(-np.inf), products)
        order = np.lexsort((some, -products), axis=-1)[:, :k]
        width = order.shape[1]
        scores[start : start + step, :width] = np.take_along_axis(products, order, axis=1)
        rows[start : start + step, :width] = np.take_along_axis(some, order, axis=1)
    return scores, rows
