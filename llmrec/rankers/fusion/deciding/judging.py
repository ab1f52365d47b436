"""Decisions that sessions out of fold tell: what ranks better where it was not learnt from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Ints
from llmrec.evaluation.metrics import MAX_RANKED, metric_by_rank
from llmrec.ragged import row_numbers
from llmrec.rankers.fusion.deciding.decisions import Decision, gain, with_gain
from llmrec.rankers.fusion.deciding.parts import columns_without, examples_without, proposed_without
from llmrec.rankers.fusion.settings import FusionSettings
from llmrec.rankers.fusion.training import Fold, ValidationExamples, order_scores, repeats, target_ranks
from llmrec.rankers.fusion.trees import COUNT, Examples, Trees, grow_trees, with_bonus
from llmrec.rankers.sessions import CodedSessions
from llmrec.within import is_among

__all__ = ["decide_cold_bonus", "decide_parts", "decide_seen", "parts_are_open", "ranks_without_seen"]

MANY: Final = 0.1  # labels that repeat, where nothing can be judged: a seen item stands high, and so costs the others
ROUNDS: Final = 60  # trees that say what a part is worth; twice as many said the same
TOO_FEW: Final = "too few labelled sessions to judge on"
PREMIUM: Final = 0.03  # of MRR@100 out of fold, given up for products to come
BONUSES: Final = (1.0, 0.75, 0.5, 0.25)  # 1: chances 2.7 times as high
MOST: Final = 10_000  # sessions of a fold that teach and judge them


def decide_cold_bonus(
    settings: FusionSettings, judged: Sequence[tuple[str, Sequence[str], ValidationExamples]]
) -> list[Decision]:
    """The largest bonus of a product that no session holds that costs little out of fold.

    Around its best value MRR hardly changes with the bonus, while cold targets gain and warm ones lose. No fold knows
    which products will be added to the shop, so a share of MRR, `PREMIUM`, is given to insure against them.

    Args:
        settings: Settings.
        judged: Models in text form, the names of their features, and sessions that they have not learnt from.
    """
    if settings.cold_bonus != "auto":
        return []
    if settings.cold_share:
        return [Decision("cold_bonus", 0.0, "cold_share is given")]
    if not any(COUNT in names and (one.features[:, names.index(COUNT)] == 0).any() for _, names, one in judged):
        return [Decision("cold_bonus", 0.0, "no candidate out of fold is a product that no session holds")]
    gains = cache(lambda bonus: _gains_with(judged, settings, bonus))
    for bonus in BONUSES:
        found = gain(gains(bonus), gains(0.0), settings.seed)
        told = f"{bonus:g} for products that no session holds gives {with_gain(found, len(gains(0.0)))}"
        if found.difference >= -PREMIUM * float(gains(0.0).mean()):
            return [Decision("cold_bonus", bonus, told)]
    return [Decision("cold_bonus", 0.0, told)]


def _gains_with(
    judged: Sequence[tuple[str, Sequence[str], ValidationExamples]], settings: FusionSettings, bonus: float
) -> NDArray[np.float64]:
    """What each session adds to MRR@100 where new products have a bonus, shape ``(S,)``."""
    ranks = []
    for text, _, one in judged:
        scores = order_scores(Trees([with_bonus(text, bonus)]), one.candidates, one.features, settings)
        ranks.append(target_ranks(one, scores))
    return _gains(np.concatenate(ranks))


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


def parts_are_open(settings: FusionSettings) -> bool:
    """Whether sources or scorers are still to be decided."""
    return "auto" in (settings.sources, settings.scorers)


def decide_parts(settings: FusionSettings, folds: Sequence[Fold], texts: Collection[str]) -> list[Decision]:
    """Scorers are taken where they are worth something, sources that read texts left out where they surely harm.

    Trees that learn from one of two folds are judged on the other, with and without a part. In inductive use every
    further fold costs a scorer's fit, and the gain must be sure; in transductive use the one fit is made. A text source
    is all that knows a product which nobody has clicked, of which these sessions say little.

    Args:
        settings: Settings.
        folds: The folds made so far, with the features of all sources and scorers.
        texts: Those of the sources that read texts.
    """
    taught = [fold for fold in folds if fold.found][:2]
    scorers = [name for name in settings.scorer_names if name not in settings.without]
    judged = cache(lambda off: _gains_of(taught, settings, off))
    decisions: list[Decision] = []
    if settings.scorers == "auto":
        taken, why = False, TOO_FEW
        if len(taught) > 1 and scorers:
            whole, without = judged(frozenset()), judged(frozenset(scorers))
            found = gain(whole, without, settings.seed)
            worth = found.difference if settings.transductive else found.low
            taken, why = worth > 0, f"{', '.join(scorers)} gives {with_gain(found, len(whole))}"
        decisions.append(Decision("scorers", scorers if taken else [], why))
    if settings.sources == "auto":
        kept, why = True, TOO_FEW
        if len(taught) > 1 and texts:
            whole, without = judged(frozenset()), judged(frozenset(texts))
            found = gain(whole, without, settings.seed)
            kept, why = found.high >= 0, f"{', '.join(texts)} gives {with_gain(found, len(whole))}"
        sources = [name for name in settings.source_names if kept or name not in texts]
        decisions.append(Decision("sources", sources, why))
    return decisions


def _gains_of(folds: Sequence[Fold], settings: FusionSettings, off: Collection[str]) -> NDArray[np.float64]:
    """What each session of two folds adds to MRR@100, shape ``(S,)``, by trees that have learnt from the other fold."""
    quick = replace(settings, rounds=min(ROUNDS, settings.rounds))
    names = folds[0].names
    kept = [names[place] for place in columns_without(names, off)]
    parts = [_first(fold.examples, MOST) for fold in folds]
    gains = []
    for taught, judged, fold in zip(parts, reversed(parts), reversed(folds), strict=True):
        trees = Trees([grow_trees(examples_without(taught, names, off), kept, quick, settings.seed)])
        columns = columns_without(names, off)
        scores = trees.scores(judged.features[:, columns], settings.threads)
        own = proposed_without(judged.features, names, off)
        added = np.zeros(min(MOST, fold.num_sessions))  # a session whose target nobody proposes has nothing
        ranks = _ranks_by_weight(judged, np.where(own, scores, -np.inf))
        added[: len(ranks)] = np.where(ranks <= MAX_RANKED, 1 / np.maximum(ranks, 1), 0)
        gains.append(added)
    return np.concatenate(gains)


def _ranks_by_weight(examples: Examples, scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """About the rank of each session's target, shape ``(S,)``: candidates count as many as they stand for."""
    rows, label = row_numbers(examples.sizes), examples.labels == 1
    of_target = np.full(len(examples.sizes), -np.inf)
    of_target[rows[label]] = scores[label]
    above = np.where(label | (scores <= of_target[rows]), 0, examples.weights)
    ranks = 1.0 + np.bincount(rows, above, minlength=len(examples.sizes)).astype(np.float64)
    ranks[np.isneginf(of_target)] = np.inf
    return ranks


def _first(examples: Examples, most: int) -> Examples:
    """Examples of the first sessions."""
    size = int(examples.sizes[:most].sum())
    held: dict[str, Any] = {name: getattr(examples, name)[:size] for name in ("features", "labels", "weights")}
    return Examples(sizes=examples.sizes[:most], **held)


def _gains(ranks: Ints) -> NDArray[np.float64]:
    return metric_by_rank("mrr@100")[np.where(ranks <= MAX_RANKED, ranks, 0)]
