"""Scores of a trained session model: for all items, or for some (session, item) pairs."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

from llmrec.arrays import Floats, Ints
from llmrec.errors import needing
from llmrec.rankers.base import Seen
from llmrec.rankers.catalogue import Catalogue
from llmrec.rankers.neural.prefixes import padded_rows
from llmrec.rankers.neural.scorer import Scorer
from llmrec.rankers.sessions import CodedSessions
from llmrec.rankers.vectors.streaming import Conditions, Shelves, stream_top_k

__all__ = ["pair_products", "rank_codes", "validation_mrr"]


VALIDATION_K: Final = 100
PAIRS: Final = 1 << 12  # pairs whose item vectors are gathered at once: more would leave a processor's cache
ALIKE: Final = 128  # sessions of like length that are encoded together


def rank_codes(
    scorer: Scorer,
    items: Tensor,
    sessions: CodedSessions,
    k: int,
    seen: Seen,
    catalogue: Catalogue,
    prior: Floats | None = None,
    shelves: Shelves | None = None,
) -> tuple[Ints, Floats]:
    """Best items of sessions of known items, which may be empty.

    Args:
        scorer: In evaluation mode.
        items: `Scorer.item_vectors` without the padding row, shape ``(N, D)``.
        sessions: ``S`` sessions.
        k: Most items of a list.
        seen: Whether a session's own items are dropped.
        catalogue: Says what is sold where.
        prior: As `item_prior` gives it.
        shelves: In whose order the items are; in that of their codes without.

    Returns:
        Codes ``(S, k)``, -1 beyond the end of a list, and scores ``(S, k)``.
    """
    with torch.inference_mode():
        vectors = _session_vectors(scorer, items, sessions)
        none = np.zeros(0, dtype=np.int64)
        given = Conditions(
            catalogue.sold,
            sessions.locales,
            sessions.rows if seen == "drop" else none,
            sessions.items if seen == "drop" else none,
            prior,
        )
        return stream_top_k(vectors, items, k, given, shelves)


def pair_products(scorer: Scorer, items: Tensor, sessions: CodedSessions, rows: Ints, codes: Ints) -> Floats:
    """Products of session and item vectors of some pairs, shape ``(C,)``; 0 for an empty session.

    Args:
        scorer: In evaluation mode.
        items: `Scorer.item_vectors` without the padding row, shape ``(N, D)``.
        sessions: ``S`` sessions of known items.
        rows: Shape ``(C,)``; session of each pair.
        codes: Shape ``(C,)``; row of its item.
    """
    with torch.inference_mode():
        vectors = _session_vectors(scorer, items, sessions)
        if items.device.type == "cpu":
            with needing("rank"):
                from llmrec.rankers.neural.pair_products import pair_products_of  # which waits for numba
            return pair_products_of(vectors.numpy(), items.numpy(), rows, codes)
        products = np.zeros(len(rows), dtype=np.float32)
        for start in range(0, len(rows), PAIRS):
            part = slice(start, start + PAIRS)
            left, right = (torch.from_numpy(one[part]).to(items.device) for one in (rows, codes))
            pairs = vectors.index_select(0, left).mul_(items.index_select(0, right))
            products[part] = pairs.sum(dim=1).cpu().numpy()
    return products


def _session_vectors(scorer: Scorer, items: Tensor, sessions: CodedSessions) -> Tensor:
    """Session vectors ``(S, D)``, 0 for an empty session."""
    recent = sessions.last(scorer.max_length)
    lengths = recent.lengths
    filled = np.flatnonzero(lengths)
    vectors = torch.zeros(len(sessions), items.shape[1], device=items.device)
    filled = filled[np.argsort(lengths[filled], kind="stable")]
    for start in range(0, len(filled), ALIKE):
        some = filled[start : start + ALIKE]
        rows = padded_rows(recent.items, recent.offsets[:-1][some], lengths[some])
        read = (torch.from_numpy(rows), torch.from_numpy(lengths[some]))
        vectors[torch.from_numpy(some)] = scorer.session_vectors(*(one.to(items.device) for one in read)).float()
    return vectors


def validation_mrr(
    scorer: Scorer, sessions: CodedSessions, targets: Ints, catalogue: Catalogue, prior: Floats | None
) -> float:
    """MRR@100 of sessions ``S`` whose targets ``(S,)`` are known, without the sessions' own items."""
    with torch.inference_mode():
        items = scorer.item_vectors()[1:].float()
    total = 0.0
    for start in range(0, len(sessions), 1024):
        rows = np.arange(start, min(start + 1024, len(sessions)))
        part, k = sessions.take(rows), min(VALIDATION_K, len(items))
        ranked, _ = rank_codes(scorer, items, part, k, "drop", catalogue, prior)
        hits = ranked == targets[rows, None]
        total += float((hits.any(axis=1) / (hits.argmax(axis=1) + 1)).sum())
    return total / len(sessions)
