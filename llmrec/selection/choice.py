"""The choice of one title a session at given prices, and the search for the prices that corpus BLEU likes best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Ints
from llmrec.evaluation.bleu import bleu_from_stats
from llmrec.evaluation.bootstrap import Interval
from llmrec.evaluation.differences import difference_of
from llmrec.selection.linear import Prices, corpus_stats
from llmrec.within import best_of_each

__all__ = ["Policy", "Trial", "choose", "choose_by_risk", "trusted", "tune_policy"]

Floats = NDArray[np.float64]

_LENGTHS: Final = np.linspace(-1.0, 2.5, 36)  # what a token is worth beside its matches, in shares of its cost
_TRUSTS: Final = (0.0, 0.35, 0.7, 1.0)
_MARGINS: Final = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # quantiles of the gains looked at


@dataclass(frozen=True)
class Policy:
    """How titles are chosen from their estimated worth.

    Attributes:
        prices: What n-grams are worth and cost.
        length_price: What a token is worth beside that, for the brevity penalty's sake.
        margin: How much better than the last title another one must be; infinite where the last title always stays.
        trust: Share of what the trees add to the worth that the expected matches alone give.
    """

    prices: Prices
    length_price: float
    margin: float
    trust: float = 1.0


@dataclass(frozen=True)
class Trial:
    """Sessions with their targets known, to tune on.

    Attributes:
        rows: Shape ``(C,)``; session of each offer.
        lengths: Shape ``(C,)``; its tokens.
        matches: Shape ``(C, 4)``; n-grams that it shares with the target.
        last: Shape ``(S,)``; place of the last title among the offers, -1 where there is none.
        targets: Shape ``(S,)``; tokens of each target.
    """

    rows: Ints
    lengths: Ints
    matches: Floats
    last: Ints
    targets: Ints

    def stats(self, chosen: Ints) -> Floats:
        """BLEU's statistics of chosen offers, shape ``(S, 10)``; -1 chooses an empty title."""
        none = chosen < 0
        matches, lengths = self.matches[chosen], self.lengths[chosen]
        return corpus_stats(np.where(none[:, None], 0, matches), np.where(none, 0, lengths), self.targets)


def choose(rows: Ints, lengths: Ints, worth: Floats, last: Ints, policy: Policy) -> Ints:
    """Place of the offer chosen for each session, shape ``(S,)``; -1 where there is none.

    Args:
        rows: Shape ``(C,)``; session of each offer, ascending.
        lengths: Shape ``(C,)``; its tokens.
        worth: Shape ``(C,)``; estimated value of its matches at the policy's prices, from `trusted`.
        last: Shape ``(S,)``; place of the last title among the offers, -1 where there is none.
        policy: How to choose.
    """
    value = worth - policy.prices.cost(lengths, policy.length_price)
    best = best_of_each(rows, value, len(last))
    if not len(rows):
        return best
    with np.errstate(invalid="ignore"):
        gain = value[best] - value[last]
    return np.where((last >= 0) & ~(gain > policy.margin), last, best)


def choose_by_risk(trial: Trial, expected: Floats, prices: Prices, length_price: float) -> Ints:
    """`choose` by expected matches alone, without a margin."""
    policy = Policy(prices, length_price, -np.inf)
    return choose(trial.rows, trial.lengths, prices.worth(expected), trial.last, policy)


def trusted(expected: Floats, added: Floats, policy: Policy) -> Floats:
    """Estimated value of offers' matches.

    Args:
        expected: Shape ``(C, 4)``; matches that minimum Bayes risk expects.
        added: Shape ``(C,)``; what trees say that their value lacks.
        policy: Prices, and how far the trees are trusted.
    """
    return policy.prices.worth(expected) + policy.trust * added


def tune_policy(
    trial: Trial, expected: Floats, added: Floats, prices: Prices, trusts: Sequence[float] = _TRUSTS, seed: int = 0
) -> tuple[Policy, Interval]:
    """Trust, length price and margin of the highest corpus BLEU, and BLEU's gain over the last title.

    Where the gain's 95 % interval does not lie above zero, the last title always stays.

    Args:
        trial: Sessions that the trees were not learnt from.
        expected: Shape ``(C, 4)``; matches that minimum Bayes risk expects.
        added: Shape ``(C,)``; what trees say that their value lacks.
        prices: Prices.
        trusts: Shares of ``added`` to look at.
        seed: Draws the bootstrap's samples.
    """
    baseline = trial.stats(trial.last)
    best, policy = float(bleu_from_stats(baseline.sum(axis=0))), Policy(prices, 0.0, np.inf, 0.0)
    token = float(prices.written.sum())
    for trust, length_price in product(trusts, (_LENGTHS * token).tolist()):
        score, found = _best_margin(trial, expected, added, Policy(prices, length_price, -np.inf, trust))
        if score > best:
            best, policy = score, found
    chosen = choose(trial.rows, trial.lengths, trusted(expected, added, policy), trial.last, policy)
    gain = difference_of(trial.stats(chosen), baseline, seed=seed)
    return (policy if gain.low > 0 else Policy(prices, 0.0, np.inf, 0.0)), gain


def _best_margin(trial: Trial, expected: Floats, added: Floats, policy: Policy) -> tuple[float, Policy]:
    """Highest BLEU over margins, and the policy with that margin."""
    worth = trusted(expected, added, policy)
    value = worth - policy.prices.cost(trial.lengths, policy.length_price)
    chosen = choose(trial.rows, trial.lengths, worth, trial.last, policy)
    gains = np.where(trial.last >= 0, value[chosen] - value[trial.last], np.inf)
    moved = gains[(gains > 0) & np.isfinite(gains)]
    ours, stays = trial.stats(chosen), trial.stats(trial.last)
    best, found = -1.0, policy
    for margin in np.unique([0.0, *(np.quantile(moved, _MARGINS) if len(moved) else [])]):
        sums = np.where((gains > margin)[:, None], ours, stays).sum(axis=0)
        score = float(bleu_from_stats(sums))
        if score > best:
            best, found = score, replace(policy, margin=float(margin))
    return best, found
