"""STAN and V-STAN, by hand and beside a plain implementation of the papers' formulas."""

from __future__ import annotations

from collections import Counter
from math import exp, log, sqrt
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import llmrec
from llmrec.rankers import TrainingSessions
from llmrec.rankers.counting.stan import Stan, StanSettings, VStan, VStanSettings
from llmrec.testing.ranker_contract import RankerContract

PLAIN: dict[str, Any] = {"recency": 1.0, "pair_decay": 1.0}
SEQUENCES = [["a", "x"], ["b", "y"], ["b", "a", "z"]]


class TestStan(RankerContract):
    ranker = Stan
    settings = StanSettings(session_decay=0.5)


class TestVStan(RankerContract):
    ranker = VStan
    settings = VStanSettings()


def ranked(items: list[str], name: str = "stan", k: int = 3, **changes: Any) -> tuple[list[str], Any]:
    ids, scores = llmrec.fit(name, SEQUENCES, **{**PLAIN, **changes}).rank_session(items, "", k)
    return ids, pytest.approx(scores)


def test_similarity_is_the_cosine_of_the_weighed_session() -> None:
    norm = sqrt(2 * 2), sqrt(2 * 3)
    assert ranked(["a", "b"]) == (["z", "x", "y"], [2 / norm[1], 1 / norm[0], 1 / norm[0]])
    norm = sqrt(1.25 * 2), sqrt(1.25 * 3)  # a weighs a half of b
    assert ranked(["a", "b"], recency=0.5) == (["z", "y", "x"], [1.5 / norm[1], 1 / norm[0], 0.5 / norm[0]])


def test_a_repeated_item_stands_where_it_is_last() -> None:
    # b, a, b: a stands one place from the end, b at the end
    assert _scores(["b", "a", "b"], recency=0.5) == _scores(["a", "b"], recency=0.5)
    # a, b, b: a stands two places from the end
    assert _scores(["a", "b", "b"], recency=0.5)["x"] == pytest.approx(0.25 / sqrt(1.0625 * 2))


def test_older_sessions_count_less_where_their_order_says_so() -> None:
    # of a alone: the first session is two of three sessions old, the last is not
    young, old = 1 / sqrt(3), 1 / sqrt(2) * exp(-2 / 3 / 0.5)
    assert _scores(["a"], session_decay=0.5) == pytest.approx({"b": young, "z": young, "x": old})


def _scores(items: list[str], **changes: Any) -> dict[str, float]:
    ids, scores = llmrec.fit("stan", SEQUENCES, **{**PLAIN, **changes}).rank_session(items, "", 3)
    return dict(zip(ids, scores, strict=True))


def test_items_near_the_last_shared_one_get_more() -> None:
    ids, scores = llmrec.fit("stan", [["p", "a", "q", "r"]], recency=1.0, pair_decay=0.5).rank_session(["a"], "", 3)
    assert dict(zip(ids, scores, strict=True)) == pytest.approx({"p": 0.25, "q": 0.25, "r": 0.125})


def test_votes_fade_with_the_newest_match_and_rare_items_gain() -> None:
    found = ranked(["a", "b"], "vstan", match_recency=0.5, idf_weight=1.0)
    gain, norm = 1 + log(3), (sqrt(2 * 2), sqrt(2 * 3))
    assert found == (["z", "y", "x"], [2 / norm[1] * gain, 1 / norm[0] * gain, 0.5 / norm[0] * gain])


def test_a_share_of_newer_sessions_below_zero_is_refused() -> None:
    with pytest.raises(llmrec.errors.ConfigError, match="session_decay"):
        llmrec.fit("stan", SEQUENCES, session_decay=-1.0)


ITEMS = st.sampled_from("abcdefgh")
SESSIONS = st.lists(st.lists(ITEMS, min_size=1, max_size=6), min_size=1, max_size=12)


@settings(max_examples=60)
@given(
    training=SESSIONS,
    session=st.lists(ITEMS, min_size=1, max_size=6),
    sample=st.sampled_from([2, 100]),
    session_decay=st.sampled_from([0.0, 0.3]),
)
def test_scores_are_those_of_a_plain_implementation(
    training: list[list[str]], session: list[str], sample: int, session_decay: float
) -> None:
    held = {item for items in training for item in items}
    session = [item for item in session if item in held]
    if not session:
        return
    given: dict[str, Any] = {"sample": sample, "session_decay": session_decay, "neighbours": 100}
    given |= {"recency": 0.7, "pair_decay": 0.6, "match_recency": 0.8, "idf_weight": 1.5}
    ranker = VStan(VStanSettings(**given)).fit(TrainingSessions.of(training, ["DE"] * len(training)))
    ids, scores = ranker.rank_session(session, "DE", 100, "keep")
    expected = plain_vstan(training, session, **given)
    # beyond the neighbours' items come the most frequent ones
    assert dict(zip(ids[: len(expected)], scores, strict=False)) == pytest.approx(expected)


def plain_vstan(
    training: list[list[str]],
    session: list[str],
    sample: int,
    session_decay: float,
    neighbours: int,
    recency: float,
    pair_decay: float,
    match_recency: float,
    idf_weight: float,
) -> dict[str, float]:
    """As session-rec's authors write it: loops and dictionaries, one session at a time."""
    lambdas = {name: -1 / log(one) for name, one in (("spw", recency), ("inh", pair_decay), ("ipw", match_recency))}
    place = {item: number for number, item in enumerate(session, 1)}
    weight = {item: exp((at - len(session)) / lambdas["spw"]) for item, at in place.items()}
    sharing = [number for number, items in enumerate(training) if {*items} & {*session}][-sample:]
    found = []
    for number in sharing:
        items = {*training[number]}
        similarity = sum(weight[item] for item in items & {*session})
        similarity /= sqrt(sum(one**2 for one in weight.values())) * sqrt(len(items))
        if session_decay:
            similarity *= exp(-((len(training) - 1 - number) / len(training)) / session_decay)
        found.append((number, similarity))
    found = sorted(found, key=lambda one: -one[1])[:neighbours]
    holders = Counter(item for items in training for item in {*items})
    scores: dict[str, float] = {}
    for number, similarity in found:
        last = {item: at for at, item in enumerate(training[number])}
        shared = max(last[item] for item in last if item in place)
        newest = max(place[item] for item in last if item in place)
        for item, at in last.items():
            vote = similarity * exp(-abs(at - shared) / lambdas["inh"]) * exp((newest - len(session)) / lambdas["ipw"])
            vote *= 1 + idf_weight * log(len(training) / holders[item])
            scores[item] = scores.get(item, 0.0) + vote
    return scores
