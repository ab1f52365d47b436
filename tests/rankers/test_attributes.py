"""Features of products: one row an item, whatever the products hold."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from llmrec.errors import DataError
from llmrec.rankers.attributes import ATTRIBUTES, attribute_features, grown_features
from llmrec.rankers.vectors.item_text import text_features
from llmrec.vocabulary import Vocabulary

WORDS = {
    "cable": ["USB cable 2 m black", "USB cable 1 m white", "USB-C cable, braided, 2 m"],
    "mouse": ["Wireless mouse, silent", "Wireless gaming mouse", "Silent mouse for laptops"],
    "hose": ["Garden hose 15 m", "Garden hose 20 m green", "Garden hose reel 15 m"],
}
ROWS = [(f"{kind}{number}", title) for kind, titles in WORDS.items() for number, title in enumerate(titles)]


def vocabulary(*ids: str) -> Vocabulary:
    return Vocabulary.of(pa.array(ids))


def titled(rows: list[tuple[str, str | None]]) -> pa.Table:
    return pa.table({"id": [one for one, _ in rows], "locale": ["UK"] * len(rows), "title": [two for _, two in rows]})


def test_items_with_like_titles_have_like_vectors() -> None:
    items = vocabulary(*(item for item, _ in ROWS))
    text = text_features(titled(ROWS), items, dim=8)["text"]
    assert text.shape == (len(ROWS) + 1, 8)
    assert not text[0].any()  # padding
    np.testing.assert_allclose(np.linalg.norm(text[1:], axis=1), 1, atol=1e-6)
    likeness = text[1:] @ text[1:].T
    np.fill_diagonal(likeness, -1)
    kinds = np.array([item[:-1] for item in items.ids.to_pylist()])
    assert (kinds[likeness.argmax(axis=1)] == kinds).all()


def test_item_of_several_locales_has_the_mean_of_its_titles() -> None:
    items = vocabulary("both", "one", "two", "untitled")
    rows = [("one", "red shoes"), ("two", "blue hat"), ("both", "red shoes"), ("both", "blue hat"), ("untitled", " ")]
    text = text_features(titled([*rows, ("not in training", "green")]), items, dim=3)["text"]
    both, one, two, untitled = text[1:]
    mean = (one + two) / 2
    np.testing.assert_allclose(both, mean / np.linalg.norm(mean), atol=1e-6)
    assert not untitled.any()


def test_attributes_are_numbers_that_equal_values_share() -> None:
    items = vocabulary("a", "b", "c", "d")
    products = pa.table(
        {
            "id": ["a", "b", "c", "c", "x"],
            "locale": ["UK", "UK", "DE", "UK", "UK"],
            "brand": ["Acme", " ACME ", None, "Other", "Acme"],
            "color": ["", None, "red", "blue", "red"],
        }
    )
    attributes = attribute_features(products, items)["attributes"]
    assert attributes.shape == (5, len(ATTRIBUTES))
    brand, color = attributes[:, ATTRIBUTES.index("brand")], attributes[:, ATTRIBUTES.index("color")]
    assert brand[1] == brand[2] > 0  # without case and blanks
    assert brand[3] not in (0, brand[1])  # the first of c's rows has no brand, the second one decides
    assert (color > 0).tolist() == [False, False, False, True, False]
    assert not attributes[4].any()  # d has no row


def test_price_bins_are_of_equal_frequency_and_of_one_locale() -> None:
    ids = [f"{locale}{number:02d}" for locale in ("JP", "UK") for number in range(40)]
    prices = [100.0 * (1 + number) for number in range(40)] + [1.0 + number for number in range(40)]
    products = pa.table({"id": ids, "locale": ["JP"] * 40 + ["UK"] * 40, "price": prices})
    bins = attribute_features(products, vocabulary(*ids))["attributes"][1:, ATTRIBUTES.index("price")]
    # 40 prices in 20 bins: two each, and no bin of one locale is one of the other's.
    assert sorted(np.unique(bins, return_counts=True)[1].tolist()) == [2] * 40
    assert bins[0] == bins[1] != bins[2]


def test_grown_features_keep_old_vectors_and_turn_new_ones() -> None:
    rng = np.random.default_rng(0)
    everything = rng.normal(size=(30, 4)).astype(np.float32)
    everything /= np.linalg.norm(everything, axis=1, keepdims=True)
    turn, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    padding = np.zeros((1, 4), dtype=np.float32)
    places = np.arange(0, 30, 2)  # the old items are every other one of the new
    old = {"text": np.concatenate([padding, (everything @ turn).astype(np.float32)[places]])}
    new = {"text": np.concatenate([padding, everything])}
    grown = grown_features(old, new, places)["text"]
    np.testing.assert_array_equal(grown[places + 1], old["text"][1:])
    # The new encoder differs by a rotation alone, so that turning it back gives what the old one would have.
    np.testing.assert_allclose(grown[1:], everything @ turn, atol=1e-5)
    assert not grown[0].any()


def test_an_old_item_that_the_new_products_lack_keeps_its_vector() -> None:
    old = {"text": np.array([[0, 0], [1, 0], [0, 1]], dtype=np.float32)}
    new = {"text": np.array([[0, 0], [0, 0], [0, 1], [0, 1]], dtype=np.float32)}
    grown = grown_features(old, new, np.array([0, 1]))["text"]
    np.testing.assert_allclose(grown, [[0, 0], [1, 0], [0, 1], [0, 1]], atol=1e-6)


def test_attributes_that_the_new_products_lack_are_kept() -> None:
    # Old items 0 to 3 share 1 1 2 2; of the new products item 0 is called 5, item 3 has no row, as 1 and 2.
    old = {"attributes": np.array([[0], [1], [1], [2], [2]], dtype=np.int32)}
    new = {"attributes": np.array([[0], [5], [0], [0], [0], [7]], dtype=np.int32)}
    grown = grown_features(old, new, np.array([0, 1, 2, 3]))["attributes"][1:, 0]
    assert grown[0] == grown[1] == 5  # item 0 tells what the old 1 is called now
    assert grown[2] == grown[3] > 7  # nothing tells what the old 2 is: a number of its own
    assert grown[4] == 7


@pytest.mark.parametrize("build", [text_features, attribute_features])
def test_missing_products_are_one_line_that_names_the_flag(build) -> None:
    with pytest.raises(DataError, match="--products"):
        build(None, vocabulary("a"))
    with pytest.raises(DataError, match="--products"):
        build(titled([("a", None)]), vocabulary("a"))
