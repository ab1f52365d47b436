"""The built-in title encoder: no download, any language, the same vectors every time."""

from __future__ import annotations

import numpy as np

from llmrec.text.encoders.tfidf import TfidfEncoder, _counts

TITLES = [
    "USB cable 2 m",
    "USB cable 1 m",
    "Kettle 1.7 L",
    "Wasserkocher 1,7 L",
    "電気ケトル 1.7L",
    "電気ケトル 白",
    "",
]


def test_ngrams_stay_within_their_title() -> None:
    # " ab " has 3 pairs, 2 triples and 1 quadruple; an empty title has none.
    counts = _counts(["ab", "", "AB", "ab  ab"])
    assert counts.sum(axis=1).tolist() == [[6], [0], [6], [15]]  # " ab ab " of 7 characters: 6 + 5 + 4
    assert (counts[0] != counts[2]).nnz == 0  # case counts for nothing


def test_vectors_have_length_1_and_an_empty_title_none() -> None:
    vectors = TfidfEncoder.fit(TITLES, dim=4).encode_documents(TITLES)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 1, 1, 1, 1, 0], atol=1e-6)


def test_like_titles_are_nearest_in_every_script() -> None:
    vectors = TfidfEncoder.fit(TITLES, dim=6).encode_documents(TITLES)
    likeness = vectors @ vectors.T - 2 * np.eye(len(TITLES))
    assert likeness[0].argmax() == 1
    assert likeness[5].argmax() == 4


def test_enough_dimensions_keep_the_angles_of_tfidf() -> None:
    # A matrix of rank 6 loses nothing in 6 dimensions: products of vectors are those of the TF-IDF rows.
    encoder = TfidfEncoder.fit(TITLES, dim=6)
    vectors = encoder.encode_documents(TITLES)
    rows = _counts(TITLES).toarray()
    rows = np.where(rows > 0, 1 + np.log(np.maximum(rows, 1)), 0) * encoder.weights
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    np.testing.assert_allclose(vectors @ vectors.T, rows @ rows.T, atol=1e-5)


def test_same_titles_and_seed_give_the_same_vectors() -> None:
    first, second = (TfidfEncoder.fit(TITLES, dim=4, seed=1).encode_documents(TITLES) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_nothing_to_learn_from_gives_zeros() -> None:
    assert not TfidfEncoder.fit([], dim=4).encode_documents(["a cable", ""]).any()
