"""Decisions that sessions out of fold tell: what ranks better where it was not learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Ints
from llmrec.evaluation.metrics import MAX_RANKED, metric_by_rank
from llmrec.rankers.fusion.deciding.decisions import Decision, gain, with_gain
from llmrec.rankers.fusion.settings import FusionSettings
from llmrec.rankers.fusion.training import ValidationExamples, repeats, target_ranks
from llmrec.rankers.sessions import CodedSessions
from llmrec.within import is_among

__all__ = ["decide_seen", "ranks_without_seen"]

MANY: Final = 0.1  # labels that repeat, where nothing can be judged: a seen item stands high, and so costs the others


def decide_seen(
    settings: FusionSettings, training: CodedSessions, kept: Sequence[Ints], dropped: Sequence[Ints]
) -> list[Decision]:
    """Keep seen items where that ranks better.

    Args:
        settings: Settings.
        training: Training sessions.
        kept: Ranks of the targets of sessions out of fold, by model, where seen items are kept.
        dropped: The same where they are dropped.
    """
    if settings.seen != "auto":
        return []
    share = repeats(training)
    told = f"{share:.1%} of the labels stand in their own session before"
    if not kept:
        return [Decision("seen", "keep" if share >= MANY else "drop", f"{told}; no session to judge on")]
    with_seen, without = _gains(np.concatenate(kept)), _gains(np.concatenate(dropped))
    found = gain(with_seen, without, settings.seed)
    why = f"{told}; keeping them gives {with_gain(found, len(with_seen))}"
    return [Decision("seen", "keep" if found.difference > 0 else "drop", why)]


def ranks_without_seen(
    judged: ValidationExamples, scores: NDArray[np.floating], prefixes: CodedSessions, num_items: int
) -> Ints:
    """Rank of each session's target where its own items are no candidates, shape ``(S,)``; 0 where it is none.

    Args:
        judged: Sessions with all their candidates.
        scores: Shape ``(C,)``.
        prefixes: The same ``S`` sessions without their targets.
        num_items: Items of the catalogue.
    """
    found = judged.candidates
    seen = is_among(found.rows, found.codes, prefixes.rows, prefixes.items, num_items)
    ranks = target_ranks(judged, np.where(seen, -np.inf, scores))
    ranks[found.rows[seen & (found.codes == judged.targets[found.rows])]] = 0
    return ranks


def _gains(ranks: Ints) -> NDArray[np.float64]:
    return metric_by_rank("mrr@100")[np.where(ranks <= MAX_RANKED, ranks, 0)]
