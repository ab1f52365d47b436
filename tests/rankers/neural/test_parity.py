"""Our training loop against stock RecBole's trainer: the same data, first weights and batches give the same numbers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from llmrec.rankers import Ranker, Sessions, TrainingSessions
from llmrec.rankers.atomic import export_atomic
from llmrec.rankers.neural.item_scores import rank_codes
from llmrec.rankers.neural.models_by_name import Core, Gru4Rec, SrGnn
from llmrec.rankers.neural.prefixes import build_prefixes
from llmrec.rankers.neural.train import train_scorer

PROGRAM = Path(__file__).with_name("stock_recbole.py")
NUM_ITEMS, BATCH, STEPS = 300, 64, 50
COMMON = {
    "embedding_size": 32,
    "batch_size": BATCH,
    "learning_rate": 0.005,
    "padding_class": True,
    "max_epochs": 1,
    "validation_share": 0.0,
}
NO_DROPOUT = {"hidden_dropout_prob": 0, "attn_dropout_prob": 0, "sess_dropout": 0, "item_dropout": 0}

pytestmark = pytest.mark.slow


def walks(count: int = 2000) -> TrainingSessions:
    """Walks along a ring of 300 items, one or two steps at a time."""
    rng = np.random.default_rng(0)
    items = [f"I{number:03d}" for number in range(NUM_ITEMS)]
    sequences = []
    for number in range(count):
        steps = rng.integers(1, 3, size=int(rng.integers(1, 6))).cumsum()
        sequences.append([items[(number + int(step)) % NUM_ITEMS] for step in [0, *steps]])
    return TrainingSessions.of(sequences, ["UK"] * count)


@dataclass(frozen=True)
class Stock:
    """What stock RecBole did: its report, first weights, and batches."""

    report: dict[str, Any]
    weights: dict[str, np.ndarray]
    batches: dict[str, np.ndarray]


def run_stock(model: str, atomic: Path, folder: Path, **settings: object) -> Stock:
    folder.mkdir()
    settings |= {"embedding_size": COMMON["embedding_size"]}
    command = [sys.executable, str(PROGRAM), str(atomic), "--model", model, "--batch-size", str(BATCH)]
    command += ["--learning-rate", str(COMMON["learning_rate"]), "--dump", "weights.npz", "--batches", "batches.npz"]
    done = subprocess.run(
        [*command, "--set", *(f"{key}={json.dumps(value)}" for key, value in settings.items())],
        cwd=folder,  # it writes its logs where it stands
        env=os.environ | {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    archives = [dict(np.load(folder / name)) for name in ("weights.npz", "batches.npz")]
    return Stock(json.loads(done.stdout.splitlines()[-1]), *archives)


def take_over(ranker: Ranker[Any], stock: Stock) -> np.ndarray:
    """Give RecBole's first weights to our scorer; returns the row of our table for each of RecBole's codes."""
    tokens = pa.array(stock.batches["tokens"][1:].tolist(), pa.string())
    rows = np.concatenate([[0], ranker.catalogue.vocabulary.encode(tokens) + 1])
    state = ranker.scorer.state_dict()
    for name in state:
        source = stock.weights.get(name.removeprefix("model.").removeprefix("inner."))
        if source is not None:
            permuted = np.empty_like(source)
            permuted[rows if name.endswith("item_embedding.weight") else np.arange(len(source))] = source
            state[name] = torch.from_numpy(permuted)
    ranker.scorer.load_state_dict(state)
    assert len(stock.weights) == sum(name.startswith("model.") for name in state)
    return rows


def batches_of(stock: Stock, rows: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    ends = np.cumsum(stock.batches["sizes"])[:-1]
    items, lengths, targets = (stock.batches[name] for name in ("items", "lengths", "targets"))
    return list(zip(np.split(rows[items], ends), np.split(lengths, ends), np.split(rows[targets], ends), strict=True))


def mrr(ranker: Ranker[Any], file: Path) -> float:
    """MRR@100 of a validation file by our scoring, a session's own items among those ranked, as RecBole has it."""
    lines = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()[1:]]
    coded = ranker.catalogue.encode(Sessions.of([line[1].split() for line in lines], [line[3] for line in lines]))
    targets = ranker.catalogue.vocabulary.encode_list([line[2] for line in lines])
    ranker.scorer.eval()
    with torch.inference_mode():
        items = ranker.scorer.item_vectors()[1:]
    ranked, _ = rank_codes(ranker.scorer, items, coded, 100, "keep", ranker.catalogue)
    hits = ranked == targets[:, None]
    return float(np.mean(hits.any(axis=1) / (hits.argmax(axis=1) + 1)))


CASES = {
    "GRU4Rec": (
        Gru4Rec,
        {"hidden_size": 48, "num_layers": 1, "dropout_prob": 0.0},
        {"hidden_size": 48, "num_layers": 1, "dropout_prob": 0},
    ),
    "SRGNN": (SrGnn, {"step": 1}, {"step": 1}),
    "CORE": (
        Core,
        {"history": 5, "n_layers": 2, "inner_size": 48, "hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}
        | {"sess_dropout": 0.0, "unit_length": True, "scale": 1 / 0.07, "learn_scale": False},
        {"inner_size": 48, **NO_DROPOUT},
    ),
}


@pytest.mark.parametrize("model", CASES)
def test_our_loop_gives_the_losses_and_the_mrr_of_stock_recbole(model: str, tmp_path: Path) -> None:
    ranker_class, ours, theirs = CASES[model]
    sessions = walks()
    export_atomic(sessions, None, tmp_path / "walks", every_prefix=True)
    stock = run_stock(model, tmp_path / "walks", tmp_path / "stock", **theirs)

    ranker = ranker_class(ranker_class.settings_class(**COMMON | ours))
    ranker.fit(sessions)
    rows = take_over(ranker, stock)
    losses: list[float] = []
    train_scorer(
        ranker.scorer,
        build_prefixes(ranker.catalogue.encode_training(sessions), ranker.settings.history),
        ranker.settings,
        batches=batches_of(stock, rows),
        on_step=lambda _, loss: losses.append(loss),
    )
    assert len(losses) == len(stock.report["losses"]) >= STEPS
    np.testing.assert_allclose(losses[:STEPS], stock.report["losses"][:STEPS], atol=1e-4, rtol=0)
    assert losses[0] - losses[-1] > 0.2  # it did learn something
    expected = stock.report["valid"]["mrr@100"]
    assert mrr(ranker, tmp_path / "walks" / "walks.valid.inter") == pytest.approx(expected, rel=0.01)


def test_stock_recbole_reads_our_item_file(tmp_path: Path) -> None:
    products = pa.table(
        {
            "id": [f"I{number:03d}" for number in range(NUM_ITEMS)],
            "locale": ["UK"] * NUM_ITEMS,
            "title": ['A 15" screen\tin black'] * NUM_ITEMS,
            "brand": ["Acme", None] * (NUM_ITEMS // 2),
            "price": [1.5, None] * (NUM_ITEMS // 2),
        }
    )
    export_atomic(walks(400), Sessions.of([["I001", "I002"]], ["UK"]), tmp_path / "walks", products)
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(tmp_path / "walks"), "--load-only"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["items"] == NUM_ITEMS
    assert {"title", "brand", "price"} <= set(report["fields"])
    assert report["sessions"] == 400 + 1
