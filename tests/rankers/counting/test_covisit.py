"""Co-visitation: every weight worked by hand on sessions of three items."""

from __future__ import annotations

from typing import Any

import pytest

from llmrec.errors import ConfigError
from llmrec.rankers import TrainingSessions
from llmrec.rankers.counting.covisit import Covisit, CovisitSettings
from llmrec.settings import load_recipe, resolve
from llmrec.testing.ranker_contract import RankerContract


class TestCovisit(RankerContract):
    ranker = Covisit
    settings = CovisitSettings()


class TestTunedCovisit(RankerContract):
    ranker = Covisit
    settings = resolve(CovisitSettings, {}, load_recipe("covisit"))


# From a, b, c: a → b 1, a → c 0.5, b → c 1; backward b → a 0.25, c → b 0.25, and c → a nothing.
PLAIN: dict[str, Any] = {"forward": (1.0, 0.5), "backward": (0.25,), "source_power": 0.0, "recency": 0.5}


def fitted(
    sequences: list[list[str]], locales: list[str] | None = None, labelled: bool = False, **changes: Any
) -> Covisit:
    training = TrainingSessions.of(sequences, locales or ["DE"] * len(sequences), labelled)
    return Covisit(CovisitSettings(**PLAIN | changes)).fit(training)


def scores_of(
    ranker: Covisit, items: list[str], k: int = 100, seen: Any = "keep", locale: str = "DE"
) -> dict[str, Any]:
    ids, scores = ranker.rank_session(items, locale, k, seen)
    return {item: pytest.approx(score, rel=1e-6) for item, score in zip(ids, scores, strict=True)}


def test_weights_by_distance_and_recency_add_up() -> None:
    ranker = fitted([["a", "b", "c"]])
    # a is one place older than b and counts half: c 0.5 · 0.5 + 1, b 0.5 · 1, a 0.25
    assert scores_of(ranker, ["a", "b"]) == {"c": 1.25, "b": 0.5, "a": 0.25}
    assert scores_of(ranker, ["a", "b"], seen="drop") == {"c": 1.25}


def test_a_pair_that_comes_twice_counts_twice() -> None:
    assert scores_of(fitted([["a", "b"], ["a", "b"], ["b", "a"]]), ["a"], 1) == {"b": 2.25}


def test_pairs_that_end_with_a_next_item_have_their_own_weight() -> None:
    ranker = fitted([["a", "b", "c"]], labelled=True, labelled_weight=2.0)
    assert scores_of(ranker, ["b"], 2) == {"c": 2.0, "a": 0.25}
    assert scores_of(ranker, ["c"], 1) == {"b": 0.5}  # backward from the next_item


@pytest.mark.parametrize(
    ("source_power", "target_power", "expected"),
    [
        (1.0, 0.0, {"c": 1 / 1.25, "a": 0.25 / 1.25}),  # b gives 1 + 0.25
        (0.0, 1.0, {"a": 0.25 / 0.25, "c": 1 / 1.5}),  # a gets 0.25 in all, c 0.5 + 1
        (0.5, 0.5, {"c": 1 / (1.25 * 1.5) ** 0.5, "a": 0.25 / (1.25 * 0.25) ** 0.5}),
    ],
)
def test_normalisation(source_power: float, target_power: float, expected: dict[str, float]) -> None:
    ranker = fitted([["a", "b", "c"]], source_power=source_power, target_power=target_power)
    assert scores_of(ranker, ["b"], 2) == expected


def test_only_the_best_neighbours_are_kept() -> None:
    ids, scores = fitted([["a", "b", "c"]], neighbours=1).rank_session(["b"], "DE", 2)
    assert (ids[0], scores[0]) == ("c", 1.0)
    assert scores[1] == 0.0  # a comes from the most frequent items


def test_an_item_is_its_own_neighbour_only_where_asked() -> None:
    sequences = [["a", "a", "b"]]  # a → a 1 + 0.25, a → b 1 + 0.5
    assert scores_of(fitted(sequences, repeats=True), ["a"]) == {"b": 1.5, "a": 1.25}
    assert scores_of(fitted(sequences), ["a"], 1) == {"b": 1.5}


def test_history_limits_the_items_that_propose() -> None:
    assert scores_of(fitted([["a", "b", "c"]], history=1), ["a", "b"], 2) == {"c": 1.0, "a": 0.25}


def test_the_locales_share_raises_a_score() -> None:
    ranker = fitted([["a", "b"], ["a", "c"]], ["DE", "FR"], locale_weight=1.0)
    assert scores_of(ranker, ["a"], 2, locale="FR") == {"c": 2.0, "b": 1.0}
    assert list(scores_of(ranker, ["a"], 2, locale="UK")) == ["b", "c"]  # unknown: equal, and b is the smaller id


def test_the_second_hop_serves_sessions_that_are_short() -> None:
    ranker = fitted([["a", "b"], ["b", "c"]], backward=(), hop_weight=0.5)
    assert scores_of(ranker, ["a"], 1) == {"b": 1.0}  # long enough without
    assert scores_of(ranker, ["a"], 2) == {"b": 1.0, "c": 0.5}  # b's share of c is 1: 0.5 · 1 · 1


def test_the_second_hop_goes_through_the_best_neighbours_alone() -> None:
    # a → b 2, a → d 1; only b's neighbour c is looked up, d's neighbour e comes from the most frequent items
    ranker = fitted(
        [["a", "b"], ["a", "b"], ["a", "d"], ["b", "c"], ["d", "e"]], backward=(), hop_weight=0.5, hop_items=1
    )
    assert scores_of(ranker, ["a"], 4, seen="drop") == {"b": 2.0, "d": 1.0, "c": 1.0, "e": 0.0}


def test_an_item_without_neighbours_gets_the_most_frequent_items() -> None:
    assert fitted([["a", "b"], ["b"], ["c"]]).rank_session(["c"], "DE", 1) == (["b"], [-1.0])


def test_no_weight_at_all_is_refused() -> None:
    with pytest.raises(ConfigError, match="no weight above 0"):
        fitted([["a", "b"]], forward=(0.0,), backward=())
