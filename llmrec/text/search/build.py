"""The index of an embeddings folder: built, tuned, and changed without a build."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec.console import notice, stderr
from llmrec.data.connection import connected
from llmrec.data.lists import is_usual, stripped
from llmrec.data.products import load_products
from llmrec.data.raw import explained, read_raw
from llmrec.errors import ConfigError, DataError, StoreError
from llmrec.output import claimed
from llmrec.text.encoders.base import encode_with_progress
from llmrec.text.encoders.embeddings_folder import COLUMNS, INDEX, Embeddings, open_embeddings, refuse_odd_vectors
from llmrec.text.encoders.texts import load_template, render_texts, template_columns
from llmrec.text.search.index import build_index
from llmrec.text.search.index_folder import SavedIndex, index_size, read_index, sweep_index, write_changes, write_index
from llmrec.text.search.keys import key_rows
from llmrec.text.search.recall import trade_off_table, tuned
from llmrec.text.search.vectors import Vectors

__all__ = ["add_products", "build_for_folder", "remove_products"]

P = ParamSpec("P")
R = TypeVar("R")
SAME: float = 1e-5  # difference of numbers of a vector that was made twice, in other batches


def _alone(function: Callable[Concatenate[Path, P], R]) -> Callable[Concatenate[Path, P], R]:
    """Keep other processes from an embeddings folder, and from its index where that is a link, during a function."""

    @functools.wraps(function)
    def locked(folder: Path, /, *rest: P.args, **more: P.kwargs) -> R:
        with claimed((folder, "place"), (folder / INDEX, "place")):
            return function(folder, *rest, **more)

    return locked


@_alone
def build_for_folder(
    folder: Path,
    kind: str = "auto",
    memory_mb: float | None = None,
    recall: float = 0.95,
    seed: int = 0,
    called: Path | None = None,
) -> SavedIndex:
    """Build and tune the index of an embeddings folder; products that were added and removed stay so.

    Args:
        folder: What `llmrec embed` wrote.
        kind: ``auto``, ``exact``, ``hnsw``, ``ivf`` or ``pq``.
        memory_mb: Most megabytes of the index; the vectors are read from the disk and do not count.
        recall: Share of the exact ten nearest that a search is to find.
        seed: Draws what it learns from and what it is tuned on.
        called: What the folder will be called, where it is still being made.

    Raises:
        ConfigError: a setting is wrong, or the kind does not fit the memory.
        DataError: a vector is not finite.
        DiskError: the place cannot be written; the index before is as it was.
        StoreError: the folder holds no embeddings, or its index is a link to one of other vectors.
    """
    embeddings = open_embeddings(folder)
    old = _old(embeddings)
    locales, groups = _grouped(embeddings.products.column("locale"), () if old is None else old.locales)
    vectors, removed = Vectors.of(embeddings.vectors), None
    if old is not None:
        vectors, removed = old.index.vectors, old.index.removed
        groups = np.concatenate([groups, old.index.groups[len(groups) :]])
    index, measured = tuned(
        build_index(vectors, groups, kind, memory_mb, removed=removed, seed=seed), recall, seed=seed
    )
    settings = {"kind": kind, "memory_mb": memory_mb, "recall": recall, "seed": seed}
    write_index(embeddings, index, locales, settings, old)
    if measured:
        stderr.print(trade_off_table(index, measured, locales))
        missed = [locales[group] for group, points in measured.items() if max(p.recall for p in points) < recall]
        if missed:
            notice(f"{', '.join(missed)}: recall@10 {recall:g} is not reached; a larger --memory-mb or --kind ivf may")
    kinds = ", ".join(sorted({shard.kind for shard in index.shards})) or "empty"
    notice(
        f"{kinds} index of {len(index):,} products, {index_size(folder) / 1e6:,.1f} MB; "
        f'search it: llmrec similar {called or folder} "TITLE"'
    )
    return read_index(embeddings)


@_alone
def add_products(folder: Path, products: Path) -> int:
    """Add products to an index without a build; one that is there already, by locale and id, is replaced.

    One that is there just so is left, so that to add a file once more changes nothing.

    Args:
        folder: An embeddings folder with an index.
        products: Product file, CSV in the official form or Parquet, with the columns that the folder's template reads.

    Returns:
        Number of products added.

    Raises:
        DataError: the file is missing or malformed, or a vector is not finite.
        DiskError: the place cannot be written; the index is as it was.
        ModelError: the folder's encoder cannot be read.
        StoreError: there is no index, or not one of these vectors.
    """
    embeddings = open_embeddings(folder)
    saved = read_index(embeddings)
    template = _template(embeddings)
    table = load_products(products, tuple(dict.fromkeys((*COLUMNS, *template_columns(template)))))
    if not len(table):
        raise DataError(f"{products.name}: no product with an id and a locale; there is nothing to add")
    vectors = encode_with_progress(embeddings.encoder(), render_texts(template, table))
    refuse_odd_vectors(vectors, products.name)
    before = _all_products(embeddings, saved)
    replaced = key_rows(before, table.column("locale"), table.column("id"), ~saved.index.removed)
    new = ~_unchanged(table, vectors, replaced, before, saved.index.vectors)
    if not new.all():
        notice(f"{int((~new).sum()):,} products are there already")
        if not new.any():
            sweep_index(folder / INDEX, saved.record)
            return 0
        table, vectors, replaced = table.filter(pa.array(new)), vectors[new], replaced[new]
    locales, groups = _grouped(table.column("locale"), saved.locales)
    index = saved.index.without(replaced[replaced >= 0]).with_added(vectors, groups)
    added = pa.concat_tables([saved.products, table.select(list(COLUMNS)).cast(saved.products.schema)])
    write_changes(embeddings, saved, index, locales, added)
    notice(f"{len(table):,} products added, {int((replaced >= 0).sum()):,} of them in the place of an earlier one")
    _advise(folder, index.vectors, saved.index.built)
    return len(table)


@_alone
def remove_products(folder: Path, products: Path) -> int:
    """Remove products from an index without a build.

    Args:
        folder: An embeddings folder with an index.
        products: CSV or Parquet with ``id`` and ``locale``; without ``locale``, an id goes from all of them.

    Returns:
        Number of products removed; 0 where they were removed before.

    Raises:
        DataError: the file is missing or malformed, or names no product that the index has or had.
        DiskError: the place cannot be written; the index is as it was.
        StoreError: there is no index, or not one of these vectors.
    """
    embeddings = open_embeddings(folder)
    saved = read_index(embeddings)
    ids, locales = _keys(products)
    before, there = _all_products(embeddings, saved), ~saved.index.removed
    if locales is None:
        rows = np.flatnonzero(pc.is_in(before.column("id"), value_set=ids).to_numpy() & there)
    else:
        found = key_rows(before, locales, ids, there)
        rows = found[found >= 0]
    if not len(rows):
        if not pc.any(pc.is_in(before.column("id"), value_set=ids)).as_py():
            raise DataError(f"{products.name}: none of its {len(ids):,} products is in the index of {folder}")
        sweep_index(folder / INDEX, saved.record)
        notice("they are removed already")
        return 0
    write_changes(embeddings, saved, saved.index.without(rows), saved.locales, saved.products)
    notice(f"{len(rows):,} products removed")
    return len(rows)


def _unchanged(table: Any, vectors: Any, rows: Any, before: Any, held: Vectors) -> Any:
    """Which products of a table are at their rows (-1: nowhere) with the same title and vector, shape ``(K,)``."""
    same = rows >= 0
    titles = [pc.fill_null(one.column("title"), "") for one in (table.filter(pa.array(same)), before.take(rows[same]))]
    same[same] = pc.equal(*titles).to_numpy() & np.isclose(vectors[same], held.take(rows[same]), 0, SAME).all(axis=1)
    return same


def _old(embeddings: Embeddings) -> SavedIndex | None:
    """The index to take changes over from, where there is one of the same vectors."""
    try:
        return read_index(embeddings)
    except StoreError as error:
        index = embeddings.path / INDEX
        if index.is_symlink() and index.is_dir() and any(index.iterdir()):
            raise StoreError(
                f"{index}: a link to {index.resolve()}, which is not of these vectors; remove it"
            ) from error
        if index.is_dir():
            notice(f"the index before is not taken over, nor what was added to it: {error}")
        return None


def _grouped(locales: Any, known: Sequence[str]) -> tuple[tuple[str, ...], Any]:
    """Names of the locales, known ones first, and the number of each row's, shape ``(N,)``."""
    column = pc.fill_null(locales, "")
    names = tuple(dict.fromkeys([*known, *column.unique().to_pylist()]))
    groups = pc.index_in(column, value_set=pa.array(names, pa.string())).to_numpy().astype(np.int32)
    return names, groups


def _all_products(embeddings: Embeddings, saved: SavedIndex) -> Any:
    return pa.concat_tables([embeddings.products, saved.products.cast(embeddings.products.schema)])


def _template(embeddings: Embeddings) -> Any:
    held = embeddings.manifest.template
    template = load_template(held.name)
    if template.hash != held.sha256:
        raise ConfigError(
            f"{embeddings.path}: its template '{held.name}' has changed since the vectors were made; "
            f"make them again: llmrec embed PRODUCTS --out {embeddings.path}"
        )
    return template


def _keys(products: Path) -> tuple[Any, Any]:
    with connected() as con:
        raw = read_raw(con, products, ("id",))
        names = [name for name in ("id", "locale") if name in raw.columns]
        with explained(products):
            texts = [raw[name].cast("string") for name in names]
            ids = {name: stripped(text, is_usual(text)).bare for name, text in zip(names, texts, strict=True)}
            table = con.to_pyarrow(raw.select(**ids))
    return table.column("id").combine_chunks(), table.column("locale") if "locale" in names else None


def _advise(folder: Path, vectors: Vectors, built: int) -> None:
    late = len(vectors) - built
    if late > 50_000:
        notice(f"{late:,} added products are searched one by one; `llmrec index {folder}` builds them in")
