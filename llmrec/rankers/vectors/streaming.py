"""The k best of all items by vectors and prior, a chunk of items at a time, so that no score matrix is ever held."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmrec.arrays import Floats, Ints
from llmrec.vocabulary import UNKNOWN
from llmrec.within import top_k_candidates

__all__ = ["Conditions", "Shelves", "stream_top_k"]


SCORES_HELD: Final = 1 << 25  # 128 MiB of scores at once


@dataclass(frozen=True)
class Conditions:
    """What counts beside the vectors.

    Attributes:
        sold: Shape ``(L, N)``; whether a locale sells an item, which must not be ranked if not. None: all do.
        locales: Shape ``(S,)``; row of ``sold`` and ``prior`` for each session.
        seen_rows: Shape ``(E,)``; sessions of items to leave out.
        seen_codes: Shape ``(E,)``; these items.
        prior: Shape ``(L, N)``; what is added to a locale's scores. None: nothing.
    """

    sold: NDArray[np.bool_] | None
    locales: Ints
    seen_rows: Ints
    seen_codes: Ints
    prior: Floats | None = None


@dataclass(frozen=True)
class Shelves:
    """Items in the order of who sells them: a locale's are in a few ranges of rows, and no others are looked at.

    Attributes:
        order: Shape ``(N,)``; code of the item in each row.
        places: Shape ``(N,)``; row of each code.
        ranges: For each locale the rows of what it sells, from and to.
    """

    order: Ints
    places: Ints
    ranges: Sequence[Sequence[tuple[int, int]]]

    @classmethod
    def of(cls, sold: NDArray[np.bool_]) -> Self:
        """Shelves of what each of ``L`` locales sells, ``(L, N)``."""
        order = np.lexsort(_words(sold))
        places = np.empty_like(order)
        places[order] = np.arange(len(order))
        ranges = []
        for here in sold:
            edges = np.flatnonzero(np.diff(here[order].astype(np.int8), prepend=0, append=0)).tolist()
            ranges.append(list(zip(edges[::2], edges[1::2], strict=True)))
        return cls(order, places, ranges)


def _words(sold: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Who sells an item as a few numbers, ``(W, N)``, a bit for each locale."""
    packed = np.packbits(sold, axis=0)
    words = np.zeros((sold.shape[1], -(-len(packed) // 8) * 8), dtype=np.uint8)
    words[:, : len(packed)] = packed.T
    return words.view(np.uint64).T


def stream_top_k(
    sessions: Tensor, items: Tensor, k: int, given: Conditions, shelves: Shelves | None = None
) -> tuple[Ints, Floats]:
    """Best items of each session; ties go to the smaller code.

    Args:
        sessions: Session vectors, shape ``(S, D)``.
        items: Item vectors, shape ``(N, D)``; row = code, or as ``shelves`` say.
        k: Most items of a list, at most ``N``.
        given: What counts beside the vectors.
        shelves: Those of ``given.sold``; every item is looked at without.

    Returns:
        Codes ``(S, k)``, -1 beyond the end of a list, and scores ``(S, k)``, falling.
    """
    number = len(sessions)
    order = np.argsort(given.locales, kind="stable")  # a locale's sessions stand together, so one mask serves all
    place = np.empty(number, dtype=np.int64)
    place[order] = np.arange(number)
    seen_codes = given.seen_codes if shelves is None else shelves.places[given.seen_codes]
    seen = _by_code(place[given.seen_rows], seen_codes)
    vectors, locales = sessions[torch.from_numpy(order).to(sessions.device)], given.locales[order]
    ranked = np.full((number, k), UNKNOWN)
    scores = np.full((number, k), -np.inf, dtype=np.float32)
    everywhere = [(0, len(items))]
    for first, last in [(0, number)] if shelves is None else _runs(locales):
        some = slice(first, last)
        held = (seen[0] >= first) & (seen[0] < last)
        own = (seen[0][held] - first, seen[1][held])
        chunk = max(k, SCORES_HELD // max(1, last - first))
        for low, high in everywhere if shelves is None else shelves.ranges[locales[first]]:
            for start in range(low, high, chunk):
                found = _products(vectors[some], items[start : min(start + chunk, high)])
                _apply(found, start, given, locales[some], own, shelves)
                ranked[some], scores[some] = _merge(ranked[some], scores[some], found, start, shelves)
    return ranked[place], scores[place]


def _runs(locales: Ints) -> Iterator[tuple[int, int]]:
    """From and to of equal neighbours."""
    return itertools.pairwise(np.flatnonzero(np.diff(locales, prepend=-1, append=-1)).tolist())


def _products(sessions: Tensor, items: Tensor) -> Tensor:
    """Products ``(S, N)``; on a CPU by NumPy, whose library takes 0.5 to 0.9 of the time that torch's does."""
    if items.device.type != "cpu":
        return sessions @ items.T
    return torch.from_numpy(sessions.numpy() @ items.numpy().T)


def _by_code(rows: Ints, codes: Ints) -> tuple[Ints, Ints]:
    order = np.argsort(codes, kind="stable")
    return rows[order], codes[order]


def _apply(
    found: Tensor, start: int, given: Conditions, locales: Ints, seen: tuple[Ints, Ints], shelves: Shelves | None
) -> None:
    """Add the prior, and give what must not be ranked a score of minus infinity, in place."""
    stop = start + found.shape[1]
    rows = slice(start, stop) if shelves is None else shelves.order[start:stop]
    for first, last in _runs(locales):
        if given.prior is not None:
            found[first:last] += torch.from_numpy(given.prior[locales[first]][rows]).to(found)
        if given.sold is not None and shelves is None:
            missing = torch.from_numpy(~given.sold[locales[first], rows]).to(found.device)
            found[first:last].masked_fill_(missing, -torch.inf)
    low, high = np.searchsorted(seen[1], [start, stop])
    left_out, columns = (torch.from_numpy(part[low:high]).to(found.device) for part in seen)
    found[left_out, columns - start] = -torch.inf


def _merge(ranked: Ints, scores: Floats, found: Tensor, start: int, shelves: Shelves | None) -> tuple[Ints, Floats]:
    """Lists so far and a chunk's scores, cut at k again. Few of a later chunk reach the k-th score so far."""
    k = ranked.shape[1]
    bar = torch.from_numpy(scores[:, -1]).to(found.device)
    open_ended = torch.isinf(bar)
    # in the order of codes, what ties with the k-th score so far comes too late
    passing = found > bar[:, None] if shelves is None else found >= bar[:, None]
    if bool(open_ended.any()):
        own = torch.topk(found, min(k, found.shape[1]), dim=1).values[:, -1]
        passing = torch.where(open_ended[:, None], found >= own[:, None], passing)
        passing &= found > -torch.inf
    rows, columns = passing.nonzero(as_tuple=True)
    values = found[rows, columns].float().cpu().numpy()
    codes = columns.cpu().numpy() + start
    held_rows, held_columns = np.nonzero(ranked != UNKNOWN)
    return top_k_candidates(
        np.concatenate([held_rows, rows.cpu().numpy()]),
        np.concatenate([ranked[held_rows, held_columns], codes if shelves is None else shelves.order[codes]]),
        np.concatenate([scores[held_rows, held_columns], values]),
        len(ranked),
        k,
    )
