"""An index on disk: ``DIR/index`` of an embeddings folder, which appears and changes whole or not at all.

``index.json`` says what the index is, which vectors it is of, and which two folders hold the rest: ``main-*`` the rows'
locales and a file for each shard, ``changes-*`` what was added and removed since. Both are written under new names; the
rename of ``index.json`` makes them count, and only then do the old ones go. Where the folder is a link, all of that
happens in its real place, and nothing there goes that is no such folder.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from llmrec.arrays import Ints, checked, open_npy
from llmrec.artefact import Kind, Stamp
from llmrec.errors import StoreError
from llmrec.files import known_sha256, once
from llmrec.output import atomic_folder, check
from llmrec.records import Count, Digest, FileName, write_record
from llmrec.text.encoders.embeddings_folder import INDEX, Embeddings, read_products, refuse_long_vectors
from llmrec.text.search.choose import Kind as ShardKind
from llmrec.text.search.index import Index, Shard, read_structure, write_structure
from llmrec.text.search.structure_file import check_structure
from llmrec.text.search.vectors import Vectors

__all__ = ["SavedIndex", "index_size", "made_of", "read_index", "sweep_index", "write_changes", "write_index"]


class MadeOf(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an index must have been made of to fit a folder: encoder, products, and a sample of the vectors' bytes."""

    encoder: str
    products: str | None
    num: Count
    dim: Count
    sampled_vectors_sha256: Digest


class ShardRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A shard: number of its locale, kind, how hard it is searched, and where it has one its file."""

    locale: Count
    kind: ShardKind
    effort: Count
    file: FileName | None = None
    bytes: Count | None = None


class IndexRecord(Stamp, frozen=True, kw_only=True):
    """What ``index.json`` holds."""

    made_of: MadeOf
    settings: dict[str, Any] = msgspec.field(default_factory=dict)
    built: Count
    locales: tuple[str, ...]
    shards: tuple[ShardRecord, ...]
    main: FileName
    changes: FileName | None
    files: dict[str, Digest] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        held = [shard.locale for shard in self.shards]
        if len(set(held)) < len(held) or len(set(self.locales)) < len(self.locales):
            raise ValueError("a locale twice")
        if any((shard.kind == "exact") != (shard.file is None) for shard in self.shards):
            raise ValueError("a shard without its file, or an exact one with one")
        if held and max(held) >= len(self.locales):
            raise ValueError(f"a shard of locale {max(held)}, where there are {len(self.locales)}")


_KIND: Final = Kind(
    what="index",
    holds=IndexRecord,
    make="build it: llmrec index {folder.parent}",
    again="build it again: llmrec index DIR (or make both again: llmrec embed PRODUCTS --out DIR)",
    error=StoreError,
)
SAMPLED_ROWS: Final = 64  # each is a page and its neighbours read from a cold disk
_PART: Final = re.compile(r"(main|changes)-[0-9a-f]{8}")
_GROUPS, _GONE, _VECTORS, _PRODUCTS = "groups.npy", "gone.npy", "vectors.npy", "products.parquet"


@dataclass(frozen=True)
class SavedIndex:
    """What `read_index` found.

    Attributes:
        index: Ready to be searched.
        locales: Names of its groups.
        products: Arrow table of ``locale``, ``id`` and ``title`` of the added rows.
        record: Content of ``index.json``.
    """

    index: Index
    locales: tuple[str, ...]
    products: Any
    record: IndexRecord


def made_of(embeddings: Embeddings) -> MadeOf:
    """What an index of a folder is made of."""
    vectors = np.asarray(embeddings.vectors)
    rows = np.unique(np.linspace(0, len(vectors) - 1, min(len(vectors), SAMPLED_ROWS)).astype(np.int64))
    manifest = embeddings.manifest
    return MadeOf(
        encoder=manifest.encoder.fingerprint,
        products=manifest.products.fingerprint,
        num=len(vectors),
        dim=int(vectors.shape[1]),
        sampled_vectors_sha256=hashlib.sha256(vectors[rows].tobytes()).hexdigest(),
    )


def index_size(folder: Path) -> int:
    """Bytes of the index in an embeddings folder, without the vectors that it reads beside it."""
    return sum(path.stat().st_size for path in (folder / INDEX).rglob("*") if path.is_file())


def write_index(
    embeddings: Embeddings, index: Index, locales: Sequence[str], settings: dict[str, Any], old: SavedIndex | None
) -> None:
    """Put an index into an embeddings folder; the one before stays until this one is complete.

    Args:
        embeddings: The folder.
        index: Built over the folder's vectors and what ``old`` had added.
        locales: Names of its groups.
        settings: What it was asked to be: kind, memory, recall.
        old: The index before, whose added products go along; None where there is none.

    Raises:
        DiskError: the place cannot be written.
    """
    folder = check(embeddings.path / INDEX, "place")
    name = f"main-{uuid.uuid4().hex[:8]}"
    shards = []
    with atomic_folder(folder / name) as temporary:
        np.save(temporary / _GROUPS, index.groups)
        np.save(temporary / _GONE, np.flatnonzero(index.removed))
        for shard in index.shards:
            entry = ShardRecord(locale=shard.group, kind=shard.kind, effort=shard.effort)
            if shard.structure is not None:
                file = f"shard-{shard.group}.{'hnsw' if shard.kind == 'hnsw' else 'ivf'}"
                write_structure(shard.structure, temporary / file)
                entry = msgspec.structs.replace(entry, file=file, bytes=(temporary / file).stat().st_size)
            shards.append(entry)
        digests = _digests(temporary, name)
    if old is not None and old.record.changes is not None:
        digests |= {file: one for file, one in old.record.files.items() if Path(file).parent.name == old.record.changes}
    record = IndexRecord(
        format=_KIND.format,
        version=_KIND.version,
        made_of=made_of(embeddings),
        settings=settings,
        built=index.built,
        locales=tuple(locales),
        shards=tuple(shards),
        main=name,
        changes=None if old is None else old.record.changes,
        files=digests,
    )
    _commit(folder, record)


def write_changes(embeddings: Embeddings, saved: SavedIndex, index: Index, locales: Sequence[str], added: Any) -> None:
    """Write what was added and removed since the index was built; the built part is left as it is.

    Args:
        embeddings: The folder.
        saved: The index as it is on disk.
        index: The same with the changes.
        locales: Names of its groups; those of ``saved`` come first.
        added: Arrow table of all added products, in the order of their rows.

    Raises:
        DiskError: the place cannot be written.
    """
    folder = check(embeddings.path / INDEX, "place")
    name = f"changes-{uuid.uuid4().hex[:8]}"
    with atomic_folder(folder / name) as temporary:
        np.save(temporary / _VECTORS, index.vectors.added)
        np.save(temporary / _GROUPS, index.groups[len(embeddings.vectors) :])
        np.save(temporary / _GONE, np.flatnonzero(index.removed))
        pq.write_table(added, temporary / _PRODUCTS, compression="zstd")
        digests = _digests(temporary, name)
    digests |= {file: one for file, one in saved.record.files.items() if Path(file).parent.name == saved.record.main}
    _commit(folder, msgspec.structs.replace(saved.record, locales=tuple(locales), changes=name, files=digests))


def read_index(embeddings: Embeddings) -> SavedIndex:
    """Read the index of an embeddings folder; its parts are mapped into memory.

    Raises:
        StoreError: there is none, it is of another encoder, catalogue or version, or a file is damaged.
    """
    folder = embeddings.path / INDEX
    record = _record(embeddings)
    with _KIND.understood(folder):
        _refuse_changed(folder, record)
        added, products, late, gone = _changes(folder, record, embeddings)
        main, built, vectors = folder / record.main, record.built, Vectors(np.asarray(embeddings.vectors), added)
        groups, left_out = _groups(main, built, len(record.locales)), _gone(main, built)  # in no shard
        num = len(embeddings.vectors)
        if not num <= built <= len(vectors) or not np.array_equal(groups[num:], late[: built - num]):
            raise ValueError(f"built of {built:,} products, where there are {len(vectors):,}")
        groups = np.concatenate([groups, late[built - num :]])
        _refuse_other_locales(groups, record.locales, embeddings.products, products)
        removed = np.zeros(len(groups), dtype=np.bool_)
        removed[left_out if gone is None else gone] = True
        sharded = groups[:built].copy()
        sharded[left_out] = -1
        shards = tuple(_shard(main, entry, sharded, vectors.dim) for entry in record.shards)
        if sum(len(shard.rows) for shard in shards) != built - len(left_out):
            raise ValueError("products in no shard")
    return SavedIndex(Index(vectors, groups, removed, shards, built), record.locales, products, record)


def _changes(folder: Path, record: IndexRecord, embeddings: Embeddings) -> tuple[Any, Any, Any, Any]:
    """Added vectors, products and groups, and rows not to be found (None where nothing changed)."""
    dim = embeddings.vectors.shape[1]
    if record.changes is None:
        nothing = np.zeros((0, dim), dtype=np.float32)
        return nothing, embeddings.products.slice(0, 0), np.zeros(0, dtype=np.int32), None
    changes = folder / record.changes
    products = read_products(changes / _PRODUCTS)
    vectors = checked({_VECTORS: open_npy(changes / _VECTORS)}, _VECTORS, "float32", (len(products), dim))
    refuse_long_vectors(vectors, _VECTORS)
    gone = _gone(changes, len(embeddings.vectors) + len(products))
    return np.array(vectors), products, _groups(changes, len(products), len(record.locales)), gone


def _groups(folder: Path, num: int, num_locales: int) -> NDArray[np.int32]:
    """Numbers of rows' locales, shape ``(num,)``."""
    held = {_GROUPS: open_npy(folder / _GROUPS)}
    return np.array(checked(held, _GROUPS, "int32", (num,), least=0, most=num_locales - 1))


def _gone(folder: Path, num: int) -> Ints:
    """Rows that are not to be found, rising, of ``num``."""
    held = {_GONE: open_npy(folder / _GONE)}
    return np.array(checked(held, _GONE, "int64", (None,), least=0, most=num - 1, rising="strictly"))


def _shard(main: Path, entry: ShardRecord, groups: Any, dim: int) -> Shard:
    rows = np.flatnonzero(groups == entry.locale)
    if entry.file is None:
        return Shard(entry.locale, entry.kind, rows)
    if not 1 <= entry.effort <= max(1, len(rows)):
        raise ValueError(f"a search of {entry.effort} steps in a shard of {len(rows):,}")
    file = main / entry.file
    held = file.stat().st_size
    if held != entry.bytes:
        raise ValueError(f"{file.name} has {held:,} of {entry.bytes:,} bytes")
    what = f"{entry.kind} {dim} {hashlib.sha256(rows.tobytes()).hexdigest()}"
    once(file, what, lambda: check_structure(file, entry.kind, dim, rows))
    try:
        structure = read_structure(file)
    except StoreError as error:
        raise ValueError(f"{file.name} cannot be read") from error
    return Shard(entry.locale, entry.kind, rows, structure, entry.effort)


def _digests(folder: Path, name: str) -> dict[str, str]:
    """Digests of a part's files, under the name that it is about to have."""
    return {f"{name}/{file.name}": known_sha256(file) for file in sorted(folder.iterdir())}


def _refuse_changed(folder: Path, record: IndexRecord) -> None:
    """Refuse files that are not those that were written; a record of before does not tell."""
    for name, digest in record.files.items():
        part, _, file = name.partition("/")
        if part not in (record.main, record.changes) or "/" in file or file in ("", "..", "."):
            raise ValueError(f"'{name}' is no file of it")
        if known_sha256(folder / part / file) != digest:
            raise ValueError(f"the checksum of {name} is not its record's")


def _refuse_other_locales(groups: Any, names: Sequence[str], *products: Any) -> None:
    """Refuse rows whose number is not that of their product's locale."""
    told = pa.chunked_array([chunk for table in products for chunk in table.column("locale").chunks], pa.string())
    told = told.combine_chunks().dictionary_encode()  # pa.array and .to_numpy import pandas: longer than a search
    numbers = {name: number for number, name in enumerate(names)}
    known = np.array([numbers.get(name, -1) for name in told.dictionary.to_pylist()], dtype=np.int64)
    if told.null_count or not np.array_equal(known[np.from_dlpack(told.indices)], groups):
        raise ValueError("a product has another locale than its row")


def _record(embeddings: Embeddings) -> IndexRecord:
    folder = embeddings.path / INDEX
    record, ours = _KIND.read(folder), made_of(embeddings)
    if record.made_of != ours:
        first = next(name for name in ours.__struct_fields__ if getattr(record.made_of, name) != getattr(ours, name))
        what = {"encoder": "another encoder", "products": "another catalogue"}.get(first, "other vectors")
        raise StoreError(f"{folder}: made with {what} than the vectors beside it; {_KIND.again}")
    return record


def _commit(folder: Path, record: IndexRecord) -> None:
    write_record(folder / _KIND.record, record)
    sweep_index(folder, record)


def sweep_index(folder: Path, record: IndexRecord) -> None:
    """Remove the parts that a record does not name: earlier ones, and those of processes that died."""
    for path in folder.iterdir():
        if _PART.fullmatch(path.name) and path.name not in (record.main, record.changes):
            shutil.rmtree(path, ignore_errors=True)
