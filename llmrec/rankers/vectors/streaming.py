"""The k best of all items by vectors and prior, a chunk of items at a time, so that no score matrix is ever held."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmrec.arrays import Floats, Ints
from llmrec.vocabulary import UNKNOWN
from llmrec.within import top_k_candidates

__all__ = ["Conditions", "stream_top_k"]


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


def stream_top_k(sessions: Tensor, items: Tensor, k: int, given: Conditions) -> tuple[Ints, Floats]:
    """Best items of each session; ties go to the smaller code.

    Args:
        sessions: Session vectors, shape ``(S, D)``.
        items: Item vectors, shape ``(N, D)``; row = code.
        k: Most items of a list, at most ``N``.
        given: What counts beside the vectors.

    Returns:
        Codes ``(S, k)``, -1 beyond the end of a list, and scores ``(S, k)``, falling.
    """
    number = len(sessions)
    order = np.argsort(given.locales, kind="stable")  # a locale's sessions stand together, so one mask serves all
    place = np.empty(number, dtype=np.int64)
    place[order] = np.arange(number)
    seen = _by_code(place[given.seen_rows], given.seen_codes)
    vectors = sessions[torch.from_numpy(order).to(sessions.device)]
    ranked = np.full((number, k), UNKNOWN)
    scores = np.full((number, k), -np.inf, dtype=np.float32)
    chunk = max(k, SCORES_HELD // max(1, number))
    for start in range(0, len(items), chunk):
        found = vectors @ items[start : start + chunk].T
        _apply(found, start, given, given.locales[order], seen)
        ranked, scores = _merge(ranked, scores, found, start)
    return ranked[place], scores[place]


def _by_code(rows: Ints, codes: Ints) -> tuple[Ints, Ints]:
    order = np.argsort(codes, kind="stable")
    return rows[order], codes[order]


def _apply(found: Tensor, start: int, given: Conditions, locales: Ints, seen: tuple[Ints, Ints]) -> None:
    """Add the prior, and give what must not be ranked a score of minus infinity, in place."""
    stop = start + found.shape[1]
    bounds = np.flatnonzero(np.diff(locales, prepend=-1, append=-1))
    for first, last in itertools.pairwise(bounds):
        if given.prior is not None:
            found[first:last] += torch.from_numpy(given.prior[locales[first], start:stop]).to(found)
        if given.sold is not None:
            missing = torch.from_numpy(~given.sold[locales[first], start:stop]).to(found.device)
            found[first:last].masked_fill_(missing, -torch.inf)
    low, high = np.searchsorted(seen[1], [start, stop])
    rows, columns = (torch.from_numpy(part[low:high]).to(found.device) for part in seen)
    found[rows, columns - start] = -torch.inf


def _merge(ranked: Ints, scores: Floats, found: Tensor, start: int) -> tuple[Ints, Floats]:
    """Lists so far and a chunk's scores, cut at k again. Few of a later chunk pass the k-th score so far."""
    k = ranked.shape[1]
    bar = torch.from_numpy(scores[:, -1]).to(found.device)
    open_ended = torch.isinf(bar)
    if bool(open_ended.any()):
        own = torch.topk(found, min(k, found.shape[1]), dim=1).values[:, -1]
        passing = torch.where(open_ended[:, None], found >= own[:, None], found > bar[:, None])
        passing &= found > -torch.inf
    else:
        passing = found > bar[:, None]
    rows, columns = passing.nonzero(as_tuple=True)
    values = found[rows, columns].float().cpu().numpy()
    held_rows, held_columns = np.nonzero(ranked != UNKNOWN)
    return top_k_candidates(
        np.concatenate([held_rows, rows.cpu().numpy()]),
        np.concatenate([ranked[held_rows, held_columns], columns.cpu().numpy() + start]),
        np.concatenate([scores[held_rows, held_columns], values]),
        len(ranked),
        k,
    )
