"""Speed and memory of the counting rankers, beside the plain way: loops over pandas rows into lists and counters."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Final

import numpy as np

from bench.measure import Size, app, measure, show, store_of

__all__ = ["counting", "covisit_fit", "covisit_serving", "popularity_plain", "popularity_quick", "slices"]

NUM_SINGLE: Final = 5_000
NUM_BATCH: Final = 50_000
NUM_PADDING: Final = 200
TRAINING: Final = ("sessions_development.parquet", "sessions_validation.parquet")
TEST: Final = "sessions_test_task1_phase1.parquet"


def covisit_fit(store: Path, folder: Path, engine: str = "duckdb") -> float:
    """Seconds to fit `covisit`, its recipe, on all training sessions of a store, without reading them; saves it."""
    from llmrec.rankers import read_training_files
    from llmrec.rankers.counting.covisit import Covisit, CovisitSettings
    from llmrec.settings import load_recipe, resolve

    training = read_training_files([store / name for name in TRAINING])
    settings = resolve(CovisitSettings, {"engine": engine}, load_recipe("covisit"))
    started = time.perf_counter()
    ranker = Covisit(settings).fit(training)
    seconds = time.perf_counter() - started
    ranker.save(folder)
    return seconds


def covisit_serving(store: Path, folder: Path) -> tuple[float, float, float]:
    """A saved ranker on sessions of the test: p50 and p90 of one session alone, in seconds; sessions/s in batch."""
    from llmrec.rankers import load_ranker, read_session_files

    ranker = load_ranker(folder)
    sessions = read_session_files(store / TEST).slice(0, NUM_BATCH)
    few = sessions.slice(0, NUM_SINGLE)
    pairs = list(zip(few.prev_items.to_pylist(), few.locales.to_pylist(), strict=True))
    ranker.rank_session(*pairs[0])  # the dictionary of ids is made once
    seconds = []
    for items, locale in pairs:
        started = time.perf_counter()
        ranker.rank_session(items, locale)
        seconds.append(time.perf_counter() - started)
    started = time.perf_counter()
    ranker.rank(sessions)
    rate = len(sessions) / (time.perf_counter() - started)
    p50, p90 = np.percentile(seconds, [50, 90])
    return float(p50), float(p90), rate


def slices(store: Path, folder: Path, training: int, test: int) -> None:
    """Write the first sessions of a store twice: as Parquet, and tab-separated as the authors' script reads them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for source, name, count in ((TRAINING[0], "train", training), (TEST, "test", test)):
        table = pa.Table.from_batches([next(pq.ParquetFile(store / source).iter_batches(count))])
        pq.write_table(table, folder / f"{name}.parquet")
        frame = table.to_pandas()
        frame["prev_items"] = frame["prev_items"].str.join(" ")
        frame.to_csv(folder / f"{name}.tsv", sep="\t", index=False)


def popularity_plain(folder: Path) -> tuple[float, list[list[str]]]:
    """Seconds and lists of the paper's Popularity by loops over pandas rows, as its authors' script does it.

    A padded list is a new one here, where the script lets it grow for the sessions that come after.
    """
    import pandas as pd

    started = time.perf_counter()
    train, tests = (pd.read_csv(folder / f"{name}.tsv", sep="\t") for name in ("train", "test"))
    following = defaultdict(list)
    for _, row in train.iterrows():
        items = [*row["prev_items"].split(" "), row["next_item"]]
        for item, follower in itertools.pairwise(items):
            following[item].append(follower)
    for _, row in tests.iterrows():
        for item, follower in itertools.pairwise(row["prev_items"].split(" ")):
            following[item].append(follower)
    best = {item: [one for one, _ in Counter(found).most_common(100)] for item, found in following.items()}
    pairs = pd.DataFrame({"item": list(following), "follower": list(following.values())}).explode("follower")
    padding = pairs["follower"].value_counts().index.tolist()[:NUM_PADDING]
    lists = []
    for _, row in tests.iterrows():
        items = row["prev_items"].split(" ")
        predicted = best.get(items[-1])
        if predicted is None:
            lists.append(padding[:100])
            continue
        predicted = list(predicted)
        for item in padding:
            if len(predicted) >= 100:
                break
            if item not in predicted and item not in items:
                predicted.append(item)
        lists.append(predicted)
    return time.perf_counter() - started, lists


def popularity_quick(folder: Path) -> tuple[float, float, list[list[str]]]:
    """Seconds in all, seconds of it reading, and lists of `llmrec.rankers.counting.popularity` on the same sessions."""
    from llmrec.rankers import read_session_files, read_training_files
    from llmrec.rankers.counting.popularity import Popularity, PopularitySettings

    started = time.perf_counter()
    learnt, sessions = read_training_files([folder / "train.parquet"]), read_session_files(folder / "test.parquet")
    reading = time.perf_counter() - started
    ranker = Popularity(PopularitySettings()).fit(learnt.joined(sessions.bare()))
    ids, _ = ranker.rank(sessions, 100, "keep")
    return time.perf_counter() - started, reading, ids.to_pylist()


@app.command()
def counting(size: Size = "full", training: int = 1_000_000, test: int = 20_000) -> None:
    """Fit and serve `covisit` on all sessions; `popularity` on a slice, beside loops over pandas rows."""
    store = store_of(size)
    with tempfile.TemporaryDirectory() as scratch:
        fit = measure(covisit_fit, store, Path(scratch) / "covisit")
        serving = measure(covisit_serving, store, Path(scratch) / "covisit")
    p50, p90, rate = serving.value
    note = f"p50 {p50 * 1e3:.2f} ms, p90 {p90 * 1e3:.2f} ms; {rate:,.0f} sessions/s in batch"
    with tempfile.TemporaryDirectory() as scratch:
        slices(store, Path(scratch), training, test)
        plain, quick = measure(popularity_plain, Path(scratch)), measure(popularity_quick, Path(scratch))
    (slow, expected), (fast, reading, found) = plain.value, quick.value
    agree = sum(len(set(one) & set(two)) / max(1, len(one)) for one, two in zip(expected, found, strict=True))
    equal = f"{agree / len(found):.2%} of items equal"
    rows = [
        (f"covisit {size}: read, fit, save", fit, f"{fit.value:.1f} s of it fit"),
        ("covisit, sessions one by one and in batch", serving, note),
        (f"popularity, {training:,} and {test:,} sessions, pandas rows", plain, f"{slow:.2f} s; the plain way"),
        ("popularity, llmrec", quick, f"{fast:.2f} s ({reading:.2f} s of it reading), {slow / fast:.1f} x; {equal}"),
    ]
    show("counting", rows)
