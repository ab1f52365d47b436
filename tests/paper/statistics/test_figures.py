"""Tables 1-2 and the numbers of Figures 2, 4 and 5, on sessions small enough to count by hand, and on the real ones."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.data.store import Store
from llmrec.errors import ConfigError
from llmrec.paper.statistics.corpus import Corpus, open_corpus
from llmrec.paper.statistics.figures import (
    overlap_matrix,
    product_frequency,
    product_overlap,
    repeat_shares,
    repeated_items,
    session_lengths,
)
from llmrec.paper.statistics.overview import overview
from llmrec.paper.statistics.sknn import sknn_scores
from llmrec.rankers.counting.item_knn import ItemKnnSettings
from tests.places import REAL

SESSIONS = [
    (["a", "b"], "UK"),
    (["a", "b", "a", "b", "a"], "UK"),
    (["c"], "UK"),
    (["a", "a"], "ES"),
    (["b", "c", "d"], "ES"),
]


def sessions_file(folder: Path, sessions: list[tuple[list[str], str]] = SESSIONS) -> Path:
    lists, locales = [items for items, _ in sessions], [locale for _, locale in sessions]
    table = pa.table({"prev_items": pa.array(lists, pa.list_(pa.string())), "locale": pa.array(locales, pa.string())})
    pq.write_table(table, folder / "some_sessions.parquet")
    return folder / "some_sessions.parquet"


@pytest.fixture
def corpus(tmp_path: Path):
    with open_corpus(sessions_file(tmp_path)) as opened:
        yield opened


def rows(table: pa.Table, locale: str) -> list[tuple[int, int]]:
    names = [name for name in table.column_names if name != "locale"]
    return [tuple(row[name] for name in names) for row in table.to_pylist() if row["locale"] == locale]


def test_a_split_is_counted_by_locale_and_together(corpus: Corpus) -> None:
    counted = overview(corpus)
    everything = counted.row("some_sessions")
    assert (everything["num_sessions"], everything["num_interactions"], everything["longest"]) == (5, 13, 5)
    assert everything["mean_length"] == 13 / 5
    assert everything["repeat_share"] == 2 / 5
    assert counted.table["locale"].to_pylist() == ["all", "UK", "ES"]
    assert counted.row("some_sessions", "ES")["mean_length"] == 5 / 2
    assert (counted.num_train, counted.num_test, counted.num_products) == (0, 5, None)
    with pytest.raises(KeyError):
        counted.row("train")


def test_a_store_counts_its_training_sessions_and_catalogue(tiny_store: Store) -> None:
    with open_corpus(tiny_store.path) as opened:
        counted = overview(opened)
        assert opened.counted == ("train",)
        assert sum(count for _, count in rows(session_lengths(opened), "all")) == 70
    assert (counted.num_train, counted.num_test, counted.num_products) == (70, 35, 6)
    train = counted.row("train", "UK")
    # of both halves: (4 + 2 + 4 + 2 + 2) items in five sessions, and X9 before each of validation's; one session of
    # development repeats, and of validation the two that hold X9 already do so too
    assert (train["num_products"], train["num_sessions"], train["num_interactions"]) == (6, 10, 28 + 5)
    assert train["repeat_share"] == (1 + 3) / 10
    assert counted.row("test_task3_phase1")["num_products"] is None


def test_products_are_counted_by_how_often_they_are_seen(corpus: Corpus) -> None:
    table = product_frequency(corpus)
    assert rows(table, "UK") == [(1, 1), (3, 1), (4, 1)]  # c once, b three times, a four times
    assert rows(table, "ES") == [(1, 3), (2, 1)]
    assert rows(table, "all") == [(1, 1), (2, 1), (4, 1), (6, 1)]  # d, c, b, a over both


def test_lengths_and_repeats_are_those_worked_by_hand(corpus: Corpus) -> None:
    assert rows(session_lengths(corpus), "all") == [(1, 1), (2, 2), (3, 1), (5, 1)]
    assert rows(session_lengths(corpus), "ES") == [(2, 1), (3, 1)]
    assert rows(repeated_items(corpus), "all") == [(1, 1), (2, 1)]  # a in ES; a and b in UK
    assert rows(repeated_items(corpus), "UK") == [(2, 1)]
    shares = {row["locale"]: row["share"] for row in repeat_shares(corpus).to_pylist()}
    assert shares == {"all": 2 / 5, "UK": 1 / 3, "ES": 1 / 2}


def test_overlap_is_the_share_of_the_rows_locale(corpus: Corpus, tiny_store: Store) -> None:
    locales, matrix = overlap_matrix(product_overlap(corpus))
    assert locales == ["UK", "ES"]
    assert matrix.tolist() == [[1, 1], [3 / 4, 1]]  # UK sees a b c, ES a b c d
    with open_corpus(tiny_store.path) as opened:
        assert (overlap_matrix(product_overlap(opened))[1] == 1).all()  # every locale sells the same six ids


@settings(max_examples=15, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6), min_size=1, max_size=12))
def test_counts_add_up(tmp_path_factory: pytest.TempPathFactory, lists: list[list[str]]) -> None:
    file = sessions_file(
        tmp_path_factory.mktemp("some"), [(items, "UK" if len(items) % 2 else "DE") for items in lists]
    )
    with open_corpus(file) as opened:
        lengths, frequency = rows(session_lengths(opened), "all"), rows(product_frequency(opened), "all")
        repeated = Counter(dict(rows(repeated_items(opened), "all")))
    assert Counter(dict(lengths)) == Counter(map(len, lists))
    assert sum(times * products for times, products in frequency) == sum(map(len, lists))
    expected = Counter(sum(count > 1 for count in Counter(items).values()) for items in lists)
    assert repeated == Counter({key: count for key, count in expected.items() if key})


def tenth_score(lists: list[list[str]], own: int, nth: int) -> float:
    """The formula of §3 as it stands, over all other sessions."""
    scores: Counter[str] = Counter()
    for row, other in enumerate(lists):
        shared = len({*lists[own]} & {*other})
        if row != own and shared:
            for item in {*other}:
                scores[item] += shared / math.sqrt(len({*lists[own]}) * len({*other}))
    ranked = sorted(scores.values(), reverse=True)
    return ranked[nth - 1] if len(ranked) >= nth else 0.0


@settings(max_examples=15, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcdefghijklmnop"), min_size=2, max_size=9), min_size=3, max_size=25))
def test_the_tenth_sknn_score_is_the_papers_formula(
    tmp_path_factory: pytest.TempPathFactory, lists: list[list[str]]
) -> None:
    file = sessions_file(tmp_path_factory.mktemp("some"), [(items, "UK") for items in lists])
    with open_corpus(file) as opened:
        found = sknn_scores(opened, sample=len(lists))
    expected = [tenth_score(lists, own, 10) for own in range(len(lists))]
    assert found.num_sessions == len(lists)
    assert found.table["score"].to_pylist() == pytest.approx(expected, abs=1e-5)


def test_the_sample_is_drawn_by_its_seed_and_one_neighbour_is_the_nearest(tmp_path: Path) -> None:
    lists = [[*"abcdefghij"], [*"abcdefghij"], [*"abcdefghi"], ["z", "y"]]
    with open_corpus(sessions_file(tmp_path, [(items, "UK") for items in lists])) as opened:
        one = sknn_scores(opened, sample=4, settings=ItemKnnSettings(neighbours=1))
        drawn = [sknn_scores(opened, sample=2, seed=seed).table["score"].to_pylist() for seed in (0, 0)]
        with pytest.raises(ConfigError, match="at least 1 session; got 0"):
            sknn_scores(opened, sample=0)
    # the first two are each other's nearest (similarity 1); the third's nearest shares 9 of 10
    assert one.table["score"].to_pylist() == pytest.approx([1, 1, 9 / math.sqrt(90), 0], abs=1e-6)
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == 2


def test_one_split_can_be_chosen(tiny_store: Store) -> None:
    with open_corpus(tiny_store.path) as opened:
        chosen = opened.choose("test_task3_phase1")
        assert sum(count for _, count in rows(session_lengths(chosen), "all")) == 35
        with pytest.raises(ConfigError, match="no split 'trian'; did you mean 'train'"):
            opened.choose("trian")


@pytest.mark.skipif(not REAL.is_dir(), reason="no real data; set LLMREC_REAL_DATA")
@pytest.mark.parametrize(
    ("file", "num", "mean", "longest", "repeated"),
    [
        ("task2_phase1.parquet", 34_688, 3.8134, 42, 0.4053),
        ("task2_phase2_sessions.parquet", 34_690, 3.8328, 45, 0.4123),
    ],
)
def test_the_real_files_have_the_known_figures(file: str, num: int, mean: float, longest: int, repeated: float) -> None:
    with open_corpus(REAL / "amazon-m2" / file) as opened:
        (split,) = opened.splits
        row = overview(opened).row(split)
        shares = {one["locale"]: one["share"] for one in repeat_shares(opened).to_pylist()}
    assert (row["num_sessions"], row["longest"]) == (num, longest)
    assert row["mean_length"] == pytest.approx(mean, abs=5e-5)
    assert row["repeat_share"] == pytest.approx(repeated, abs=5e-5)
    assert shares["all"] == row["repeat_share"]


@pytest.mark.skipif(not REAL.is_dir(), reason="no real data; set LLMREC_REAL_DATA")
def test_the_papers_table_counts_prev_items_alone() -> None:
    # Table 2, test: 13,992 sessions of IT with 53,414 interactions; the next items would make them 67,406
    with open_corpus(REAL / "amazon-m2") as opened:
        row = overview(opened).row("test_task2_phase1", "IT")
    assert (row["num_sessions"], row["num_interactions"]) == (13_992, 53_414)
