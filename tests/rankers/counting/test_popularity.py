"""The paper's Popularity, clause by clause, and the most frequent items of a locale."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from llmrec.rankers import Sessions, TrainingSessions
from llmrec.rankers.counting.popularity import (
    GlobalPopularity,
    GlobalPopularitySettings,
    Popularity,
    PopularitySettings,
)
from llmrec.testing.ranker_contract import RankerContract


class TestPopularity(RankerContract):
    ranker = Popularity
    settings = PopularitySettings()


class TestGlobalPopularity(RankerContract):
    ranker = GlobalPopularity
    settings = GlobalPopularitySettings()


# Followers: a → b 2, c 1; b → c 1, d 1; c → d 1; e → e 1.  All followers: b 2, c 2, d 2, e 1; nothing follows d.
SEQUENCES = [["a", "b", "c"], ["a", "b", "d"], ["a", "c", "d"], ["e", "e"]]


def fitted(sequences: list[list[str]] = SEQUENCES, **settings: int) -> Popularity:
    return Popularity(PopularitySettings(**settings)).fit(TrainingSessions.of(sequences, ["DE"] * len(sequences)))


def test_the_last_items_followers_come_first_then_the_padding() -> None:
    ids, scores = fitted().rank_session(["a"], "DE", seen="keep")
    assert ids == ["b", "c", "d", "e"]  # d and e are padding
    assert scores == [2.0, 1.0, 0.0, -1.0]


def test_only_the_last_item_counts() -> None:
    assert fitted().rank_session(["a", "c"], "DE", 1, seen="keep")[0] == ["d"]


def test_of_equal_counts_what_was_seen_first_comes_first() -> None:
    assert fitted().rank_session(["b"], "DE", 2, seen="keep") == (["c", "d"], [1.0, 1.0])
    turned = fitted([["b", "d"], ["x", "c"], ["b", "c"]])
    assert turned.rank_session(["b"], "DE", seen="keep")[0] == ["d", "c"]
    assert turned.rank_session([], "DE", seen="keep")[0] == ["c", "d"]  # padding: c twice
    assert fitted([["b", "z"], ["b", "c"]]).rank_session([], "DE", seen="keep")[0] == ["z", "c"]


def test_an_item_that_follows_itself_counts_and_is_kept_unless_seen_items_are_dropped() -> None:
    assert fitted().rank_session(["e"], "DE", 1, seen="keep")[0] == ["e"]
    assert fitted().rank_session(["e"], "DE", seen="drop")[0] == ["b", "c", "d"]


def test_followers_that_were_seen_stay_with_keep_and_go_with_drop() -> None:
    assert fitted().rank_session(["c", "a"], "DE", seen="keep")[0] == ["b", "c", "d", "e"]
    assert fitted().rank_session(["c", "a"], "DE", seen="drop")[0] == ["b", "d", "e"]


def test_padding_passes_over_what_is_predicted_or_in_the_session() -> None:
    # c is followed by d; of the padding b, c, d, e the session has c and e
    assert fitted().rank_session(["e", "c"], "DE", seen="keep")[0] == ["d", "b"]


@pytest.mark.parametrize("items", [["b", "never"], ["b", "d"], []])
def test_an_unseen_last_item_gets_the_padding_as_it_is(items: list[str]) -> None:
    """Whether training never had it or nothing ever followed it; an earlier item does not stand in for it."""
    assert fitted().rank_session(items, "DE", seen="keep") == (["b", "c", "d", "e"], [-1.0, -2.0, -3.0, -4.0])


def test_dropping_seen_items_holds_for_an_unseen_last_item_too() -> None:
    assert fitted().rank_session(["b", "never"], "DE", seen="drop")[0] == ["c", "d", "e"]


def test_padding_is_as_long_as_the_setting() -> None:
    assert fitted(padding=1).rank_session(["never"], "DE", seen="keep")[0] == ["b"]


def test_transductive_use_counts_the_pairs_of_bare_sessions() -> None:
    sessions = Sessions.of([["a", "x", "x"], ["a", "x"], ["a", "x"]], ["FR"] * 3)
    training = TrainingSessions.of(SEQUENCES, ["DE"] * 4).joined(sessions.bare())
    ranker = Popularity(PopularitySettings()).fit(training)
    assert ranker.rank_session(["a"], "DE", 2, seen="keep") == (["x", "b"], [3.0, 2.0])  # no locale is looked at


def test_a_session_of_one_item_and_its_target_is_a_pair() -> None:
    assert fitted([["a", "b"]]).rank_session(["a"], "DE", seen="keep")[0] == ["b"]


def test_padding_is_not_offered_where_it_is_not_sold() -> None:
    products = pa.table({"id": ["b", "d", "e"], "locale": ["DE"] * 3})
    ranker = Popularity(PopularitySettings()).fit(TrainingSessions.of(SEQUENCES, ["DE"] * 4), products)
    assert ranker.rank_session(["a"], "DE", seen="keep")[0] == ["b", "d", "e"]


def by_loops(learnt: list[list[str]], sessions: list[list[str]], k: int) -> list[list[str]]:
    """The authors' way; a Counter gives equal counts in the order they were first seen."""
    following: dict[str, Counter[str]] = defaultdict(Counter)
    for items in learnt:
        for item, follower in pairwise(items):
            following[item][follower] += 1
    every = Counter(follower for items in learnt for follower in items[1:])
    padding = [item for item, _ in every.most_common(5)]
    lists = []
    for items in sessions:
        if items[-1] not in following:
            lists.append(padding[:k])
            continue
        predicted = [item for item, _ in following[items[-1]].most_common(k)]
        predicted += [item for item in padding if item not in predicted and item not in items]
        lists.append(predicted[:k])
    return lists


@pytest.mark.parametrize("seed", range(3))
def test_lists_are_those_of_loops_and_counters(seed: int) -> None:
    rng = np.random.default_rng(seed)
    drawn = [[f"i{item}" for item in rng.integers(0, 12, size=rng.integers(2, 6))] for _ in range(40)]
    sessions = [*drawn[:15], ["i3", "new"]]
    ranker = fitted(drawn[5:], padding=5)
    ids, _ = ranker.rank(Sessions.of(sessions, ["DE"] * len(sessions)), 6, "keep")
    assert ids.to_pylist() == by_loops(drawn[5:], sessions, 6)


def test_global_popularity_is_the_locales_and_everywheres_for_an_unknown_locale() -> None:
    training = TrainingSessions.of([["a", "b"], ["b", "c"], ["c", "c", "c"]], ["DE", "DE", "FR"])
    ranker = GlobalPopularity(GlobalPopularitySettings()).fit(training)
    assert ranker.rank_session([], "DE") == (["b", "a", "c"], [2.0, 1.0, 1.0])
    assert ranker.rank_session([], "FR") == (["c"], [3.0])
    assert ranker.rank_session(["a"], "UK") == (["c", "b"], [4.0, 2.0])
