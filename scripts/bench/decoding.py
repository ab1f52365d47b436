"""Writing titles: plain `generate`, sorted batches, CTranslate2, and titles held to the catalogue.

Times are CPU seconds of the process, which other jobs on the machine do not change much.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from bench.measure import Size, app, measure, show, store_of

__all__ = ["constrain", "decode", "tiny_writer", "tokens_of"]

Model = Annotated[Path, typer.Option(help="A model of scripts/gen.py; `make demo` leaves this one.")]
SOURCE, TARGET = 160, 64  # as in the demo recipe


def tiny_writer(store: Path, folder: Path) -> None:
    """Write a model of mT5's shape, small and of random weights, with its tokenizer and card."""
    import pyarrow.parquet as pq

    from llmrec.text.prompts import load_prompt
    from llmrec.titles.models.model import ModelCard, build_tiny_mt5, save_model
    from llmrec.titles.models.tokenizer import build_tokenizer

    batch = next(pq.ParquetFile(store / "products.parquet").iter_batches(20_000, columns=["title"]))
    tokenizer = build_tokenizer([title for title in batch.column("title").to_pylist() if title], 4_000)
    prompt = load_prompt("plain_v1")
    card = ModelCard(prompt.name, prompt.hash, 3, SOURCE, TARGET)
    save_model(folder, build_tiny_mt5(len(tokenizer), 128, 2, 0), tokenizer, card)


def tokens_of(model: Path, histories: Sequence[list[str]]) -> float:
    """Mean number of tokens of the titles that a model writes."""
    from llmrec.titles.title_writer import TitleWriter

    writer = TitleWriter.load(model)
    written = writer.write(histories, "UK")
    return float(np.mean([len(writer.tokenizer(title).input_ids) for title in written]))


def _sessions(model: Path, store: Path, cache: Path, limit: int, threads: int) -> tuple[Any, Any, Any]:
    import torch

    from llmrec.data.store import Store
    from llmrec.text.prompts import load_prompt
    from llmrec.titles.models.model import load_model
    from llmrec.titles.prompting.prompt_sessions import build_prompt_sessions

    torch.set_num_threads(threads)
    loaded, tokenizer = load_model(str(model))
    prompt, source = load_prompt("plain_v1"), Store.load(store)
    made = build_prompt_sessions(
        source,
        "validation",
        k=3,
        prompt=prompt,
        cache=cache,
        tokenizer=tokenizer,
        max_source_tokens=SOURCE,
        sample=limit,
    )
    return loaded.eval(), tokenizer, made


Written = tuple[float, list[str], float]  # CPU seconds, titles, and their BLEU


def _bleu(sessions: Any, titles: list[str]) -> float:
    from llmrec.evaluation.bleu import corpus_bleu

    known = [place for place, target in enumerate(sessions["target_title"]) if target]
    targets = sessions["target_title"]
    return float(corpus_bleu([titles[place] for place in known], [targets[place] for place in known]).score)


def _plain(model: Path, store: Path, limit: int, batch: int, threads: int) -> Written:
    """`generate` on batches in the sessions' order, each padded to its longest prompt by the tokenizer."""
    import torch

    with tempfile.TemporaryDirectory() as cache:
        loaded, tokenizer, sessions = _sessions(model, store, Path(cache), limit, threads)
        rows, titles = sessions["input_ids"][:], []
        started = time.process_time()
        for start in range(0, len(rows), batch):
            inputs = tokenizer.pad({"input_ids": rows[start : start + batch]}, return_tensors="pt")
            with torch.no_grad():
                written = loaded.generate(**inputs, max_new_tokens=TARGET, do_sample=False)
            titles += [" ".join(text.split()) for text in tokenizer.batch_decode(written, skip_special_tokens=True)]
        return time.process_time() - started, titles, _bleu(sessions, titles)


def _sorted(model: Path, store: Path, limit: int, batch: int, threads: int, precision: str) -> Written:
    """As ``scripts/gen.py``: batches sorted by length; a precision of CTranslate2, or ``""`` for transformers."""
    from llmrec.titles.decoding import ctranslate
    from llmrec.titles.decoding.decode import decode_batch
    from llmrec.titles.training.batches import decoding_batches, read_tokens, token_lengths

    with tempfile.TemporaryDirectory() as cache:
        loaded, tokenizer, sessions = _sessions(model, store, Path(cache), limit, threads)
        if precision:
            ctranslate.convert_model(str(model), loaded, tokenizer, Path(cache) / "converted")
            translator = ctranslate.load_translator(Path(cache) / "converted", "cpu", 0, precision, threads)
        titles: dict[int, str] = {}
        started = time.process_time()
        for rows in decoding_batches(token_lengths(sessions, "input_ids"), batch):
            prompts = read_tokens(sessions, rows)["input_ids"]
            if precision:
                written = ctranslate.decode_batch(translator, tokenizer, prompts, max_tokens=TARGET)
            else:
                written = decode_batch(loaded, tokenizer, prompts, max_tokens=TARGET)
            titles.update(zip(rows.tolist(), written, strict=True))
        seconds, ordered = time.process_time() - started, [titles[row] for row in range(len(titles))]
        return seconds, ordered, _bleu(sessions, ordered)


@app.command()
def decode(
    model: Model = Path("runs/demo/model"), sessions: int = 1024, batch_size: int = 64, threads: int = 1
) -> None:
    """Write greedy titles with plain `generate`, with sorted batches, and with CTranslate2 in fp32 and int8."""
    store = store_of("small")
    asked = (model, store, sessions, batch_size, threads)
    measured = {"plain generate, fixed batches": measure(_plain, *asked)}
    for precision, name in (
        ("", "batches sorted by length"),
        ("fp32", "CTranslate2 fp32"),
        ("int8", "CTranslate2 int8"),
    ):
        measured[name] = measure(_sorted, *asked, precision)
    slow, expected, _ = next(iter(measured.values())).value
    rows = []
    for name, one in measured.items():
        seconds, titles, bleu = one.value
        equal = np.mean([a == b for a, b in zip(titles, expected, strict=True)])
        rate = f"{len(titles) / seconds:,.0f} sessions a CPU second, {slow / seconds:.1f} x"
        rows.append((name, one, f"{rate}, {equal:.1%} of texts equal, BLEU {bleu:.2f}"))
    show(f"{len(expected):,} greedy titles in batches of {batch_size} on {threads} thread(s)", rows)


def _build_trie(model: Path, store: Path) -> dict[str, float]:
    from llmrec.data.store import Store
    from llmrec.titles.decoding.trie import build_trie, catalogue_titles
    from llmrec.titles.models.model import load_model

    _, tokenizer = load_model(str(model))
    catalogue = catalogue_titles(Store.load(store))
    started = time.process_time()
    trie = build_trie(catalogue, tokenizer, TARGET)
    seconds = time.process_time() - started
    found = {"seconds": seconds, "titles": len(catalogue), "rows": len(trie.titles), "bytes": trie.num_bytes}
    for beams in (1, 5):
        found[f"beams {beams}"] = _step_seconds(trie, len(tokenizer), 64, beams)
    return found


def _step_seconds(trie: Any, vocabulary: int, sessions: int, beams: int) -> float:
    """Mean CPU seconds that a decoding step of a batch spends on the constraint, on random walks down the trie."""
    import torch

    from llmrec.titles.decoding.constrain import TitleConstraint

    generator = torch.Generator().manual_seed(0)
    locales = [list(trie.roots)[number % len(trie.roots)] for number in range(sessions)]
    constraint = TitleConstraint(trie, locales, beams)
    written = torch.zeros((sessions * beams, 1), dtype=torch.long)
    seconds = []
    for _ in range(24):
        scores = torch.randn((sessions * beams, vocabulary), generator=generator)
        started = time.process_time()
        held = constraint(written, scores)
        seconds.append(time.process_time() - started)
        written = torch.cat([written, held.argmax(dim=1, keepdim=True)], dim=1)
    return float(np.mean(seconds))


@app.command()
def constrain(model: Model = Path("runs/demo/model"), size: Size = "full") -> None:
    """Build the titles that a model is held to; their memory and what they cost a decoding step."""
    built = measure(_build_trie, model, store_of(size))
    one = built.value
    note = f"{one['titles']:,} titles in {one['seconds']:.1f} CPU s, {one['bytes'] / one['rows']:.1f} bytes a title"
    rows = [(f"titles of {size}", built, note)]
    for beams in (1, 5):
        rows.append((f"a step of 64 sessions, {beams} beams", built, f"{1000 * one[f'beams {beams}']:.1f} CPU ms"))
    show(f"{one['rows']:,} titles to choose from: {one['bytes'] / 2**20:.0f} MiB", rows)
