"""What turns text into vectors, whatever it is made of: one small interface."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Floats
from llmrec.artefact import Arrays, Kind, Stamp
from llmrec.console import track
from llmrec.errors import ModelError
from llmrec.records import Digest

__all__ = [
    "ENCODER",
    "Encoder",
    "content_fingerprint",
    "encode_texts",
    "encode_with_progress",
    "read_encoder",
    "unit_rows",
    "write_encoder",
]


_PART: Final = 16_384  # texts encoded between two steps of the progress bar
_ROWS: Final = 1 << 16  # scaled at once
_NO_LENGTH: Final = 1e-6  # of a row that is the rest of rounding


class EncoderRecord(Stamp, frozen=True, kw_only=True):
    """What ``encoder.json`` holds: the kind of encoder, its settings, and what names its vectors."""

    kind: str
    settings: dict[str, Any]
    fingerprint: Digest


ENCODER: Final = Kind(
    what="encoder",
    holds=EncoderRecord,
    make="make it: llmrec embed PRODUCTS --out DIR, or llmrec embed train",
    again="make it again: llmrec embed PRODUCTS --out DIR",
)


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


def unit_rows(vectors: Floats, rng: np.random.Generator | None = None) -> Floats:
    """Rows scaled to length 1; a row of zeros stays, or with ``rng`` gets a random direction."""
    scaled = np.empty(vectors.shape, dtype=np.float32)
    for start in range(0, len(vectors), _ROWS):
        part, own = vectors[start : start + _ROWS], scaled[start : start + _ROWS]
        lengths = np.linalg.norm(part, axis=1, keepdims=True)
        own[:] = part / np.maximum(lengths, np.finfo(np.float32).tiny)
        if rng is not None:
            noise = rng.standard_normal(part.shape, dtype=np.float32)
            short = ~(lengths[:, 0] > _NO_LENGTH)
            own[short] = (noise / np.linalg.norm(noise, axis=1, keepdims=True))[short]
    return scaled


def encode_texts(texts: Sequence[str], dim: int, encode: Callable[[list[str]], Floats]) -> Floats:
    """Vectors of texts, shape ``(N, D)``: those of ``encode`` scaled to length 1, and 0 for a text of only blanks."""
    vectors = np.zeros((len(texts), dim), dtype=np.float32)
    filled = [place for place, text in enumerate(texts) if text.strip()]
    if filled:
        vectors[filled] = unit_rows(encode([texts[place] for place in filled]))
    return vectors


def encode_with_progress(encoder: Encoder, texts: Sequence[str]) -> Floats:
    """Vectors of products' texts, shape ``(N, D)``, part by part behind a progress bar."""
    vectors = np.zeros((len(texts), encoder.dim), dtype=np.float32)
    part = getattr(encoder, "chunk", _PART)  # of a slow one fewer
    starts = range(0, len(texts), part)
    for start in track(starts, "titles → vectors", len(starts)):
        vectors[start : start + part] = encoder.encode_documents(texts[start : start + part])
    return vectors


def content_fingerprint(kind: str, settings: Mapping[str, Any], arrays: Arrays) -> str:
    """SHA-256 over what decides an encoder's vectors: its kind, settings, and each array's name, shape and values."""
    digest = hashlib.sha256(json.dumps([kind, settings], sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def write_encoder(folder: Path, kind: str, settings: Mapping[str, Any], arrays: Arrays) -> None:
    """Write an encoder that is no more than settings and arrays.

    Args:
        folder: Where to.
        kind: What `llmrec.text.encoders.registry` finds the class by.
        settings: Plain values that JSON holds.
        arrays: What it learnt.

    Raises:
        ConfigError: ``folder`` holds something else.
        DiskError: the place cannot be written.
    """
    fingerprint = content_fingerprint(kind, settings, arrays)
    ENCODER.write(folder, {"kind": kind, "settings": dict(settings), "fingerprint": fingerprint}, arrays)


def read_encoder(folder: Path, kind: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Settings and arrays of an encoder that `write_encoder` wrote.

    Raises:
        ModelError: there is none, it is of another kind or version, or its files are damaged.
    """
    record = ENCODER.read(folder)
    if record.kind != kind:
        raise ModelError(f"{folder}: holds the encoder '{record.kind}', not '{kind}'")
    arrays = ENCODER.read_arrays(folder, record)
    with ENCODER.understood(folder):
        if content_fingerprint(kind, record.settings, arrays) != record.fingerprint:
            raise ValueError("its fingerprint is not its record's")
    return record.settings, arrays
