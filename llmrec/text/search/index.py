"""The index: a shard for each locale, each exact, HNSW, IVF or PQ; the only file that knows FAISS.

A shard proposes candidates from its compressed codes, and their order is that of the vectors themselves, which are read
where they lie: scores are true cosines, equal ones go to the smaller row. What is added later is searched exactly until
the next build, and what is removed is skipped, so neither needs a build.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import faiss as _faiss
import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Bools, Floats, Ints
from llmrec.console import busy, notice, track
from llmrec.errors import ConfigError, DataError, StoreError
from llmrec.text.search.choose import (
    ADD_ROWS,
    EXACT_ROWS,
    LEAST_LISTS,
    LINKS,
    TRAINING_ROWS,
    Kind,
    choose_kind,
    code_size,
    num_lists,
)
from llmrec.text.search.vectors import NONE, Vectors, best, exact_candidates

__all__ = ["Index", "Shard", "View", "build_index", "nearest_rows", "read_structure", "write_structure"]

faiss: Any = _faiss  # its stubs lack parameters that it has


OPQ_ROWS: Final = 16_384
REFINE: Final[dict[Kind, int]] = {"exact": 1, "hnsw": 2, "ivf": 2, "pq": 4}
EXTRA: Final = 40  # candidates beyond that, so that a short list has its share
WIDER: Final = 3  # times that four times as many lists are looked at, before all rows are


@dataclass(frozen=True)
class Shard:
    """Products of one locale.

    Attributes:
        group: Number of the locale.
        kind: How it is searched.
        rows: Its rows, rising.
        structure: FAISS's index, whose ids are rows; None for an exact shard.
        effort: Lists that IVF and PQ look into, or length of HNSW's queue.
    """

    group: int
    kind: Kind
    rows: Ints
    structure: Any = None
    effort: int = 0

    def view(self, keep: Bools) -> View:
        """The shard without the rows that are not kept; ``keep`` has shape ``(M,)``."""
        kept = keep[self.rows]
        if kept.all():
            return View(self, self.rows)
        rows = self.rows[kept]
        exact = self.structure is None or len(rows) <= EXACT_ROWS
        return View(self, rows, None if exact else np.packbits(keep, bitorder="little"))


@dataclass(frozen=True)
class View:
    """A shard and those of its rows that may be found.

    Attributes:
        shard: What is searched.
        rows: Rows that may be found, rising.
        bits: The same as a bitmap of all rows, for FAISS; None where all rows of the shard may be found, or so few
            that they are searched exactly.
    """

    shard: Shard
    rows: Ints
    bits: Any = None

    def candidates(self, vectors: Vectors, queries: Floats, k: int) -> Ints:
        """Rows that likely hold the ``k`` nearest, shape ``(Q, C)``; at least ``k`` of each query where there are."""
        whole = len(self.rows) == len(self.shard.rows)
        if self.shard.structure is None or len(self.rows) <= k or (not whole and self.bits is None):
            return exact_candidates(vectors, self.rows, queries, k)
        wanted = min(len(self.rows), REFINE[self.shard.kind] * k + EXTRA)
        # a filter leaves gaps: as many kept products are looked at as without one
        effort = self.shard.effort * -(-len(self.shard.rows) // len(self.rows))
        found = _search(self.shard, queries, wanted, effort, self.bits)
        short = (found >= 0).sum(axis=1) < k
        for _ in range(WIDER if self.shard.kind != "hnsw" else 0):  # a list or two may hold too few; all rows are many
            if not short.any():
                break
            effort *= 4
            found[short] = _search(self.shard, queries[short], wanted, effort, self.bits)
            short = (found >= 0).sum(axis=1) < k
        if short.any():
            exact = exact_candidates(vectors, self.rows, queries[short], k)
            found = np.pad(found, ((0, 0), (0, max(0, exact.shape[1] - found.shape[1]))), constant_values=NONE)
            found[short] = NONE
            found[short, : exact.shape[1]] = exact
        return found


@dataclass(frozen=True)
class Index:
    """Vectors and the shards that find them; adding and removing give another index and leave this one as it is.

    Attributes:
        vectors: Of all rows, added ones last.
        groups: Shape ``(M,)``; number of each row's locale.
        removed: Shape ``(M,)``; rows never found: removed ones, and those without text, whose vectors are 0.
        shards: One for each group that has rows among the built ones.
        built: Rows that the shards cover; later ones are searched one by one.
    """

    vectors: Vectors
    groups: NDArray[np.int32]
    removed: Bools
    shards: tuple[Shard, ...]
    built: int

    def __len__(self) -> int:
        return len(self.vectors) - int(self.removed.sum())

    def search(
        self, queries: Floats, k: int, groups: NDArray[Any] | None = None, allowed: Bools | None = None
    ) -> tuple[Floats, Ints]:
        """The ``k`` nearest rows of each query, best first; equal ones by the smaller row.

        Args:
            queries: Shape ``(Q, D)``.
            k: At least 1; above the number of rows it is fine.
            groups: Shape ``(Q,)``; the group that each query is answered from. None for all of them.
            allowed: Shape ``(M,)``; rows that may be found. None for all that were not removed.

        Returns:
            Scores (cosines where queries have length 1) and rows, of shape ``(Q, k)``; ``-inf`` and -1 beyond.

        Raises:
            ConfigError: ``k`` is below 1, or the queries have another width.
            DataError: a query holds NaN or infinite numbers.
        """
        queries = self._checked(queries, k)
        views = self._views if allowed is None else self._viewed(allowed & ~self.removed)
        if groups is None:
            return self._search(views, queries, k)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        rows = np.full((len(queries), k), NONE)
        for group in np.unique(groups):
            of_group = np.flatnonzero(groups == group)
            of_locale = [view for view in views if view.shard.group == group]
            scores[of_group], rows[of_group] = self._search(of_locale, queries[of_group], k)
        return scores, rows

    def with_added(self, vectors: Floats, groups: NDArray[Any]) -> Index:
        """This index and more rows, numbered on from the last.

        Raises:
            ConfigError: the vectors have another width.
            DataError: a vector holds NaN or infinite numbers.
        """
        _check_width(vectors, self.vectors.dim, "vectors to add")
        _refuse_odd(vectors, "vectors to add")
        more = np.concatenate([self.vectors.added, vectors.astype(np.float32, copy=False)])
        return dataclasses.replace(
            self,
            vectors=Vectors(self.vectors.base, more),
            groups=np.concatenate([self.groups, groups.astype(np.int32)]),
            removed=np.concatenate([self.removed, ~vectors.any(axis=1)]),
        )

    def without(self, rows: Ints) -> Index:
        """This index, from which ``rows`` are not found any more."""
        removed = self.removed.copy()
        removed[rows] = True
        return dataclasses.replace(self, removed=removed)

    def _search(self, views: Sequence[View], queries: Floats, k: int) -> tuple[Floats, Ints]:
        found = [view.candidates(self.vectors, queries, k) for view in views]
        candidates = np.concatenate([np.full((len(queries), 0), NONE), *found], axis=1)
        return best(self.vectors, queries, candidates, k)

    @cached_property
    def _views(self) -> list[View]:
        return self._viewed(~self.removed)

    def _viewed(self, keep: Bools) -> list[View]:
        late = np.arange(self.built, len(self.vectors))
        groups = self.groups[self.built :]
        added = [Shard(int(group), "exact", late[groups == group]) for group in np.unique(groups)]
        return [shard.view(keep) for shard in (*self.shards, *added)]

    def _checked(self, queries: Floats, k: int) -> Floats:
        if k < 1:
            raise ConfigError(f"k must be at least 1; got {k}")
        _check_width(queries, self.vectors.dim, "queries")
        _refuse_odd(queries, "queries")
        return np.ascontiguousarray(queries, dtype=np.float32)


def build_index(
    vectors: Floats | Vectors,
    groups: NDArray[Any] | None = None,
    kind: str = "auto",
    memory_mb: float | None = None,
    *,
    removed: Bools | None = None,
    exact_rows: int = EXACT_ROWS,
    seed: int = 0,
) -> Index:
    """Build an index over all rows.

    Args:
        vectors: Shape ``(N, D)``, rows of length 1 or 0; memory-mapped ones are read in parts.
        groups: Shape ``(N,)``; number of each row's locale. None for one group.
        kind: ``auto``, ``exact``, ``hnsw``, ``ivf`` (8 bits a number) or ``pq`` (2 bits a number).
        memory_mb: Most megabytes of the index.
        removed: Shape ``(N,)``; rows that are not to be found.
        exact_rows: Most rows of a group that is searched exactly whatever the kind.
        seed: Draws the rows that it learns from.

    Raises:
        ConfigError: no such kind, or it does not fit the memory.
        DataError: a vector holds NaN or infinite numbers.
    """
    rows = vectors if isinstance(vectors, Vectors) else Vectors.of(vectors)
    chosen = choose_kind(kind, len(rows), rows.dim, memory_mb)
    numbers = np.zeros(len(rows), dtype=np.int32) if groups is None else groups.astype(np.int32)
    gone = _without_text(rows) if removed is None else _without_text(rows) | removed
    shards = []
    for group in np.unique(numbers[~gone]):
        own = np.flatnonzero((numbers == group) & ~gone)
        if chosen == "exact" or len(own) <= exact_rows:
            shards.append(Shard(int(group), "exact", own))
            continue
        structure = _built(chosen, rows, own, seed)
        effort = 64 if chosen == "hnsw" else min(16, num_lists(len(own)))
        shards.append(Shard(int(group), chosen, own, structure, effort))
    return Index(rows, numbers, gone, tuple(shards), len(rows))


def write_structure(structure: Any, path: Path) -> None:
    """Write FAISS's part of a shard."""
    faiss.write_index(structure, str(path))


def read_structure(path: Path) -> Any:
    """Map FAISS's part of a shard into memory: inverted lists and codes are read where they lie, when they are needed.

    Raises:
        StoreError: the file is missing or damaged.
    """
    try:
        # inverted lists are mapped by the first flag, the codes and links of HNSW by the second
        flag = faiss.IO_FLAG_MMAP if path.suffix == ".ivf" else faiss.IO_FLAG_MMAP_IFC
        return faiss.read_index(str(path), flag)
    except RuntimeError as error:
        raise StoreError(f"{path}: missing or damaged index file; build it again: llmrec index DIR") from error


def _search(shard: Shard, queries: Floats, count: int, effort: int, bits: Any) -> Ints:
    selector = None if bits is None else faiss.IDSelectorBitmap(bits)
    if shard.kind == "hnsw":
        parameters = faiss.SearchParametersHNSW(efSearch=max(effort, count), sel=selector)
    else:
        parameters = faiss.SearchParametersIVF(nprobe=effort, sel=selector)
        if shard.kind == "pq":
            parameters = faiss.SearchParametersPreTransform(index_params=parameters)
    threads = faiss.omp_get_max_threads()
    if len(queries) == 1:  # threads that wait for each other over one query lose whole time slices on a busy machine
        faiss.omp_set_num_threads(1)
    try:
        _, rows = shard.structure.search(queries, count, params=parameters)
    finally:
        faiss.omp_set_num_threads(threads)
    return np.asarray(rows, dtype=np.int64)


def _built(kind: Kind, vectors: Vectors, rows: Ints, seed: int) -> Any:
    structure = _empty(kind, vectors.dim, len(rows), seed)
    rng = np.random.default_rng(seed)
    wanted = min(len(rows), TRAINING_ROWS * max(num_lists(len(rows)), LEAST_LISTS))
    with busy(f"{kind}: learn from {wanted:,} vectors"):
        structure.train(vectors.take(np.sort(rng.choice(rows, wanted, replace=False))))
    starts = range(0, len(rows), ADD_ROWS)
    for start in track(starts, f"{kind}: {len(rows):,} vectors", len(starts)):
        part = rows[start : start + ADD_ROWS]
        structure.add_with_ids(np.ascontiguousarray(vectors.block(part)), part)
    return structure


def _empty(kind: Kind, dim: int, num: int, seed: int) -> Any:
    product = faiss.METRIC_INNER_PRODUCT
    if kind == "hnsw":
        graph = faiss.IndexHNSWSQ(dim, faiss.ScalarQuantizer.QT_8bit, LINKS, product)
        graph.hnsw.efConstruction = 80
        return _owning(faiss.IndexIDMap2(graph), graph)
    lists = num_lists(num)
    coarse = faiss.IndexFlatIP(dim)
    if kind == "ivf":
        index = faiss.IndexIVFScalarQuantizer(coarse, dim, lists, faiss.ScalarQuantizer.QT_8bit, product)
    else:
        index = faiss.IndexIVFPQ(coarse, dim, lists, code_size(dim), 8, product)
        _quick(index.pq.cp, 8, 64, seed)
    _owning(index, coarse)
    _quick(index.cp, 10, TRAINING_ROWS, seed)
    clustering = _on_gpu(faiss.IndexFlatIP(dim))
    if clustering is not None:
        index.clustering_index = clustering
    if kind == "ivf":
        return index
    rotation = faiss.OPQMatrix(dim, code_size(dim))
    rotation.niter, rotation.niter_pq, rotation.niter_pq_0, rotation.max_train_points = 4, 4, 8, OPQ_ROWS
    return _owning(faiss.IndexPreTransform(rotation, index), rotation, index)


def _owning(outer: Any, *inner: Any) -> Any:
    """Have Python keep the parts as long as the whole."""
    outer.referenced_objects = list(inner)
    return outer


def _quick(clustering: Any, rounds: int, most: int, seed: int) -> None:
    clustering.niter, clustering.max_points_per_centroid, clustering.min_points_per_centroid = rounds, most, 1
    clustering.seed = seed + 1


def _on_gpu(flat: Any) -> Any:
    """The same index on a GPU; None without FAISS's GPU wheel or a GPU that it can use."""
    if not getattr(faiss, "get_num_gpus", lambda: 0)():
        return None
    try:
        return faiss.index_cpu_to_all_gpus(flat)
    except (RuntimeError, AttributeError) as error:
        notice(f"FAISS cannot use the GPU ({' '.join(str(error).split())[:80]}); the processor does the work")
        return None


def _without_text(vectors: Vectors) -> Bools:
    """Rows of zeros, shape ``(N,)``; refuses numbers that have no order."""
    empty = np.zeros(len(vectors), dtype=np.bool_)
    for start in range(0, len(vectors), ADD_ROWS):
        block = vectors.block(np.arange(start, min(len(vectors), start + ADD_ROWS)))
        _refuse_odd(block, "vectors", start)
        empty[start : start + len(block)] = ~block.any(axis=1)
    return empty


def _check_width(vectors: Floats, dim: int, what: str) -> None:
    if vectors.ndim != 2 or vectors.shape[1] != dim:
        raise ConfigError(
            f"{what} of shape {vectors.shape}, the index holds (N, {dim}); encode them with the index's own encoder"
        )


def _refuse_odd(vectors: Floats, what: str, first: int = 0) -> None:
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        row = first + int(np.argmin(finite))
        raise DataError(f"{what}: row {row} (from 0) holds NaN or infinite numbers; encode it again")


def nearest_rows(vectors: Floats) -> Callable[[Floats, int], Ints]:
    """What gives the ``k`` nearest of the vectors ``(N, D)`` for queries ``(Q, D)``: rows ``(Q, k)``, -1 beyond."""
    index = build_index(vectors)
    return lambda queries, k: index.search(queries, k)[1]
