"""FAISS's part of a shard, read by us first: FAISS itself believes a file's sizes and numbers, and may crash.

Every byte has a place here, in the three forms that `llmrec.text.search.index` builds: a graph with 8 bits a number
(``IxM2``), inverted lists with 8 bits (``IwSq``), and rotated ones with product quantisation (``IxPT``). What passes
holds the shard's rows, each once, and leads nowhere else.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Ints
from llmrec.text.search.choose import LINKS, Kind, code_size

__all__ = ["check_structure"]

_INNER_PRODUCT: Final = 0
_EIGHT_BITS: Final = 0  # a number's place between the smallest and the largest of its dimension
_CENTROIDS: Final = 256
_MOST: Final = 1 << 20  # settings of a search that are stored


@dataclass
class _Reader:
    """Numbers of a file, one after the other; a size is held against what is left before anything is made of it."""

    data: mmap.mmap
    at: int = 0

    def array(self, dtype: str, count: int) -> NDArray[Any]:
        size = np.dtype(dtype).itemsize * count
        if not 0 <= size <= len(self.data) - self.at:
            raise ValueError("it ends too early")
        array = np.frombuffer(self.data, dtype, count, self.at)
        self.at += size
        return array

    def vector(self, dtype: str, count: int) -> NDArray[Any]:
        self.expect("u8", count)
        return self.array(dtype, count)

    def floats(self, count: int) -> None:
        values = self.vector("f4", count)
        if not np.isfinite(values).all():
            raise ValueError("it holds numbers that are none")

    def one(self, dtype: str, least: int, most: int) -> int:
        value = int(self.array(dtype, 1)[0])
        if not least <= value <= most:
            raise ValueError(f"it holds {value} where {least} to {most} is due")
        return value

    def expect(self, dtype: str, value: int) -> None:
        self.one(dtype, value, value)

    def tag(self, text: bytes) -> None:
        if self.array("u1", len(text)).tobytes() != text:
            raise ValueError(f"it has no {text.decode()} where one is due")

    def header(self, text: bytes, dim: int, num: int) -> None:
        self.tag(text)
        self.expect("i4", dim)
        self.expect("i8", num)
        self.array("i8", 2)
        self.expect("u1", 1)  # trained
        self.expect("i4", _INNER_PRODUCT)


def check_structure(path: Path, kind: Kind, dim: int, rows: Ints) -> str:
    """Refuse a file that is not FAISS's part of a shard of some rows.

    Args:
        path: The file.
        kind: ``hnsw``, ``ivf`` or ``pq``.
        dim: Width of the vectors.
        rows: Rows of the shard, rising.

    Returns:
        "": it is.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is something else.
    """
    with path.open("rb") as handle:
        data = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)  # closes with the last array that looks into it
    reader = _Reader(data)
    ids = {"hnsw": _graph, "ivf": _lists, "pq": _rotated}[kind](reader, dim, len(rows))
    seen = np.zeros(int(rows[-1]) + 1 if len(rows) else 0, dtype=np.bool_)
    inside = len(ids) == len(rows) and ids.min(initial=0) >= 0 and ids.max(initial=-1) < len(seen)
    if inside:
        seen[ids] = True
    if not inside or not seen[rows].all():
        raise ValueError("its rows are not the shard's")
    if reader.at != len(data):
        raise ValueError("it goes on where it should end")
    return ""


def _graph(reader: _Reader, dim: int, num: int) -> Ints:
    reader.header(b"IxM2", dim, num)
    reader.header(b"IHNs", dim, num)
    _links(reader, num)
    reader.header(b"IxSQ", dim, num)
    _quantiser(reader, dim)
    reader.vector("u1", num * dim)
    return reader.vector("i8", num)


def _links(reader: _Reader, num: int) -> None:
    """A node's links, level after level; those of a level lead to nodes that are on it."""
    most = reader.one("u8", 1, 64)
    reader.array("f8", most)
    bounds = np.concatenate([[0], LINKS * np.arange(2, most + 2)])  # twice as many on the lowest level
    if not np.array_equal(reader.vector("i4", most + 1), bounds):
        raise ValueError("its nodes have another number of links")
    levels = reader.vector("i4", num).copy()
    if num and not 1 <= levels.min() <= levels.max() <= most:
        raise ValueError("its nodes are on levels that are not there")
    offsets = reader.vector("u8", num + 1).astype(np.int64)
    if offsets[0] != 0 or not np.array_equal(np.diff(offsets), bounds[levels]):
        raise ValueError("its links are not where they should be")
    links = reader.vector("i4", int(offsets[-1])).copy()
    if links.min(initial=-1) < -1 or links.max(initial=-1) >= num:
        raise ValueError("a link leads nowhere")
    top = int(levels.max(initial=0))
    for level in range(1, top):
        nodes = np.flatnonzero(levels > level)
        there = links[(offsets[nodes] + bounds[level])[:, None] + np.arange(LINKS)]
        if not ((there < 0) | (levels[there] > level)).all():
            raise ValueError("a link leads to a node that is not on its level")
    entry = reader.one("i4", 0, num - 1)
    reader.expect("i4", top - 1)
    if levels[entry] != top:
        raise ValueError("its entry is not on the highest level")
    for _ in ("efConstruction", "efSearch"):
        reader.one("i4", 1, _MOST)
    reader.expect("i4", 1)


def _quantiser(reader: _Reader, dim: int) -> None:
    reader.expect("i4", _EIGHT_BITS)
    reader.one("i4", 0, 3)
    reader.array("f4", 1)
    for _ in ("numbers", "bytes of a code"):
        reader.expect("u8", dim)
    reader.floats(2 * dim)


def _lists(reader: _Reader, dim: int, num: int) -> Ints:
    lists = _coarse(reader, b"IwSq", dim, num)
    _quantiser(reader, dim)
    reader.expect("u8", dim)
    reader.one("u1", 0, 1)
    return _listed(reader, lists, dim, num)


def _rotated(reader: _Reader, dim: int, num: int) -> Ints:
    reader.header(b"IxPT", dim, num)
    reader.expect("i4", 1)
    reader.tag(b"LTra")
    reader.expect("u1", 0)
    reader.floats(dim * dim)
    reader.floats(0)
    for _ in ("in", "out"):
        reader.expect("i4", dim)
    reader.expect("u1", 1)
    lists = _coarse(reader, b"IwPQ", dim, num)
    reader.one("u1", 0, 1)
    for value in (code_size(dim), dim, code_size(dim), 8):
        reader.expect("u8", value)
    reader.floats(dim * _CENTROIDS)
    return _listed(reader, lists, code_size(dim), num)


def _coarse(reader: _Reader, tag: bytes, dim: int, num: int) -> int:
    """Number of inverted lists, past the centroids that say which are looked into."""
    reader.header(tag, dim, num)
    lists = reader.one("u8", 1, max(1, num))
    reader.one("u8", 1, _MOST)
    reader.header(b"IxFI", dim, lists)
    reader.floats(lists * dim)
    reader.expect("u1", 0)  # no map from row to list
    reader.expect("u8", 0)
    return lists


def _listed(reader: _Reader, lists: int, width: int, num: int) -> Ints:
    reader.tag(b"ilar")
    reader.expect("u8", lists)
    reader.expect("u8", width)
    sizes = np.zeros(lists, dtype=np.uint64)
    kind = reader.array("u1", 4).tobytes()
    if kind == b"full":
        sizes = reader.vector("u8", lists)
    elif kind == b"sprs":  # most lists are empty
        pairs = reader.array("u8", reader.one("u8", 0, 2 * lists)).reshape(-1, 2)
        if pairs[:, 0].max(initial=0) >= lists or len(np.unique(pairs[:, 0])) != len(pairs):
            raise ValueError("it has a list that is none")
        sizes[pairs[:, 0]] = pairs[:, 1]
    else:
        raise ValueError("its lists have no sizes")
    if sizes.max(initial=0) > num or sizes.sum() != num:
        raise ValueError("its lists are longer or shorter than the shard")
    parts = [(reader.array("u1", width * size), reader.array("i8", size))[1] for size in sizes.tolist()]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
