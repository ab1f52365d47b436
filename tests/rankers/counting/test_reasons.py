"""Reasons in words, each number of them counted by hand."""

from __future__ import annotations

from typing import Any

import llmrec
from llmrec.rankers.counting.reasons import reasons_in_words

SESSIONS = [["tea", "cup"], ["tea", "cup"], ["tea", "pot"], ["jug", "pot"]]


def reasons(name: str, items: list[str], ids: list[str], **settings: Any) -> dict[str, list[str]]:
    ranker = llmrec.fit(name, llmrec.sessions(SESSIONS, "UK"), **settings)
    return reasons_in_words(ranker, items, "UK", ids)


def test_popularity_says_how_often_it_came_next() -> None:
    told = reasons("popularity", ["tea"], ["cup", "pot", "jug"])
    assert told == {
        "cup": ["seen next after the last product, 2 of 3 times"],
        "pot": ["seen next after the last product, 1 of 3 times"],
    }


def test_covisit_says_the_share_of_what_is_seen_around_the_sessions_products() -> None:
    one_step: dict[str, Any] = {"forward": (1.0,), "backward": (0.0,), "hop_weight": 0.0, "locale_weight": 0.0}
    told = reasons("covisit", ["jug", "tea"], ["cup", "pot"], **one_step)
    assert told["cup"] == ["67 % of what is seen around the last product"]
    assert told["pot"] == [  # all of what follows jug, but jug is older: 0.5 · 100 % outweighs 33 %
        "100 % of what is seen around the product before it",
        "33 % of what is seen around the last product",
    ]


def test_session_neighbours_say_in_how_many_they_are() -> None:
    told = reasons("item_knn", ["tea"], ["cup", "pot"])
    assert told["cup"] == ["in 2 of the 3 sessions most like this one"]
    assert told["pot"] == ["in 1 of the 3 sessions most like this one"]


def test_what_fills_a_list_up_is_frequent_and_strangers_have_no_reason() -> None:
    told = reasons("item_knn", ["tea"], ["jug", "nobody"])
    assert told == {"jug": ["one of the most frequent products of UK"]}
    assert reasons("global_popularity", [], ["tea"]) == {"tea": ["looked at 3 times in UK"]}


def test_a_session_of_no_known_item_has_reasons_too() -> None:
    for name in ("popularity", "covisit", "vmis_knn", "global_popularity"):
        reasons(name, ["nobody"], ["tea", "cup"])
