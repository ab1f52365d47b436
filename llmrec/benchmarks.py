"""Speed and memory of the main steps, each beside the plain way of doing it, measured in the same run.

Every measurement runs in a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import csv
import importlib
import itertools
import multiprocessing
import re
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from llmrec.console import notice, out, table

__all__ = ["Measurement", "app", "measure"]

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="markdown")
SLICE_ROWS = 1_000_000
LOADED_FIRST = ("pandas", "pyarrow.parquet", "llmrec.data.importing", "llmrec.data.synth")
RUNS = Path("runs/bench")


@dataclass(frozen=True)
class Measurement:
    """Seconds and peak resident memory of one call, and what it returned."""

    seconds: float
    peak_gib: float
    value: Any


def _child(pipe: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    for module in LOADED_FIRST:  # a second of imports is no one's speed
        importlib.import_module(module)
    started = time.perf_counter()
    value = function(*arguments)
    seconds = time.perf_counter() - started
    pipe.send((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, value))


def measure(function: Callable[..., Any], *arguments: Any) -> Measurement:
    """Run a module-level function in a fresh process.

    Raises:
        RuntimeError: the process died.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(there, function, arguments))
    process.start()
    there.close()
    try:
        return Measurement(*here.recv())
    except EOFError as error:
        raise RuntimeError(f"{function.__name__} died with status {process.exitcode}") from error
    finally:
        process.join()


def _show(title: str, rows: list[tuple[str, Measurement, str]]) -> None:
    cells = [(name, f"{one.seconds:.2f}", f"{one.peak_gib:.2f}", note) for name, one, note in rows]
    out.print(table(title, ("what", "seconds", "peak GiB", ""), cells))


def _synthesize(folder: Path, size: str) -> None:
    from llmrec.data.synth import synthesize

    synthesize(folder, size=size, seed=0)


def _import(raw: Path, store: Path) -> None:
    from llmrec.data.importing import import_dataset

    import_dataset(raw, store)


def _read_and_parse(raw: Path) -> int:
    """What `import` does before it checks, joins, splits and writes: the CSVs as typed columns with parsed lists."""
    from llmrec.data.products import stage_products
    from llmrec.data.sessions import connect, stage_sessions

    con = connect()
    staged = stage_sessions(con, raw / "sessions_train.csv")
    products = stage_products(con, raw / "products_train.csv")
    return int(staged.count().to_pyarrow().as_py()) + int(products.count().to_pyarrow().as_py())


def _pandas_rows(raw: Path, way: str) -> int:
    """The plain ways: pandas reads, and a regular expression parses one list at a time.

    ``iterrows`` and ``itertuples`` go over the rows; ``column`` is the fastest loop that can be written over lists.
    """
    import pandas as pd

    sessions = pd.read_csv(raw / "sessions_train.csv", dtype=str, keep_default_na=False)
    products = pd.read_csv(raw / "products_train.csv", dtype=str, keep_default_na=False)
    texts: Iterable[Any] = sessions["prev_items"]
    if way == "iterrows":
        texts = (row["prev_items"] for _, row in sessions.iterrows())
    elif way == "itertuples":
        texts = (row.prev_items for row in sessions.itertuples())
    sessions["prev_items"] = [re.findall(r"'([^']*)'", text) for text in texts]
    return len(sessions) + len(products)


def _cut(raw: Path, folder: Path, rows: int) -> Path:
    """The first rows of the training sessions, and the products in proportion."""
    for name, number in (("sessions_train.csv", rows), ("products_train.csv", rows * 43 // 100)):
        with (raw / name).open(newline="", encoding="utf-8") as source, (folder / name).open("w", newline="") as target:
            csv.writer(target).writerows(itertools.islice(csv.reader(source), number + 1))
    return folder


Size = Annotated[str, typer.Option(help="Size of the synthetic data: tiny, small or full.")]


@app.command()
def synth(size: Size = "full") -> None:
    """Write the synthetic CSVs. There is no plain way to set beside: nothing else makes this data."""
    folder = RUNS / f"synthetic-{size}"
    _show(f"synth {size}", [("write the CSVs", measure(_synthesize, folder / "csv", size), "")])


@app.command("import")
def import_(size: Size = "full") -> None:
    """Import the synthetic CSVs; on a slice of them beside pandas and a loop over the rows."""
    folder = RUNS / f"synthetic-{size}"
    _need(folder / "csv", size)
    whole = measure(_import, folder / "csv", folder / "store")
    with tempfile.TemporaryDirectory() as scratch:
        raw = _cut(folder / "csv", Path(scratch), SLICE_ROWS)
        plain = {way: measure(_pandas_rows, raw, way) for way in ("iterrows", "itertuples", "column")}
        parsed, sliced = measure(_read_and_parse, raw), measure(_import, raw, Path(scratch) / "store")

    def ratios(ours: Measurement) -> str:
        return ", ".join(f"{one.seconds / ours.seconds:.1f} x {way}" for way, one in plain.items())

    cut = f"{SLICE_ROWS:,} sessions"
    rows = [
        (f"import {size}: read, check, join, split, write", whole, ""),
        *((f"{cut}: read and parse, pandas, {way}", one, "a plain way") for way, one in plain.items()),
        (f"{cut}: read and parse, llmrec", parsed, f"faster: {ratios(parsed)}"),
        (f"{cut}: the whole import, llmrec", sliced, f"faster: {ratios(sliced)}"),
    ]
    _show("import", rows)


def _need(raw: Path, size: str) -> None:
    from llmrec.data.synth import is_current

    if not is_current(raw, size, 0):
        notice(f"making the {size} synthetic data first")
        shutil.rmtree(raw.parent / "store", ignore_errors=True)  # an earlier version's
        _synthesize(raw, size)


def _store(size: str) -> Path:
    folder = RUNS / f"synthetic-{size}"
    _need(folder / "csv", size)
    if not (folder / "store").is_dir():
        _import(folder / "csv", folder / "store")
    return folder / "store"


def _tokenizer(store: Path) -> Any:
    import pyarrow.parquet as pq

    from llmrec.generation.tokenizer import build_tokenizer

    titles = pq.ParquetFile(store / "products.parquet").read(columns=["title"]).column("title")
    return build_tokenizer(titles.slice(0, 50_000).to_pylist(), 4000)


def _prompt_sessions(store: Path, limit: int, cache: Path) -> float:
    """Seconds to build ``limit`` tokenised prompt sessions, K = 3, without the tokenizer's training."""
    from llmrec.data.store import Store
    from llmrec.generation.prompt_sessions import build_prompt_sessions
    from llmrec.prompts import load_prompt

    tokenizer, prompt = _tokenizer(store), load_prompt("plain_v1")
    started = time.perf_counter()
    build_prompt_sessions(
        Store.load(store), "development", k=3, prompt=prompt, cache=cache, tokenizer=tokenizer, limit=limit
    )
    return time.perf_counter() - started


def _prompts_one_by_one(store: Path, limit: int) -> float:
    """The plain way: a dictionary of titles, and for each session a join of strings and a call of the tokenizer."""
    import pyarrow.parquet as pq

    tokenizer = _tokenizer(store)
    started = time.perf_counter()
    products = pq.read_table(store / "products.parquet", columns=["locale", "id", "title"])
    columns = (products.column(name).to_pylist() for name in ("locale", "id", "title"))
    titles = {(locale, item): title for locale, item, title in zip(*columns, strict=True)}
    sessions = pq.ParquetFile(store / "sessions_development.parquet")
    rows = itertools.islice(
        itertools.chain.from_iterable(batch.to_pylist() for batch in sessions.iter_batches()), limit
    )
    for row in rows:
        known = [titles[row["locale"], item] for item in row["prev_items"] if (row["locale"], item) in titles]
        tokenizer(" || ".join(known[-3:])), tokenizer(titles.get((row["locale"], row["next_item"]), ""))
    return time.perf_counter() - started


@app.command()
def prompts(size: Size = "full", sessions: int = 400_000) -> None:
    """Build tokenised prompt sessions, K = 3; peak memory at one and at four parts of the data."""
    store = _store(size)
    rows = []
    with tempfile.TemporaryDirectory() as cache:
        few = min(sessions, 40_000)
        plain = measure(_prompts_one_by_one, store, few)
        for limit in (sessions // 4, sessions):
            ours = measure(_prompt_sessions, store, limit, Path(cache) / str(limit))
            rows.append((f"{limit:,} sessions", ours, f"{limit / ours.value:,.0f} sessions/s"))
    times = (plain.value / few) / (rows[-1][1].value / sessions)
    rows.append((f"one by one, {few:,} sessions", plain, f"{few / plain.value:,.0f} sessions/s"))
    _show(f"prompt sessions, {size}: {times:.1f} x the plain way", rows)


def _decode(model: Path, cache: Path, store: Path, limit: int, batch_size: int) -> tuple[float, list[str]]:
    from llmrec.data.store import Store
    from llmrec.generation.batches import decoding_batches, read_tokens, token_lengths
    from llmrec.generation.decode import decode_batch
    from llmrec.generation.model import load_model
    from llmrec.generation.prompt_sessions import build_prompt_sessions
    from llmrec.prompts import load_prompt

    loaded, tokenizer = load_model(str(model))
    loaded.eval()
    prompt, source = load_prompt("plain_v1"), Store.load(store)
    sessions = build_prompt_sessions(
        source, "validation", k=3, prompt=prompt, cache=cache, tokenizer=tokenizer, max_source_tokens=160, limit=limit
    )
    titles: dict[int, str] = {}
    started = time.perf_counter()
    for rows in decoding_batches(token_lengths(sessions, "input_ids"), batch_size):
        written = decode_batch(loaded, tokenizer, read_tokens(sessions, rows)["input_ids"], max_tokens=64)
        titles.update(zip(rows.tolist(), written, strict=True))
    return time.perf_counter() - started, [titles[row] for row in range(len(sessions))]


@app.command()
def generate(model: Path = Path("runs/demo/model"), sessions: int = 256, batch_size: int = 64) -> None:
    """Write titles with the demo's model in batches sorted by length, and one by one."""
    store = _store("small")
    with tempfile.TemporaryDirectory() as cache:
        batched = measure(_decode, model, Path(cache), store, sessions, batch_size)
        single = measure(_decode, model, Path(cache), store, sessions, 1)
    (fast, titles), (slow, expected) = batched.value, single.value
    equal = sum(a == b for a, b in zip(titles, expected, strict=True))
    rows = [
        (f"batches of {batch_size}, sorted by length", batched, f"{len(titles) / fast:.1f} sessions/s"),
        ("one by one", single, f"{len(titles) / slow:.1f} sessions/s"),
    ]
    _show(f"titles: {slow / fast:.1f} x the plain way, {equal} of {len(titles)} texts equal", rows)


@app.command("all")
def all_() -> None:
    """Run every benchmark; `generate` needs the model that `make demo` leaves."""
    synth()
    import_()
    prompts()
    generate()


@app.command()
def clean() -> None:
    """Remove the data that the benchmarks made."""
    shutil.rmtree(RUNS, ignore_errors=True)
