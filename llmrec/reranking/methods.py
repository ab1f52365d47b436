"""The ways to ask: what a model is shown, and the scores of candidates in what it says."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_letters, ascii_uppercase
from typing import Final

import numpy as np

from llmrec.reranking.candidates import Candidates
from llmrec.reranking.settings import Method

__all__ = ["LETTERS", "Ask", "asks_of", "odds_of", "order_of", "orders_of", "scores_of"]

LETTERS: Final = ascii_uppercase + ascii_letters[:26]  # of the labels of a local model: one token each
LEAST: Final = -30.0  # log-probability of what a server does not list among the first tokens


@dataclass(frozen=True)
class Ask:
    """One text that a model reads.

    Attributes:
        locale: Of its wording.
        products: The session's products in it, oldest first.
        shown: The labelled candidates in it.
        titles: Titles whose probability after the text is asked for; without any, that of the answers.
    """

    locale: str
    products: Sequence[Mapping[str, str]]
    shown: Sequence[Mapping[str, str]] = ()
    titles: Sequence[str] = ()


def asks_of(method: Method, one: Candidates, *, orders: Sequence[Sequence[int]], letters: bool) -> list[list[Ask]]:
    """What is asked about one session, in groups that start alike.

    Args:
        method: See `llmrec.reranking.settings.RerankJob`.
        one: The session.
        orders: For ``list``: orders of its candidates.
        letters: Whether labels are letters, not numbers.
    """
    if method == "list":
        return [
            [Ask(one.locale, one.products, _labelled([one.titles[at] for at in order], letters)) for order in orders]
        ]
    if method == "yes":
        return [[Ask(one.locale, one.products, _labelled([title], letters)) for title in one.titles]]
    asks = [[Ask(one.locale, one.products, titles=one.titles)]]
    return [*asks, [Ask(one.locale, (), titles=one.titles)]] if method == "pmi" else asks


def _labelled(titles: Sequence[str], letters: bool) -> list[dict[str, str]]:
    labels = LETTERS if letters else [f"{number + 1}" for number in range(len(titles))]
    return [{"label": label, "title": title} for label, title in zip(labels, titles, strict=False)]


def orders_of(count: int, shuffles: int, seed: Sequence[int]) -> list[list[int]]:
    """Orders of some candidates, drawn by seed; every second one is the one before it, backwards.

    So each candidate's mean place is the same after an even number, and a model that goes by places alone orders
    nothing.
    """
    rng = np.random.default_rng(list(seed))
    drawn: list[list[int]] = []
    while len(drawn) < shuffles:
        order = rng.permutation(count).tolist()
        drawn += [order, order[::-1]]
    return drawn[:shuffles]


def scores_of(
    method: Method, one: Candidates, answers: Sequence[Sequence[float]], orders: Sequence[Sequence[int]]
) -> list[float]:
    """Scores of a session's candidates, higher is better.

    Args:
        method: As asked.
        one: The session.
        answers: What came of each `Ask` of `asks_of`, in their order: a number for each title, or for each of the
            candidates shown; of ``list`` they are higher for what comes first.
        orders: As `asks_of`.
    """
    if method == "likelihood":
        return list(answers[0])
    if method == "pmi":
        return [after - alone for after, alone in zip(*answers, strict=True)]
    if method == "yes":
        return [odds for (odds,) in answers]
    ranks = np.zeros(len(one.titles))
    for order, values in zip(orders, answers, strict=True):
        ranks[order] += 1 + np.argsort(np.argsort(-np.array(values), kind="stable"), kind="stable")
    return [-math.log(mean) for mean in ranks / len(orders)]


def order_of(text: str, count: int) -> tuple[list[float], int, int]:
    """Numbers for ``count`` candidates from a written order such as ``3 > 1 > 2``, higher for what comes first.

    Thoughts before ``</think>`` do not count. What is no candidate's number, or named again, is dropped; candidates
    that are not named follow in the order in which they were shown.

    Returns:
        The numbers, how many labels were dropped, and how many candidates were missing.
    """
    labels = [int(found) for found in re.findall(r"\d{1,9}", text.rpartition("</think>")[2])]
    named = list(dict.fromkeys(label - 1 for label in labels if 1 <= label <= count))
    rest = [place for place in range(count) if place not in {*named}]
    values = [0.0] * count
    for place, candidate in enumerate([*named, *rest]):
        values[candidate] = float(-place)
    return values, len(labels) - len(named), len(rest)


def odds_of(logprobs: Mapping[str, float], yes: str, no: str) -> float:
    """Log-odds of one word against another, by the first token of an answer; 0 where it may be neither.

    Args:
        logprobs: Log-probability of each token that may be the first.
        yes: The one word.
        no: The other.
    """
    values = [_of_word(logprobs, word) for word in (yes, no)]
    return values[0] - values[1]


def _of_word(logprobs: Mapping[str, float], word: str) -> float:
    starts = [value for token, value in logprobs.items() if _starts(word, token)]
    return max(LEAST, math.log(total)) if (total := sum(map(math.exp, starts))) > 0 else LEAST


def _starts(word: str, token: str) -> bool:
    bare = token.strip().casefold()
    return bool(bare) and word.casefold().startswith(bare)
