"""What `import llmrec` costs, what a command takes to answer, and what the Python API adds to the functions below it.

All in seconds of the processor, the best of several: other programs on the machine then change little.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from bench.measure import Size, app, store_of
from llmrec.console import out, table

__all__ = ["api", "startup"]

NUM_HISTORIES: Final = 256
NUM_QUERIES: Final = 500
VERBS: Final = ("demo", "stats", "tune", "reproduce", "serve")  # each runs what takes a second to load
Pair = tuple[Callable[[], Any], Callable[[], Any]]


def _child_seconds(command: list[str], times: int) -> float:
    """Best processor time of a program that ends well."""
    best = float("inf")
    for _ in range(times):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return best


@app.command()
def startup(times: int = 7) -> None:
    """From the command to its answer: Python alone, `import llmrec`, `--help`, and a search of a small index."""
    import llmrec

    store, python = store_of("tiny"), [sys.executable]
    command = [*python, "-m", "llmrec.cli"]
    with tempfile.TemporaryDirectory() as scratch:
        llmrec.SimilarProducts.build(store / "products.parquet", f"{scratch}/titles")
        rows = [
            ("python -c pass", [*python, "-c", "pass"], ""),
            ("import llmrec", [*python, "-c", "import llmrec"], "60 ms"),
            ("llmrec --help", [*command, "--help"], "300 ms"),
            *((f"llmrec {verb} --help", [*command, verb, "--help"], "500 ms") for verb in VERBS),
            ("llmrec similar, 1,767 products", [*command, "similar", f"{scratch}/titles", "usb cable"], "1,000 ms"),
        ]
        cells = [(what, f"{_child_seconds(words, times) * 1e3:,.0f} ms", most) for what, words, most in rows]
    out.print(table("startup", ("what", "processor", "at most"), cells))


def _ranking(store: Path) -> dict[str, Pair]:
    """Fit, rank and evaluate `covisit`, its recipe, on what was read before."""
    import llmrec
    from llmrec.evaluation.scoring import score_rankings
    from llmrec.evaluation.targets import read_targets
    from llmrec.ragged import list_array, offsets_of
    from llmrec.rankers import read_session_files, read_training_files
    from llmrec.rankers.base import CHUNK
    from llmrec.rankers.counting.covisit import Covisit
    from llmrec.rankers.recipes import ranker_settings
    from llmrec.vocabulary import UNKNOWN

    opened = llmrec.open_store(store)
    held_out = opened.sessions("validation").file
    learnt, asked = read_training_files(opened.training().files), read_session_files(held_out)
    targets, ranker = read_targets(held_out), Covisit(ranker_settings("covisit", None, {})).fit(learnt)
    lists = ranker.rank(asked)

    def plain_fit() -> Any:
        return Covisit(ranker_settings("covisit", None, {})).fit(learnt).settings

    def plain_rank() -> Any:
        vocabulary, ids, scores = ranker.catalogue.vocabulary, [], []
        coded = ranker.catalogue.encode(asked)
        for start in range(0, len(coded), CHUNK):
            ranked, values = ranker._rank_filled(coded.slice(start, CHUNK), 100, "drop")
            there = ranked != UNKNOWN
            ids += list_array(offsets_of(there.sum(axis=1)), vocabulary.decode(ranked[there])).to_pylist()
            scores.append(values[there])
        return ids

    def plain_evaluate() -> Any:
        predictions = pa.chunked_array([lists.ids])
        return score_rankings("rankings", lists.locales.to_pylist(), predictions, targets.items, samples=1000).overall

    return {
        "fit": (plain_fit, lambda: llmrec.fit("covisit", learnt).settings),
        "rank": (plain_rank, lambda: ranker.rank(asked).to_list()),
        "evaluate": (plain_evaluate, lambda: llmrec.evaluate(lists, targets).overall),
    }


def _writing(store: Path, folder: Path) -> dict[str, Pair]:
    """Titles by a small model with random weights, greedily."""
    import pyarrow.parquet as pq

    import llmrec
    from llmrec.text.prompts import load_prompt
    from llmrec.titles.decoding.decode import decode_batch
    from llmrec.titles.models.model import ModelCard, build_tiny_mt5, save_model
    from llmrec.titles.models.tokenizer import build_tokenizer
    from llmrec.titles.prompting.prompt_tokens import encode_prompts
    from llmrec.titles.training.batches import decoding_batches

    titles = [one for one in pq.read_table(store / "products.parquet", columns=["title"])["title"].to_pylist() if one]
    tokenizer, prompt = build_tokenizer(titles, 2000), load_prompt("plain_v1")
    card = ModelCard(prompt.name, prompt.hash, 3, 128, 24)
    save_model(folder, build_tiny_mt5(len(tokenizer), 64, 2, 0), tokenizer, card)
    writer = llmrec.TitleWriter.load(folder)
    histories = [titles[start : start + 3] for start in range(NUM_HISTORIES)]

    def plain() -> list[str]:
        sessions = [("UK", [{"title": title} for title in history]) for history in histories]
        tokens = encode_prompts(writer.prompt, writer._encoder, sessions, 128)[1]
        written = [""] * len(tokens)
        for rows in decoding_batches(np.array([len(row) for row in tokens], dtype=np.int64), 32):
            batch = [tokens[row] for row in rows]
            found = decode_batch(writer.model, writer.tokenizer, batch, max_tokens=24, num_beams=1)
            for row, title in zip(rows.tolist(), found, strict=True):
                written[row] = title
        return written

    return {"write": (plain, lambda: list(writer.write(histories, "UK")))}


def _searching(store: Path, folder: Path) -> dict[str, Pair]:
    """Products like titles; below it are the encoder, the index and what makes lists of distinct products."""
    import pyarrow.parquet as pq

    import llmrec

    products = llmrec.SimilarProducts.build(store / "products.parquet", folder)
    titles = [one for one in pq.read_table(store / "products.parquet", columns=["title"])["title"].to_pylist() if one]
    asked = titles[:NUM_QUERIES]
    nothing = [np.zeros(0, np.int64)] * len(asked)

    def plain() -> Any:
        return products._lists(products.encoder.encode_queries(asked), 10, None, nothing)

    return {"search": (plain, lambda: products.search(asked))}


@app.command()
def api(size: Size = "small", times: int = 9) -> None:
    """`llmrec.fit`, `rank`, `evaluate`, `TitleWriter.write` and `search` beside the functions below, in turn.

    Raises:
        RuntimeError: the two give different things.
    """
    store, rows = store_of(size), []
    with tempfile.TemporaryDirectory() as scratch:
        places = Path(scratch) / "model", Path(scratch) / "titles"
        pairs = {**_ranking(store), **_writing(store, places[0]), **_searching(store, places[1])}
        for name, both in pairs.items():
            if both[0]() != both[1]():
                raise RuntimeError(f"{name}: the API gives something else than the functions below it")
            best = [float("inf"), float("inf")]
            for turn in range(2 * times):
                started = time.process_time()
                both[turn % 2]()
                best[turn % 2] = min(best[turn % 2], time.process_time() - started)
            plain, ours = best
            rows.append((name, f"{plain:.3f}", f"{ours:.3f}", f"{ours / plain - 1:+.1%}"))
    out.print(table(f"api, {size}", ("what", "functions, s", "API, s", "more"), rows))
