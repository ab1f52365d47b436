"""The vector of a session against arithmetic by hand."""

from __future__ import annotations

import numpy as np

from llmrec.ragged import Ragged
from llmrec.text.session_vectors import session_vectors

VECTORS = np.array([[1, 0], [0, 1]], dtype=np.float32)


def test_a_sessions_vector_is_the_weighted_mean_of_its_items() -> None:
    found = session_vectors(Ragged(np.array([0, 2, 2]), np.array([0, 1])), VECTORS, recency=0.5)
    np.testing.assert_allclose(found, [[0.5 / 1.25**0.5, 1 / 1.25**0.5], [0, 0]], rtol=1e-6)


def test_only_the_most_recent_items_count() -> None:
    found = session_vectors(Ragged(np.array([0, 3]), np.array([0, 0, 1])), VECTORS, recency=1.0, history=1)
    np.testing.assert_allclose(found, [[0, 1]])
