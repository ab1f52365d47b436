"""Speed, size and recall of the index over a catalogue's worth of clustered vectors, beside exact search."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.measure import RUNS, app, measure, show
from llmrec.arrays import Floats

__all__ = ["clustered", "retrieval"]

DIM: Final = 256
NUM_QUERIES: Final = 500
NUM_ADDED: Final = 10_000
PLAIN_QUERIES: Final = 20
BLOCK: Final = 100_000
BUDGETS_MB: Final = {"ivf": 600.0, "pq": 120.0}
TARGET: Final = 0.97  # what tuning asks of products; the queries here are no products, and find a little less


def clustered(num: int, dim: int, seed: int = 0) -> Floats:
    """Unit vectors like those of titles: groups within groups, and a spectrum that falls.

    About a thousandth as many departments as vectors and one family for forty of them, of sizes as unequal as a
    catalogue's. A vector's nearest tenth has a cosine of .83, its hundredth of .65, and any two have one of 0.
    """
    rng = np.random.default_rng(seed)
    spectrum = (1 / np.sqrt(1 + np.arange(dim) / 8)).astype(np.float32)
    spectrum /= np.linalg.norm(spectrum)
    num_departments, num_families = max(8, num // 1_500), max(32, num // 40)
    departments = rng.standard_normal((num_departments, dim), dtype=np.float32) * spectrum
    families = departments[rng.integers(num_departments, size=num_families)]
    families += 0.8 * spectrum * rng.standard_normal((num_families, dim), dtype=np.float32)
    sizes = 1 / (10 + np.arange(num_families))
    sizes = 0.5 * sizes / sizes.sum() + 0.5 / num_families
    vectors = np.empty((num, dim), dtype=np.float32)
    for start in range(0, num, BLOCK):
        count = min(BLOCK, num - start)
        block = families[rng.choice(num_families, count, p=sizes)]
        block += 0.6 * spectrum * rng.standard_normal((count, dim), dtype=np.float32)
        vectors[start : start + count] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return vectors


def _make(folder: Path, num: int) -> None:
    """An embeddings folder of one locale, and beside it queries, more products, and the exact answer's scores."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from llmrec.records import write_record
    from llmrec.text.encoders.embeddings_folder import EMBEDDINGS, PRODUCTS, VECTORS
    from llmrec.text.search.vectors import Vectors, best, exact_candidates

    folder.mkdir(parents=True, exist_ok=True)
    every = clustered(num + NUM_QUERIES + NUM_ADDED, DIM)
    vectors, queries, added = np.split(every, [num, num + NUM_QUERIES])
    np.save(folder / VECTORS, vectors)
    np.save(folder / "queries.npy", queries)
    np.save(folder / "added.npy", added)
    ids = [f"B{number:09d}" for number in range(num)]
    titles = [f"Product number {number} of a catalogue" for number in range(num)]
    pq.write_table(pa.table({"locale": ["UK"] * num, "id": ids, "title": titles}), folder / PRODUCTS)
    rows = Vectors.of(vectors)
    exact, _ = best(rows, queries, exact_candidates(rows, np.arange(num), queries, 100), 100)
    np.save(folder / "exact.npy", exact)
    manifest = {
        "encoder": {"name": "clustered", "dim": DIM, "fingerprint": "0" * 64},
        "template": {"name": "none", "sha256": "0" * 64},
        "products": {"num": num, "fingerprint": "0" * 64},
    }
    write_record(folder / EMBEDDINGS.record, EMBEDDINGS.stamped(manifest))


def _build(folder: Path, kind: str) -> int:
    from llmrec.text.encoders.embeddings_folder import INDEX
    from llmrec.text.search.build import build_for_folder
    from llmrec.text.search.index_folder import index_size

    shutil.rmtree(folder / INDEX, ignore_errors=True)  # with what an earlier kind had added
    build_for_folder(folder, kind, BUDGETS_MB[kind], TARGET)
    return index_size(folder)


def _opened(folder: Path) -> Any:
    from llmrec.text.encoders.embeddings_folder import open_embeddings
    from llmrec.text.search.index_folder import read_index

    embeddings = open_embeddings(folder)
    started = time.perf_counter()
    saved = read_index(embeddings)
    return embeddings, saved, time.perf_counter() - started


def _search(folder: Path) -> tuple[float, float, float, float, float, int]:
    """Seconds to open the index; recall@10 and @100; median seconds of one query alone at both; ``nprobe``."""
    from llmrec.text.search.recall import recall

    _, saved, opening = _opened(folder)
    queries, exact = np.load(folder / "queries.npy"), np.load(folder / "exact.npy")
    found: list[float] = []
    medians: list[float] = []
    for k in (10, 100):
        for query in queries[-50:]:  # pages of the files that no search has touched are read once
            saved.index.search(query[None], k)
        seconds, scores = [], []
        for query in queries:
            started = time.perf_counter()
            values, _ = saved.index.search(query[None], k)
            seconds.append(time.perf_counter() - started)
            scores.append(values[0])
        found.append(recall(np.array(scores), exact[:, :k]))
        medians.append(float(np.median(seconds)))
    return opening, found[0], found[1], medians[0], medians[1], saved.index.shards[0].effort


def _plain(folder: Path) -> float:
    """The plain way: every product of a query with every vector, and the ten largest; median seconds of one."""
    vectors, queries = np.load(folder / "vectors.npy"), np.load(folder / "queries.npy")
    seconds = []
    for query in queries[:PLAIN_QUERIES]:
        started = time.perf_counter()
        scores = vectors @ query
        nearest = np.argpartition(scores, -10)[-10:]
        nearest[np.argsort(-scores[nearest])]
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds))


def _add(folder: Path) -> float:
    """Seconds to add products whose vectors are there: open, look up their keys, put them in, write."""
    import pyarrow as pa

    from llmrec.text.search.index_folder import write_changes
    from llmrec.text.search.keys import key_rows

    added = np.load(folder / "added.npy")
    table = pa.table(
        {
            "locale": ["UK"] * len(added),
            "id": [f"N{number:09d}" for number in range(len(added))],
            "title": ["A new product"] * len(added),
        }
    )
    started = time.perf_counter()
    embeddings, saved, _ = _opened(folder)
    replaced = key_rows(embeddings.products, table["locale"], table["id"], ~saved.index.removed)
    index = saved.index.without(replaced[replaced >= 0]).with_added(added, np.zeros(len(added), dtype=np.int32))
    write_changes(embeddings, saved, index, saved.locales, table)
    return time.perf_counter() - started


@app.command()
def retrieval(num: int = 1_410_000) -> None:
    """Build, open, search and grow an IVF index of at most 600 MB and a PQ index of at most 120 MB."""
    folder = RUNS / f"retrieval-{num}"
    if not (folder / "manifest.json").is_file():
        measure(_make, folder, num)
    plain = measure(_plain, folder)
    rows = [("exact, numpy, one query alone", plain, f"{plain.value * 1e3:.1f} ms; the plain way")]
    for kind in BUDGETS_MB:
        built = measure(_build, folder, kind)
        found = measure(_search, folder)
        opening, at_10, at_100, one_10, one_100, nprobe = found.value
        before = (
            f"k=10: recall {at_10:.3f}, {one_10 * 1e3:.2f} ms; k=100: recall {at_100:.3f}, {one_100 * 1e3:.2f} ms; "
            f"nprobe {nprobe}, opened in {opening:.2f} s; {plain.value / one_10:,.0f} x the plain way"
        )
        added = measure(_add, folder)
        after = measure(_search, folder).value[3]
        rows += [
            (f"{kind}: build, tune, write", built, f"{built.value / 1e6:,.1f} MB"),
            (f"{kind}: open, {NUM_QUERIES} queries one by one, twice", found, before),
            (f"{kind}: add {NUM_ADDED:,} products", added, f"{added.value:.2f} s; then {after * 1e3:.2f} ms a query"),
        ]
    show(f"retrieval, {num:,} x {DIM} clustered vectors", rows)
