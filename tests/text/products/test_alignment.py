"""Alignment across locales, by hand."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from llmrec.errors import ConfigError, DataError
from llmrec.text.products import alignment as module
from llmrec.text.products.alignment import (
    align_locales,
    gold_ranks,
    pooled,
    pooled_difference,
    render_alignment,
    render_comparison,
)


def at(*degrees: float) -> np.ndarray:
    radians = np.deg2rad(np.array(degrees))
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def table(*keys: str) -> pa.Table:
    locales, ids = zip(*(key.split(":") for key in keys), strict=True)
    return pa.table({"locale": list(locales), "id": list(ids)})


KEYS = ("DE:a", "DE:b", "DE:x", "UK:a", "UK:b", "UK:y", "ZZ:z")
VECTORS = at(0, 40, 80, 10, 70, 30, 0)


def test_metrics_are_those_worked_by_hand() -> None:
    alignment = align_locales(VECTORS, table(*KEYS))
    assert sorted(alignment.locales) == ["DE", "UK", "ZZ"]
    assert alignment.locales[-1] == "ZZ"  # the paper's come first
    german = alignment.pairs["DE", "UK"]
    # a at 0°: UK a 10°, y 30°, b 70° away: rank 1. b at 40°: y 10°, then a and b 30° away, a in the smaller row: 3.
    assert (german.num_gold, german.num_queries, german.num_candidates) == (2, 2, 3)
    assert (german.hit_at_1, german.hit_at_10) == (1 / 2, 1.0)
    assert german.mrr == pytest.approx((1 + 1 / 3) / 2)
    # a at 10°: DE a. b at 70°: x 10°, b 30°: rank 2.
    assert alignment.pairs["UK", "DE"].mrr == pytest.approx((1 + 1 / 2) / 2)
    assert set(alignment.pairs) == {("DE", "UK"), ("UK", "DE")}  # z is sold in one locale alone


def test_all_pairs_together_and_two_encoders_are_compared_over_the_same_ids() -> None:
    perfect = at(0, 120, 240, 0, 120, 300, 0)
    worse, better = align_locales(VECTORS, table(*KEYS)), align_locales(perfect, table(*KEYS))
    assert worse.asked["DE", "UK"].ids == ("a", "b")
    assert worse.asked["DE", "UK"].ranks == (1, 3)
    hit_at_1, hit_at_10, mrr = pooled(worse)
    # four queries: a finds itself at once in both directions, b at rank 3 and 2
    assert (hit_at_1.difference, hit_at_10.difference) == (2 / 4, 1)
    assert mrr.difference == pytest.approx((1 + 1 / 3 + 1 + 1 / 2) / 4)
    # an id's queries are drawn together: the least mean is b's alone, the best one a's
    assert (mrr.low, mrr.high) == (pytest.approx((1 / 3 + 1 / 2) / 2), pytest.approx(1))
    gain = pooled_difference(better, worse)[-1]
    assert gain.difference == pytest.approx(1 - mrr.difference)
    assert (gain.low, gain.high) == (pytest.approx(0), pytest.approx(1 - (1 / 3 + 1 / 2) / 2))
    text = render_comparison([("worse", worse), ("better", better)])
    assert "| worse | 0.500 [0.000, 1.000] | 1.000 [1.000, 1.000] | 0.708 [0.417, 1.000] |  |" in text
    assert "| better |" in text
    assert "+0.292 [+0.000, +0.583]" in text
    assert "4 queries of 2 ids" in text
    with pytest.raises(DataError, match="two alignments of different products"):
        pooled_difference(better, align_locales(VECTORS[:5], table(*(key.lower() for key in KEYS[:5]))))


def test_a_pair_has_intervals() -> None:
    scores = align_locales(VECTORS, table(*KEYS)).pairs["DE", "UK"]
    assert scores.mrr_interval == (pytest.approx(1 / 3), pytest.approx(1))
    assert scores.hit_at_10_interval == (1, 1)


def test_a_block_at_a_time_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(60, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries, golds, candidates = np.arange(0, 20), np.arange(30, 50), np.arange(25, 60)
    whole = gold_ranks(vectors, queries, golds, candidates)
    order = np.argsort(-(vectors[queries] @ vectors[candidates].T), axis=1)
    places = [int(np.flatnonzero(candidates[row] == gold)[0]) for row, gold in zip(order, golds, strict=True)]
    assert whole.tolist() == [place + 1 for place in places]
    monkeypatch.setattr(module, "BLOCK", 7)
    monkeypatch.setattr(module, "QUERIES", 3)
    assert gold_ranks(vectors, queries, golds, candidates).tolist() == whole.tolist()


def test_products_without_text_neither_ask_nor_answer() -> None:
    vectors = VECTORS.copy()
    vectors[KEYS.index("UK:b")] = 0
    scores = align_locales(vectors, table(*KEYS)).pairs["DE", "UK"]
    assert (scores.num_gold, scores.num_candidates) == (1, 2)


def test_drawn_queries_are_stated_and_the_same_for_the_same_seed() -> None:
    keys = [f"{locale}:{number}" for locale in ("DE", "FR") for number in range(30)]
    vectors = np.random.default_rng(1).normal(size=(60, 4)).astype(np.float32)
    first, again = (align_locales(vectors, table(*keys), most=7, seed=5) for _ in range(2))
    assert first == again
    assert (first.pairs["DE", "FR"].num_queries, first.pairs["DE", "FR"].num_gold) == (7, 30)
    assert "7 queries a pair (at most 7, drawn with seed 5)" in render_alignment(first)


def test_the_table_has_a_row_and_a_column_a_locale() -> None:
    alignment = align_locales(VECTORS, table(*KEYS))
    text = render_alignment(alignment)
    mrr = text[text.index("### MRR") :].splitlines()
    assert mrr[2] == f"| asks ↓, answers → | {' | '.join(alignment.locales)} |"
    cells = {"UK": "0.667", "DE": "–", "ZZ": "–"}
    assert f"| DE | {' | '.join(cells[name] for name in alignment.locales)} |" in mrr


def test_what_cannot_be_compared_is_one_line() -> None:
    with pytest.raises(DataError, match=r"one locale alone \(US\)"):
        align_locales(at(0, 1), table("US:a", "US:b"))
    with pytest.raises(DataError, match="no id is sold in two of the locales DE, FR"):
        align_locales(at(0, 1), table("DE:a", "FR:b"))
    with pytest.raises(ConfigError, match="--queries must be at least 1; got 0"):
        align_locales(VECTORS, table(*KEYS), most=0)
