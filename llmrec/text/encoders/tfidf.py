"""Titles as vectors without a download: hashed character n-grams, TF-IDF, and a truncated SVD of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from scipy import sparse

from llmrec.arrays import Floats, checked
from llmrec.hub.methods import OnHub
from llmrec.text.encoders.base import ENCODER, content_fingerprint, read_encoder, unit_rows, write_encoder
from llmrec.text.encoders.svd import right_vectors

__all__ = ["FIT_TITLES", "NAME", "TfidfEncoder", "inverse_frequencies", "weighted"]

NAME: Final = "tfidf-svd"
NGRAMS: Final = (2, 3, 4)  # two characters are a word in Japanese
BUCKETS: Final = 1 << 16
CHUNK: Final = 4_096  # titles held as n-grams at once,
CHUNK_CHARACTERS: Final = 1 << 20  # or fewer where they are long
FIT_TITLES: Final = 100_000  # titles that the SVD sees; more change it little and take longer
_SEPARATOR: Final = "\n"
_PRIME: Final = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class TfidfEncoder(OnHub):
    """Maps titles to vectors of length 1; of like characters, in whatever language, to like vectors.

    Attributes:
        weights: Inverse document frequency of each bucket, shape ``(BUCKETS,)``.
        components: Right singular vectors, shape ``(BUCKETS, D)``.
    """

    weights: Floats
    components: Floats

    @classmethod
    def fit(cls, titles: Sequence[str], dim: int = 64, seed: int = 0) -> Self:
        """Learn from titles, of which a random part is enough where there are many.

        Args:
            titles: Some titles; one that is empty tells nothing.
            dim: Width ``D`` of the vectors. Fewer titles than that leave the rest 0.
            seed: Seed of the part and of the randomised SVD.
        """
        rng = np.random.default_rng(seed)
        if len(titles) > FIT_TITLES:
            titles = [titles[place] for place in np.sort(rng.choice(len(titles), FIT_TITLES, replace=False))]
        counts = sparse.vstack([_counts([]), *(_counts(part) for part in _parts(titles))])
        weights = inverse_frequencies(counts)
        components = right_vectors(weighted(counts, weights), dim, rng)
        return cls(weights, components)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Load what `save` wrote.

        Raises:
            ModelError: there is none, or it is damaged.
        """
        _, arrays = read_encoder(folder, NAME)
        with ENCODER.understood(folder):
            weights = checked(arrays, "weights", "float32", (BUCKETS,))
            return cls(weights, checked(arrays, "components", "float32", (BUCKETS, None)))

    @property
    def name(self) -> str:
        """What ``--encoder`` calls it."""
        return NAME

    @property
    def dim(self) -> int:
        """Width ``D`` of the vectors."""
        return int(self.components.shape[1])

    def encode_documents(self, texts: Sequence[str]) -> Floats:
        """Vectors of titles, shape ``(N, D)``, each of length 1; 0 for an empty title."""
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        start = 0
        for part in _parts(texts):
            vectors[start : start + len(part)] = weighted(_counts(part), self.weights) @ self.components
            start += len(part)
        return unit_rows(vectors)

    def encode_queries(self, texts: Sequence[str]) -> Floats:
        """The same as `encode_documents`: what is looked for is a title too."""
        return self.encode_documents(texts)

    def fingerprint(self) -> str:
        """Hash of the weights and components."""
        return content_fingerprint(NAME, {}, vars(self))

    def save(self, folder: Path) -> None:
        """Write it into ``folder``."""
        write_encoder(folder, NAME, {}, vars(self))


def _parts(titles: Sequence[str]) -> Iterator[Sequence[str]]:
    """Consecutive titles, as many as may be held as n-grams at once."""
    start = characters = 0
    for place, title in enumerate(titles):
        if place > start and (place - start == CHUNK or characters + len(title) > CHUNK_CHARACTERS):
            yield titles[start:place]
            start, characters = place, 0
        characters += len(title)
    if start < len(titles):
        yield titles[start:]


def _counts(titles: Sequence[str]) -> Any:
    """How often each bucket of n-grams comes in each title, a CSR matrix ``(N, BUCKETS)``."""
    text = _SEPARATOR.join(f" {' '.join(title.casefold().split())} " if title.split() else "" for title in titles)
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    ends = points == ord(_SEPARATOR)
    titles_of, passed = np.cumsum(ends), np.concatenate([[0], np.cumsum(ends)])
    rows, buckets = [], []
    for length in NGRAMS:
        if len(points) < length:
            continue
        last = len(points) - length + 1
        within = passed[length:] == passed[:last]  # n-grams that do not reach into the next title
        mixed = np.full(last, length, dtype=np.uint64)
        for place in range(length):
            mixed = (mixed ^ points[place : place + last]) * _PRIME
            mixed ^= mixed >> np.uint64(29)
        rows.append(titles_of[:last][within])
        buckets.append((mixed[within] * _PRIME) >> np.uint64(48))  # the top 16 bits
    shape = (len(titles), BUCKETS)
    if not rows:
        return sparse.csr_matrix(shape, dtype=np.float32)
    places = (np.concatenate(rows), np.concatenate(buckets).astype(np.int64))
    return sparse.csr_matrix((np.ones(len(places[0]), dtype=np.float32), places), shape)


def inverse_frequencies(counts: Any) -> Floats:
    """Inverse document frequency of each column of counts ``(N, V)`` without duplicates, shape ``(V,)``."""
    num_texts, num_columns = counts.shape
    frequency = np.bincount(counts.indices, minlength=num_columns)
    weights: Floats = (np.log((1 + num_texts) / (1 + frequency)) + 1).astype(np.float32)
    return weights


def weighted(counts: Any, weights: Floats) -> Any:
    """TF-IDF of counts with rows of length 1; a count ``c`` counts as ``1 + log c``."""
    scaled = counts.copy()
    scaled.data = (1 + np.log(counts.data)) * weights[counts.indices]
    lengths = _row_lengths(scaled)
    scaled.data /= np.repeat(lengths, np.diff(scaled.indptr))
    return scaled


def _row_lengths(matrix: Any) -> Floats:
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    squares = np.bincount(rows, weights=matrix.data.astype(np.float64) ** 2, minlength=matrix.shape[0])
    return np.sqrt(squares).astype(np.float32)
