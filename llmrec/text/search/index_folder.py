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
import pyarrow.parquet as pq

from llmrec.artefact import Kind, Stamp
from llmrec.errors import StoreError
from llmrec.output import atomic_folder, check
from llmrec.records import Count, Digest, FileName, write_record
from llmrec.text.encoders.embeddings_folder import INDEX, Embeddings
from llmrec.text.search.choose import Kind as ShardKind
from llmrec.text.search.index import Index, Shard, read_structure, write_structure
from llmrec.text.search.vectors import Vectors

__all__ = ["SavedIndex", "index_size", "made_of", "read_index", "write_changes", "write_index"]


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

    def __post_init__(self) -> None:
        held = [shard.locale for shard in self.shards]
        if len(set(held)) < len(held) or len(set(self.locales)) < len(self.locales):
            raise ValueError("a locale twice")
        if held and max(held) >= len(self.locales):
            raise ValueError(f"a shard of locale {max(held)}, where there are {len(self.locales)}")


_KIND: Final = Kind(
    what="index",
    record="index.json",
    format="llmrec index",
    holds=IndexRecord,
    make="build it: llmrec index {folder.parent}",
    again="build it again: llmrec index {folder.parent} "
    "(or make both again: llmrec embed PRODUCTS --out {folder.parent})",
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
    _commit(folder, msgspec.structs.replace(saved.record, locales=tuple(locales), changes=name))


def read_index(embeddings: Embeddings) -> SavedIndex:
    """Read the index of an embeddings folder; its parts are mapped into memory.

    Raises:
        StoreError: there is none, it is of another encoder, catalogue or version, or a file is damaged.
    """
    folder = embeddings.path / INDEX
    record = _record(embeddings)
    with _KIND.understood(folder):
        added, products, late, gone = _changes(folder, record, embeddings)
        main = folder / record.main
        groups = np.load(main / _GROUPS, allow_pickle=False)
        groups = np.concatenate([groups[: len(embeddings.vectors)], late])
        left_out = np.load(main / _GONE, allow_pickle=False)  # at the build: in no shard
        removed = np.zeros(len(groups), dtype=np.bool_)
        removed[left_out if gone is None else gone] = True
        built = record.built
        sharded = groups[:built].copy()
        sharded[left_out[left_out < built]] = -1
        vectors = Vectors(np.asarray(embeddings.vectors), added)
        if len(vectors) != len(groups) or built > len(groups):
            raise ValueError(f"{len(vectors)} vectors, {len(groups)} locales")
        shards = tuple(_shard(main, entry, sharded) for entry in record.shards)
    return SavedIndex(Index(vectors, groups, removed, shards, built), record.locales, products, record)


def _changes(folder: Path, record: IndexRecord, embeddings: Embeddings) -> tuple[Any, Any, Any, Any]:
    """Added vectors, products and groups, and rows not to be found (None where nothing changed)."""
    if record.changes is None:
        nothing = np.zeros((0, embeddings.vectors.shape[1]), dtype=np.float32)
        return nothing, embeddings.products.schema.empty_table(), np.zeros(0, dtype=np.int32), None
    changes = folder / record.changes
    arrays = [np.load(changes / name, allow_pickle=False) for name in (_VECTORS, _GROUPS, _GONE)]
    return arrays[0], pq.read_table(changes / _PRODUCTS), arrays[1], arrays[2]


def _shard(main: Path, entry: ShardRecord, groups: Any) -> Shard:
    rows = np.flatnonzero(groups == entry.locale)
    if entry.file is None:
        return Shard(entry.locale, entry.kind, rows)
    file = main / entry.file
    held = file.stat().st_size
    if held != entry.bytes:
        raise ValueError(f"{file.name} has {held:,} of {entry.bytes:,} bytes")
    try:
        structure = read_structure(file)
    except StoreError as error:
        raise ValueError(f"{file.name} cannot be read") from error
    return Shard(entry.locale, entry.kind, rows, structure, entry.effort)


def _record(embeddings: Embeddings) -> IndexRecord:
    folder = embeddings.path / INDEX
    record, ours = _KIND.read(folder), made_of(embeddings)
    if record.made_of != ours:
        first = next(name for name in ours.__struct_fields__ if getattr(record.made_of, name) != getattr(ours, name))
        what = {"encoder": "another encoder", "products": "another catalogue"}.get(first, "other vectors")
        raise StoreError(f"{folder}: made with {what} than the vectors beside it; {_KIND.again.format(folder=folder)}")
    return record


def _commit(folder: Path, record: IndexRecord) -> None:
    write_record(folder / _KIND.record, record)
    for path in folder.iterdir():
        if _PART.fullmatch(path.name) and path.name not in (record.main, record.changes):
            shutil.rmtree(path, ignore_errors=True)
