"""Prompt sessions and decoding."""

from __future__ import annotations

import itertools
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.measure import Size, app, measure, show, store_of

__all__ = ["generate", "prompts"]


def _tokenizer(store: Path) -> Any:
    import pyarrow.parquet as pq

    from llmrec.titles.models.tokenizer import build_tokenizer

    titles = pq.ParquetFile(store / "products.parquet").read(columns=["title"]).column("title")
    return build_tokenizer(titles.slice(0, 50_000).to_pylist(), 4000)


def _prompt_sessions(store: Path, limit: int, cache: Path) -> float:
    """Seconds to build ``limit`` tokenised prompt sessions, K = 3, without the tokenizer's training."""
    from llmrec.data.store import Store
    from llmrec.text.prompts import load_prompt
    from llmrec.titles.prompting.prompt_sessions import build_prompt_sessions

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
    store = store_of(size)
    rows = []
    with tempfile.TemporaryDirectory() as cache:
        few = min(sessions, 40_000)
        plain = measure(_prompts_one_by_one, store, few)
        for limit in (sessions // 4, sessions):
            ours = measure(_prompt_sessions, store, limit, Path(cache) / str(limit))
            rows.append((f"{limit:,} sessions", ours, f"{limit / ours.value:,.0f} sessions/s"))
    times = (plain.value / few) / (rows[-1][1].value / sessions)
    rows.append((f"one by one, {few:,} sessions", plain, f"{few / plain.value:,.0f} sessions/s"))
    show(f"prompt sessions, {size}: {times:.1f} x the plain way", rows)


def _decode(model: Path, cache: Path, store: Path, limit: int, batch_size: int) -> tuple[float, list[str]]:
    from llmrec.data.store import Store
    from llmrec.text.prompts import load_prompt
    from llmrec.titles.decoding.decode import decode_batch
    from llmrec.titles.models.model import load_model
    from llmrec.titles.prompting.prompt_sessions import build_prompt_sessions
    from llmrec.titles.training.batches import decoding_batches, read_tokens, token_lengths

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
    store = store_of("small")
    with tempfile.TemporaryDirectory() as cache:
        batched = measure(_decode, model, Path(cache), store, sessions, batch_size)
        single = measure(_decode, model, Path(cache), store, sessions, 1)
    (fast, titles), (slow, expected) = batched.value, single.value
    equal = sum(a == b for a, b in zip(titles, expected, strict=True))
    rows = [
        (f"batches of {batch_size}, sorted by length", batched, f"{len(titles) / fast:.1f} sessions/s"),
        ("one by one", single, f"{len(titles) / slow:.1f} sessions/s"),
    ]
    show(f"titles: {slow / fast:.1f} x the plain way, {equal} of {len(titles)} texts equal", rows)
