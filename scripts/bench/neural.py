"""Speed and memory of the neural rankers: an epoch beside stock RecBole's, and ranking from a million items."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.measure import Measurement, Size, app, measure, show, store_of

__all__ = ["epoch", "neural", "rank_many", "stock_epoch", "untrained"]

STOCK: Final = Path("tests/rankers/neural/stock_recbole.py")  # of the checkout that the benchmark stands in
DEVELOPMENT: Final = "sessions_development.parquet"
BATCH_SIZE: Final = 512
MAX_LENGTH: Final = 50
# RecBole's name of a model and its settings, and what ours are called.
_GRU: Final = {"embedding_size": 128, "hidden_size": 128, "num_layers": 1, "dropout_prob": 0.3}
_SRGNN: Final = {"embedding_size": 128, "step": 1}
_DROPOUT: Final = dict.fromkeys(("hidden_dropout_prob", "attn_dropout_prob", "sess_dropout", "item_dropout"), 0.2)
_CORE: Final = {"embedding_size": 128, "n_layers": 1, "n_heads": 2, "inner_size": 256, **_DROPOUT}
MODELS: Final[dict[str, tuple[str, dict[str, Any], dict[str, Any]]]] = {
    "gru4rec": ("GRU4Rec", _GRU, _GRU),
    "srgnn": ("SRGNN", _SRGNN, _SRGNN),
    "core": (
        "CORE",
        {**_CORE, "dnn_type": "trm", "temperature": 0.07},
        {**_CORE, "unit_length": True, "learn_scale": False, "scale": 1 / 0.07},
    ),
}


def _training(store: Path, number: int) -> Any:
    from llmrec.rankers import read_training_files

    return read_training_files([store / DEVELOPMENT]).take(np.arange(number))


def epoch(store: Path, number: int, ranker: str, loss: str, threads: int) -> tuple[float, int]:
    """Seconds of our epoch over every prefix of some sessions, and the number of its examples."""
    import torch

    from llmrec.rankers import ranker_class
    from llmrec.settings import resolve

    torch.set_num_threads(threads)
    cls = ranker_class(ranker)
    shared = {
        "loss": loss,
        "batch_size": BATCH_SIZE,
        "history": MAX_LENGTH,
        "max_epochs": 1,
        "validation_share": 0.0,
    }
    fitted: Any = cls(resolve(cls.settings_class, {**MODELS[ranker][2], **shared})).fit(_training(store, number))
    sequences = _training(store, number).sequences
    examples = len(sequences.flatten()) - int((sequences.value_lengths().to_numpy() > 0).sum())
    return fitted.history[0]["seconds"], examples


def stock_epoch(store: Path, number: int, ranker: str, threads: int) -> tuple[float, int]:
    """Seconds of stock RecBole's epoch over the same, and the number of its examples (nine of ten sessions)."""
    from llmrec.rankers.atomic import export_atomic

    name, settings, _ = MODELS[ranker]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "bench"
        export_atomic(_training(store, number), None, folder, every_prefix=True, max_length=MAX_LENGTH)
        with (folder / "bench.train.inter").open(encoding="utf-8") as handle:
            examples = sum(1 for _ in handle) - 1
        given = [f"{key}={value}" for key, value in {**settings, "train_neg_sample_args": "null"}.items()]
        command = [sys.executable, str(STOCK.resolve()), str(folder), "--model", name, "--epochs", "1"]
        command += ["--batch-size", str(BATCH_SIZE), "--threads", str(threads), "--set", *given]
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1])["seconds_per_epoch"][0]), examples


def untrained(num_items: int, size: int) -> Any:
    """A GRU4Rec of random weights for items named by their numbers, half of which its one locale sells."""
    import pyarrow as pa

    from llmrec.rankers.catalogue import Catalogue
    from llmrec.rankers.neural.models_by_name import Gru4Rec
    from llmrec.rankers.neural.settings import Gru4RecSettings
    from llmrec.vocabulary import Vocabulary

    ranker = Gru4Rec(Gru4RecSettings(embedding_size=size, unit_length=True))
    ids = pa.array([f"B{number:09d}" for number in range(num_items)])
    sold = np.random.default_rng(0).random((2, num_items)) < 0.5
    ranker.catalogue = Catalogue(Vocabulary(ids), ("DE",), sold, np.arange(300)[None].repeat(2, axis=0))
    return ranker.untrained()


def rank_many(num_items: int, num_sessions: int, size: int, threads: int) -> float:
    """Seconds to rank ``num_items`` items of random vectors for sessions of four; the peak is what is looked at."""
    import pyarrow as pa
    import torch

    from llmrec.rankers import Sessions

    torch.set_num_threads(threads)
    ranker = untrained(num_items, size)
    ids = ranker.catalogue.vocabulary.ids
    chosen = np.random.default_rng(1).integers(0, num_items, num_sessions * 4)
    offsets = pa.array(np.arange(num_sessions + 1, dtype=np.int32) * 4)
    sessions = Sessions(pa.ListArray.from_arrays(offsets, ids.take(pa.array(chosen))), pa.array(["DE"] * num_sessions))
    started = time.perf_counter()
    ranker.rank(sessions, 100)
    return time.perf_counter() - started


@app.command()
def neural(
    size: Size = "small", sessions: int = 20_000, threads: int = 2, items: int = 1_410_675, ranked: int = 10_000
) -> None:
    """Train an epoch beside stock RecBole (same model, examples, batch, threads), and rank from many items."""
    store = store_of(size)
    rows: list[tuple[str, Measurement, str]] = []
    for ranker in MODELS:
        stock = measure(stock_epoch, store, sessions, ranker, threads)
        slow = stock.value[0] / stock.value[1] * 1000
        rows.append((f"{ranker}, stock RecBole", stock, f"{slow:.2f} s per 1,000 examples"))
        for loss in ("full", "chunked"):
            ours = measure(epoch, store, sessions, ranker, loss, threads)
            quick = ours.value[0] / ours.value[1] * 1000
            note = f"{quick:.2f} s per 1,000 examples, {slow / quick:.1f} x"
            rows.append((f"{ranker}, llmrec, {loss} softmax", ours, note))
    many = measure(rank_many, items, ranked, 128, threads)
    rows.append((f"rank {items:,} items for {ranked:,} sessions", many, f"{ranked / many.value:,.0f} sessions/s"))
    show(f"neural rankers, {sessions:,} sessions of {size}, {threads} threads", rows)
