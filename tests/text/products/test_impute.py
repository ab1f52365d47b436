"""Votes on attributes, by hand."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from llmrec.errors import ConfigError, DataError
from llmrec.text.products.impute import impute_attributes, vote


@pytest.mark.parametrize(
    ("scores", "values", "expected"),
    [
        ([0.9, 0.5, 0.5], [1, 2, 2], (2, 1.0 / 1.9)),  # two that are less alike outvote one
        ([0.9, 0.4, 0.4], [1, 2, 2], (1, 0.9 / 1.7)),
        ([0.5, 0.5], [7, 3], (7, 0.5)),  # equal sums: the nearer one
        ([0.5, -0.2, -0.3], [1, 2, 2], (1, 1.0)),  # who is unlike has no say
        ([0.5, 0.4], [-1, 4], (4, 1.0)),  # no neighbour there
        ([0.0, -0.1], [1, 2], (-1, 0.0)),
    ],
)
def test_votes_are_weighted_by_similarity(scores: list[float], values: list[int], expected: tuple[int, float]) -> None:
    voted, share = vote(np.array([scores], dtype=np.float32), np.array([values]))
    assert voted.tolist() == [expected[0]]
    assert share[0] == pytest.approx(expected[1], abs=1e-6)


def shop(brands: list[str | None], locales: list[str] | None = None) -> pa.Table:
    number = len(brands)
    ids = [f"P{row}" for row in range(number)]
    return pa.table({"locale": locales or ["DE"] * number, "id": ids, "brand": pa.array(brands, pa.string())})


def test_hidden_values_are_found_where_texts_tell_them() -> None:
    """60 products of one brand and 40 of another, told apart by their vectors: the vote finds every hidden value."""
    vectors = np.zeros((100, 2), dtype=np.float32)
    vectors[:60, 0] = vectors[60:, 1] = 1
    brands = ["Acme", " ACME "] * 30 + ["Other"] * 40
    made = impute_attributes(vectors, shop(brands), ["brand"], k=5, hide=0.2, seed=1)
    (accuracy,) = made.accuracies
    hidden = np.random.default_rng([1, 0]).permutation(100)[:20]
    assert (accuracy.num_known, accuracy.num_hidden, accuracy.accuracy) == (100, 20, 1.0)
    assert accuracy.majority == pytest.approx((hidden < 60).mean())  # case and blanks do not tell brands apart
    assert made.values is None


def test_unknown_values_are_filled_with_their_confidence_in_their_own_locale() -> None:
    vectors = np.array([[1, 0], [1, 0], [0.8, 0.6], [0.6, 0.8], [0, 0], [1, 0]], dtype=np.float32)
    products = shop(["Acme", "Acme", "Other", None, "", None], ["DE", "DE", "DE", "DE", "DE", "FR"])
    made = impute_attributes(vectors, products, ["brand"], k=3, hide=0.34, fill=True)
    # P3 is .96 like Other and .6 like each Acme: 1.2 against .96. P4 has no text; nobody in FR has a brand.
    (row,) = made.values.to_pylist()
    confidence = row.pop("confidence")
    assert row == {"locale": "DE", "id": "P3", "attribute": "brand", "value": "Acme"}
    assert confidence == pytest.approx(1.2 / 2.16)


def test_what_cannot_be_is_one_line() -> None:
    vectors = np.eye(4, dtype=np.float32)
    with pytest.raises(ConfigError, match="--attribute must be one of brand, color"):
        impute_attributes(vectors, shop(["a"] * 4), ["taste"])
    with pytest.raises(ConfigError, match="--hide must lie between 0 and 1; got 1"):
        impute_attributes(vectors, shop(["a"] * 4), ["brand"], hide=1)
    with pytest.raises(ConfigError, match="--k must be at least 1; got 0"):
        impute_attributes(vectors, shop(["a"] * 4), ["brand"], k=0)
    with pytest.raises(DataError, match="too few products with brand"):
        impute_attributes(vectors, shop([None] * 4), ["brand"])
