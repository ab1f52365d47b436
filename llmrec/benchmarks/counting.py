"""Speed and memory of the counting rankers, beside the plain way: loops over pandas rows into lists and counters."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from llmrec.benchmarks.measure import Size, app, measure, show, store_of

__all__ = ["counting", "covisit_fit", "covisit_serving", "popularity_plain", "popularity_quick"]

NUM_SINGLE: Final = 5_000
NUM_BATCH: Final = 50_000
NUM_PADDING: Final = 200
TRAINING: Final = ("sessions_development.parquet", "sessions_validation.parquet")
TEST: Final = "sessions_test_task1_phase1.parquet"


def covisit_fit(store: Path, folder: Path, engine: str = "duckdb") -> float:
    """Seconds to fit `covisit`, its recipe, on all training sessions of a store, without reading them; saves it."""
    from llmrec.config import load_recipe, resolve
    from llmrec.rankers import read_training_files
    from llmrec.rankers.covisit import Covisit, CovisitSettings

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


def _frames(store: Path, training: int, test: int) -> tuple[Any, Any]:
    import pandas as pd
    import pyarrow.parquet as pq

    columns = ["prev_items", "next_item", "locale"]
    first = next(pq.ParquetFile(store / TRAINING[0]).iter_batches(training, columns=columns))
    second = next(pq.ParquetFile(store / TEST).iter_batches(test, columns=["prev_items", "locale"]))
    return pd.DataFrame(first.to_pydict()), pd.DataFrame(second.to_pydict())


def popularity_plain(store: Path, training: int, test: int) -> tuple[float, list[list[str]]]:
    """Seconds and lists of the paper's Popularity by loops over pandas rows, as its authors' script does it.

    Lists are parsed here already, which the script does by itself; a padded list is a new one, where the script lets
    it grow for the sessions that come after.
    """
    import pandas as pd

    train, tests = _frames(store, training, test)
    started = time.perf_counter()
    following = defaultdict(list)
    for _, row in train.iterrows():
        items = [*row["prev_items"], row["next_item"]]
        for item, follower in itertools.pairwise(items):
            following[item].append(follower)
    for _, row in tests.iterrows():
        for item, follower in itertools.pairwise(row["prev_items"]):
            following[item].append(follower)
    best = {item: [one for one, _ in Counter(found).most_common(100)] for item, found in following.items()}
    pairs = pd.DataFrame({"item": list(following), "follower": list(following.values())}).explode("follower")
    padding = pairs["follower"].value_counts().index.tolist()[:NUM_PADDING]
    lists = []
    for _, row in tests.iterrows():
        items = row["prev_items"]
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


def popularity_quick(store: Path, training: int, test: int) -> tuple[float, list[list[str]]]:
    """The same with `llmrec.rankers.popularity`, from the same frames."""
    from llmrec.rankers import Sessions, TrainingSessions
    from llmrec.rankers.popularity import Popularity, PopularitySettings

    train, tests = _frames(store, training, test)
    sequences = [[*items, target] for items, target in zip(train["prev_items"], train["next_item"], strict=True)]
    learnt = TrainingSessions.of(sequences, train["locale"].tolist())
    sessions = Sessions.of(tests["prev_items"].tolist(), tests["locale"].tolist())
    started = time.perf_counter()
    ranker = Popularity(PopularitySettings()).fit(learnt.joined(sessions.bare()))
    ids, _ = ranker.rank(sessions, 100, "keep")
    return time.perf_counter() - started, ids.to_pylist()


@app.command()
def counting(size: Size = "full", training: int = 1_000_000, test: int = 20_000) -> None:
    """Fit and serve `covisit` on all sessions; `popularity` on a slice, beside loops over pandas rows."""
    store = store_of(size)
    with tempfile.TemporaryDirectory() as scratch:
        fit = measure(covisit_fit, store, Path(scratch) / "covisit")
        serving = measure(covisit_serving, store, Path(scratch) / "covisit")
    p50, p90, rate = serving.value
    note = f"p50 {p50 * 1e3:.2f} ms, p90 {p90 * 1e3:.2f} ms; {rate:,.0f} sessions/s in batch"
    plain = measure(popularity_plain, store, training, test)
    quick = measure(popularity_quick, store, training, test)
    (slow, expected), (fast, found) = plain.value, quick.value
    agree = sum(len(set(one) & set(two)) / max(1, len(one)) for one, two in zip(expected, found, strict=True))
    rows = [
        (f"covisit {size}: read, fit, save", fit, f"{fit.value:.1f} s of it fit"),
        ("covisit, sessions one by one and in batch", serving, note),
        (f"popularity, {training:,} and {test:,} sessions, pandas rows", plain, f"{slow:.2f} s; the plain way"),
        ("popularity, llmrec", quick, f"{fast:.2f} s, {slow / fast:.1f} x; {agree / len(found):.2%} of items equal"),
    ]
    show("counting", rows)
