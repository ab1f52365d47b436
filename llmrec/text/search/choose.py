"""Which kind of index a catalogue gets, by its size and a memory budget."""

from __future__ import annotations

from typing import Final, Literal, get_args

from llmrec.errors import ConfigError, nearest
from llmrec.memory import free_memory, require_memory

__all__ = ["EXACT_ROWS", "KINDS", "Kind", "choose_kind", "code_size", "index_bytes", "num_lists"]

Kind = Literal["exact", "hnsw", "ivf", "pq"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

EXACT_ROWS: Final = 20_000  # so few are searched one by one in a millisecond or two
HNSW_ROWS: Final = 100_000  # beyond that a graph takes minutes to build
LINKS: Final = 16  # of a product in the graph; twice as many on its lowest level
ADD_ROWS: Final = 50_000  # added at once
TRAINING_ROWS: Final = 40  # for each list; k-means gains little from more
LEAST_LISTS: Final = 1_000  # that there are rows for
_ROW_BYTES: Final = 8  # each code carries its row


def choose_kind(kind: str, num: int, dim: int, memory_mb: float | None = None) -> Kind:
    """The kind asked for, or for ``auto`` the first of exact, HNSW, IVF and PQ that is quick and fits.

    Args:
        kind: ``auto`` or one of `KINDS`.
        num: Number ``N`` of products.
        dim: Width ``D`` of their vectors.
        memory_mb: Most megabytes of the index; the vectors themselves stay on disk and do not count.

    Raises:
        ConfigError: no such kind, or it does not fit, or its build does not fit in the memory that is there.
    """
    if kind not in ("auto", *KINDS):
        raise ConfigError(f"--kind {kind}: no such kind of index{nearest(kind, ('auto', *KINDS))}")
    if memory_mb is not None and memory_mb <= 0:
        raise ConfigError(f"--memory-mb must be above 0; got {memory_mb:g}")
    budget, free = float("inf") if memory_mb is None else memory_mb * 1e6, free_memory()
    for one in KINDS:
        asked = kind == one or (kind == "auto" and num <= {"exact": EXACT_ROWS, "hnsw": HNSW_ROWS}.get(one, num))
        there = kind == one or build_bytes(one, num, dim) <= free.size
        if asked and there and index_bytes(one, num, dim) <= budget:
            fitting = [f"--kind {other}" for other in KINDS if build_bytes(other, num, dim) <= free.size]
            hint = f"what fits: {', '.join(fitting)}" if fitting else "free some"
            require_memory(f"building a '{one}' index of {num:,} × {dim}", build_bytes(one, num, dim), free, hint)
            return one
    if memory_mb is None:
        least = build_bytes("pq", num, dim)
        require_memory(f"building an index of {num:,} × {dim}", least, free, "free some, or try --kind exact")
    smallest: Kind = "pq" if kind == "auto" else next(one for one in KINDS if one == kind)
    needed = index_bytes(smallest, num, dim) / 1e6
    raise ConfigError(
        f"--memory-mb {memory_mb:g}: a '{smallest}' index of {num:,} × {dim} takes about {needed:,.0f} MB; "
        "give more, or --kind exact, which reads the vectors from the disk"
    )


def index_bytes(kind: Kind, num: int, dim: int) -> int:
    """About how large an index is; 0 for an exact one, which reads the vectors where they are."""
    centroids = 4 * dim * num_lists(num)
    return {
        "exact": 0,
        "hnsw": num * (dim + _ROW_BYTES + 9 * LINKS),
        "ivf": num * (dim + _ROW_BYTES) + centroids,
        "pq": num * (code_size(dim) + _ROW_BYTES) + centroids + 4 * dim * (256 + dim),
    }[kind]


def build_bytes(kind: Kind, num: int, dim: int) -> int:
    """About what building an index takes: itself, a block of vectors, and those that it learns from, each twice."""
    learnt = 0 if kind in ("exact", "hnsw") else min(num, TRAINING_ROWS * max(num_lists(num), LEAST_LISTS))
    return index_bytes(kind, num, dim) + 2 * 4 * dim * (min(num, ADD_ROWS) + learnt)


def num_lists(num: int) -> int:
    """Inverted lists of ``num`` products: four times the root, and 40 products or more in each."""
    return max(1, min(int(4 * num**0.5), num // 40))


def code_size(dim: int) -> int:
    """Bytes of a compressed vector: one for four numbers, or as few numbers as ``dim`` can be parted into."""
    return next(dim // width for width in (4, 3, 2, 1) if dim % width == 0)
