"""Titles → products: a Task-3 run as ranked lists of products that exist.

A product of the locale that is called exactly like the title comes first, so a run of titles held to the catalogue
(``scripts/gen.py --constrain catalogue``) maps to the very products that it names; then the nearest ones follow.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec.arrays import Ints
from llmrec.console import notice, progress_bar
from llmrec.data.connection import connected
from llmrec.data.digests import sessions_fingerprint
from llmrec.data.sessions import read_sessions_file
from llmrec.errors import ConfigError, DataError
from llmrec.evaluation.identity import check_sessions
from llmrec.evaluation.metrics import MAX_RANKED
from llmrec.evaluation.provenance import collect_provenance
from llmrec.evaluation.runs import Run, read_run, write_run
from llmrec.output import check
from llmrec.ragged import Ragged, list_lengths, offsets_of, row_numbers
from llmrec.text.search.keys import key_rows, rows_of_titles
from llmrec.text.search.similar import SimilarProducts
from llmrec.text.search.vectors import NONE

__all__ = ["ground_run"]

TITLES: Final = 4_096  # distinct titles encoded and searched for at once


def ground_run(run: Path, index: Path, out: Path, k: int = MAX_RANKED, sessions: Path | None = None) -> None:
    """Write the products of each session's locale that are called like its title or nearest to it, as a run of Task 1.

    Args:
        run: Run of titles; a partial one gives a partial one.
        index: Embeddings folder with an index.
        out: Run to write.
        k: Most products of a list, at most 100.
        sessions: Sessions of the run's split; their own items are left out of their lists. None to keep them.

    Raises:
        ConfigError: ``k`` is out of range, or ``run`` holds no titles.
        DataError: a file is missing or malformed, a locale has no products in the index, or the sessions are not
            those of the run.
        StoreError: the index cannot be used.
    """
    started = time.monotonic()
    if not 1 <= k <= MAX_RANKED:
        raise ConfigError(f"--k must be from 1 to {MAX_RANKED}, the most ids of a list in a run; got {k}")
    check(out, "run")
    titles = read_run(run)
    if titles.kind != "titles":
        raise ConfigError(f"{run}: holds ranked lists already; ground takes a run of titles")
    products = SimilarProducts.load(index)
    groups = _groups(titles, products, index)
    seen = None if sessions is None else _seen(titles, sessions, products)
    rows = _ranked(titles.predictions, groups, products, k, seen)
    predictions = _lists(rows, products.products.column("id"))
    record = collect_provenance(None, None, None, started, titles.sessions_fingerprint) | {
        "ranker": "ground",
        "encoder": products.encoder.name,
        "encoder_fingerprint": products.encoder.fingerprint(),
        "k": k,
        "seen": "keep" if sessions is None else "drop",
        "titles": dict(titles.provenance),
    }
    write_run(out, titles.locales, predictions, record, partial=titles.partial)
    notice(f"{len(titles):,} lists in {out}; score them: llmrec evaluate {out} --targets FILE")


def _groups(run: Run, products: SimilarProducts, index: Path) -> Ints:
    numbers = {}
    for locale in run.locales.unique().to_pylist():
        try:
            numbers[locale] = products.group_of(locale)
        except ConfigError as error:
            row = pc.index(run.locales, locale).as_py()
            raise DataError(f"{run.path}, row {row + 1}: {error} {index}") from error
    return np.array([numbers[locale] for locale in run.locales.to_pylist()], dtype=np.int64)


def _ranked(titles: Any, groups: Ints, products: SimilarProducts, k: int, seen: Ints | None) -> Ints:
    """Rows of products, shape ``(S, k)``; each distinct title is encoded once."""
    ranked = np.full((len(groups), k), NONE, dtype=np.int64)
    named = rows_of_titles(products.products, pc.unique(titles), ~products.index.removed)
    width = 0 if seen is None else seen.shape[1]
    with progress_bar() as bar:
        task = bar.add_task("titles → products", total=len(groups), note="")
        for texts, sessions, places in _parts(titles):
            vectors = products.encoder.encode_queries(texts)
            pairs, which = np.unique(np.stack([places, groups[sessions]]), axis=1, return_inverse=True)
            _, found = products.index.search(vectors[pairs[0]], k + width, pairs[1])
            found[~vectors[pairs[0]].any(axis=1)] = NONE  # a title without words is like nothing
            keys = zip(
                (products.locales[group] for group in pairs[1]), (texts[place] for place in pairs[0]), strict=True
            )
            rows = _exact_first([named.get(key, ()) for key in keys], found)[which]
            if seen is not None:
                rows = _packed(rows, [seen[sessions, column] for column in range(width)])
            ranked[sessions] = rows[:, :k]
            bar.advance(task, len(sessions))
    return ranked


def _exact_first(exact: Sequence[Sequence[int]], rows: Ints) -> Ints:
    """Rows with those of products that are called like the title put before the others, each once."""
    first = np.full((len(rows), max(map(len, exact), default=0)), NONE)
    for place, own in enumerate(exact):
        first[place, : len(own)] = own
    others = _packed(rows, list(first.T))
    together = np.concatenate([first, others], axis=1)
    return _packed(together, [])


def _packed(rows: Ints, without: Sequence[Ints]) -> Ints:
    """Rows moved to the front, those left out that one of ``without``, each of shape ``(S,)``, names."""
    own = np.zeros(rows.shape, dtype=np.bool_)
    for column in without:
        own |= rows == column[:, None]
    rows = np.where(own, NONE, rows)
    return np.take_along_axis(rows, np.argsort(rows == NONE, axis=1, kind="stable"), axis=1)


def _parts(titles: Any) -> Iterator[tuple[list[str], Ints, Ints]]:
    """Distinct titles, the sessions that have one of them, and the place of each session's among them."""
    coded = titles.combine_chunks().dictionary_encode()
    if isinstance(coded, pa.ChunkedArray):
        coded = coded.combine_chunks()
    codes = coded.indices.to_numpy().astype(np.int64)
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(0, len(coded.dictionary) + TITLES, TITLES))
    for number in range(-(-len(coded.dictionary) // TITLES)):
        sessions = order[starts[number] : starts[number + 1]]
        texts = coded.dictionary.slice(number * TITLES, TITLES).to_pylist()
        yield texts, sessions, codes[sessions] - number * TITLES


def _seen(run: Run, sessions: Path, products: SimilarProducts) -> Ints:
    """Rows of each session's own items, shape ``(S, longest)``; `NONE` beyond, and for what the index does not have."""
    with connected() as con:
        table = con.to_pyarrow(read_sessions_file(con, sessions).select("prev_items", "locale"))
    fingerprint = sessions_fingerprint(table["prev_items"], table["locale"])
    if run.partial:
        table = table.slice(0, len(run))
    if len(table) != len(run):
        raise DataError(
            f"{sessions.name}: {len(table):,} sessions, {run.path} has {len(run):,}; give those of its split"
        )
    differ = pc.not_equal(table.column("locale").cast(pa.string()), run.locales)
    if pc.any(differ).as_py():
        row = pc.index(differ.combine_chunks(), True).as_py()
        raise DataError(f"{sessions.name}, row {row + 1}: another locale than in {run.path}; give those of its split")
    check_sessions(run, fingerprint, sessions)
    lists = table.column("prev_items").cast(pa.list_(pa.string())).combine_chunks()
    if isinstance(lists, pa.ChunkedArray):
        lists = lists.chunk(0) if lists.num_chunks else pa.array([], lists.type)
    lengths = list_lengths(lists)
    owners = row_numbers(lengths)
    items = lists.flatten()
    locales = run.locales.combine_chunks().take(pa.array(owners))
    found = key_rows(products.products, locales, items, ~products.index.removed)
    rows = Ragged(offsets_of(lengths), found).padded()
    return np.where(rows == NONE, NONE - 1, rows)  # equal to no row, nor to none


def _lists(rows: Ints, ids: Any) -> Any:
    there = rows != NONE
    offsets = offsets_of(there.sum(axis=1))
    values = ids.take(pa.array(rows[there])).combine_chunks()
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], pa.string())
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values)
