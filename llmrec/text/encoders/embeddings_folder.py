"""An embeddings folder: vectors, the products they belong to, the encoder that made them, and a manifest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from llmrec.arrays import Floats, open_npy
from llmrec.artefact import Kind, Stamp
from llmrec.errors import DataError, ModelError, StoreError
from llmrec.files import known_sha256, once
from llmrec.records import Count, Digest, FileName
from llmrec.text.encoders.base import Encoder

__all__ = [
    "EMBEDDINGS",
    "ENCODER",
    "INDEX",
    "PRODUCTS",
    "VECTORS",
    "Embeddings",
    "Manifest",
    "open_embeddings",
    "read_products",
    "refuse_long_vectors",
    "refuse_odd_vectors",
]


class MadeBy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The encoder of an embeddings folder."""

    name: str
    dim: Annotated[int, msgspec.Meta(ge=1)]
    fingerprint: str


class MadeWith(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The template of an embeddings folder."""

    name: str = ""
    sha256: str = ""


class MadeOf(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The products of an embeddings folder."""

    num: Count
    fingerprint: str | None = None


class Manifest(Stamp, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """What ``manifest.json`` holds, beside the keys of `llmrec.evaluation.provenance.collect_provenance`."""

    encoder: MadeBy
    products: MadeOf
    template: MadeWith = MadeWith()
    settings: dict[str, Any] = msgspec.field(default_factory=dict)
    files: dict[FileName, Digest] = msgspec.field(default_factory=dict)


EMBEDDINGS: Final = Kind(
    what="embeddings",
    record="manifest.json",
    holds=Manifest,
    make="make them: llmrec embed PRODUCTS --out {folder}",
    again="make it again: llmrec embed PRODUCTS --out DIR",
    error=StoreError,
)
VECTORS: Final = "vectors.npy"
PRODUCTS: Final = "products.parquet"
ENCODER: Final = "encoder"
INDEX: Final = "index"
COLUMNS: Final = ("locale", "id", "title")
_PART: Final = 1 << 16  # vectors looked at at once
_LONGEST: Final = 1.02  # square of a length, which bf16 may round by a hundredth


@dataclass(frozen=True)
class Embeddings:
    """What `llmrec embed` wrote.

    Attributes:
        path: Its folder.
        vectors: Shape ``(N, D)``, memory-mapped; rows of length 1, a row of zeros for a product without text.
        products: Arrow table of ``locale``, ``id`` and ``title``; row ``i`` belongs to vector ``i``.
        manifest: ``encoder``, ``template``, ``products`` and where they come from.
    """

    path: Path
    vectors: Floats
    products: Any
    manifest: Manifest

    def encoder(self) -> Encoder:
        """Load the encoder that made the vectors, for queries.

        Raises:
            ModelError: it is damaged, or not the one that made these vectors.
        """
        from llmrec.text.encoders.registry import load_saved_encoder

        encoder = load_saved_encoder(self.path / ENCODER)
        if encoder.fingerprint() != self.manifest.encoder.fingerprint:
            raise ModelError(
                f"{self.path / ENCODER}: another encoder ('{encoder.name}') than the one that made these vectors "
                f"('{self.manifest.encoder.name}'); {EMBEDDINGS.again}"
            )
        return encoder


def open_embeddings(path: Path) -> Embeddings:
    """Open a folder that `llmrec embed` wrote, without reading its vectors.

    Raises:
        StoreError: there is none, it is of another version, or its files are cut short or do not belong together.
    """
    manifest = EMBEDDINGS.read(path)
    vectors, products = _vectors(path), _products(path)
    shape = (manifest.products.num, manifest.encoder.dim)
    if vectors.shape != shape:
        held = f"shape {vectors.shape}, where the manifest says {shape}"
        raise StoreError(f"{path / VECTORS}: {held}; {EMBEDDINGS.again}")
    for name in (VECTORS, PRODUCTS):
        if name in manifest.files and manifest.files[name] != known_sha256(path / name):
            raise StoreError(f"{path / name}: damaged (its checksum is not the manifest's); {EMBEDDINGS.again}")
    with EMBEDDINGS.understood(path):
        once(path / VECTORS, "vectors of length 1 or 0", lambda: refuse_long_vectors(vectors, VECTORS))
    if len(products) != shape[0]:
        raise StoreError(
            f"{path / PRODUCTS}: {len(products):,} products, where the manifest says {shape[0]:,}; {EMBEDDINGS.again}"
        )
    return Embeddings(path, vectors, products, manifest)


def refuse_odd_vectors(vectors: NDArray[Any], where: str) -> None:
    """Refuse numbers that no search can order.

    Args:
        vectors: Shape ``(N, D)``.
        where: What to name: a file or an encoder.

    Raises:
        DataError: a row holds a NaN or an infinite number; the first one is named.
    """
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite)) + 1
        raise DataError(f"{where}: the vector of product {row} holds NaN or infinite numbers; use another encoder")


def refuse_long_vectors(vectors: Floats, where: str) -> str:
    """Refuse vectors of a file that are not of length 1 or shorter: what they are nearest to would not be told.

    Args:
        vectors: Shape ``(N, D)``.
        where: File to name.

    Returns:
        "": there is none.

    Raises:
        ValueError: there is one; NaN and infinite numbers are longer than any.
    """
    for start in range(0, len(vectors), _PART):
        part = np.asarray(vectors[start : start + _PART])
        with np.errstate(over="ignore", invalid="ignore"):
            fits = np.einsum("nd,nd->n", part, part) <= _LONGEST
        if not fits.all():
            raise ValueError(f"{where}: the vector of product {start + int(np.argmin(fits)) + 1} is none of length 1")
    return ""


def _vectors(path: Path) -> Floats:
    file = path / VECTORS
    try:
        vectors: Floats = open_npy(file)
    except (OSError, ValueError, ArithmeticError, TypeError) as error:
        raise StoreError(f"{file}: missing or cut short; {EMBEDDINGS.again}") from error
    if vectors.dtype != np.float32 or vectors.ndim != 2:
        raise StoreError(f"{file}: {vectors.dtype} of shape {vectors.shape}, not float32 (N, D); {EMBEDDINGS.again}")
    return vectors


def _products(path: Path) -> Any:
    file = path / PRODUCTS
    try:
        return read_products(file)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise StoreError(f"{file}: missing, cut short or without {', '.join(COLUMNS)}; {EMBEDDINGS.again}") from error


def read_products(file: Path) -> Any:
    """Arrow table of `COLUMNS` as text.

    Raises:
        OSError: there is none.
        ValueError: a product has no id, or it is no such table; so does `pyarrow.ArrowException`.
    """
    with pq.ParquetFile(file) as held:  # read_table would import pandas, which takes longer than all the rest
        table = held.read(columns=list(COLUMNS))
    products = table.cast(pa.schema([(name, pa.string()) for name in COLUMNS]))
    if products.column("id").null_count or products.column("locale").null_count:
        raise ValueError(f"{file.name}: a product without an id or a locale")
    products.validate(full=True)
    return products
