"""What turns text into vectors, whatever it is made of: one small interface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from llmrec.console import track

__all__ = ["Encoder", "Floats", "encode_texts", "encode_with_progress", "unit_rows"]

Floats = NDArray[np.float32]


class Encoder(Protocol):
    """Text → vectors of length 1 whose product is the similarity."""

    @property
    def name(self) -> str:
        """What ``--encoder`` calls it."""

    @property
    def dim(self) -> int:
        """Width ``D`` of the vectors."""

    def encode_documents(self, texts: Sequence[str]) -> Floats:
        """Vectors of products' texts, shape ``(N, D)``, each of length 1; 0 for a text of nothing but blanks."""

    def encode_queries(self, texts: Sequence[str]) -> Floats:
        """Vectors of what is looked for, as `encode_documents`; some models tell the two apart by a prefix."""

    def fingerprint(self) -> str:
        """Hash of all that decides its vectors: two encoders with the same one may be searched with each other."""

    def save(self, folder: Path) -> None:
        """Write what is needed to encode queries elsewhere into ``folder``; safetensors and JSON, no pickle."""


def unit_rows(vectors: Floats) -> Floats:
    """Rows scaled to length 1; a row of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Floats = (vectors / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32, copy=False)
    return scaled


def encode_texts(texts: Sequence[str], dim: int, encode: Callable[[list[str]], Floats]) -> Floats:
    """Vectors of texts, shape ``(N, D)``: those of ``encode`` scaled to length 1, and 0 for a text of only blanks."""
    vectors = np.zeros((len(texts), dim), dtype=np.float32)
    filled = [place for place, text in enumerate(texts) if text.strip()]
    if filled:
        vectors[filled] = unit_rows(encode([texts[place] for place in filled]))
    return vectors


def encode_with_progress(encoder: Encoder, texts: Sequence[str], part: int = 16_384) -> Floats:
    """Vectors of products' texts, shape ``(N, D)``, part by part behind a progress bar."""
    vectors = np.zeros((len(texts), encoder.dim), dtype=np.float32)
    starts = range(0, len(texts), part)
    for start in track(starts, "titles → vectors", len(starts)):
        vectors[start : start + part] = encoder.encode_documents(texts[start : start + part])
    return vectors
