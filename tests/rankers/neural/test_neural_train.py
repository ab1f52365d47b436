"""Training of neural rankers: the same weights however it is stopped, resumed or shared."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save

from llmrec.errors import ConfigError, ModelError
from llmrec.memory import Free
from llmrec.rankers.neural import train
from llmrec.rankers.neural.models_by_name import Gru4Rec
from llmrec.rankers.neural.settings import Gru4RecSettings
from llmrec.testing.ranker_contract import training_sessions
from tests.training.kill import KilledError, kill_at

SETTINGS = Gru4RecSettings(
    embedding_size=8,
    hidden_size=8,
    history=6,
    batch_size=32,
    learning_rate=0.01,
    max_epochs=4,
    patience=4,
    checkpoint_every=3,
    init="svd",
    readout="attention",
    unit_length=True,
    loss="sampled",
    num_negatives=16,
)
STEPS_PER_EPOCH = 10


def weights(ranker: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in ranker.scorer.state_dict().items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("killed_at", [0, 5, STEPS_PER_EPOCH, 2 * STEPS_PER_EPOCH + 4])
@pytest.mark.parametrize("row_updates", [False, True])
def test_a_killed_training_resumes_to_the_same_weights(
    killed_at: int, row_updates: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = dataclasses.replace(SETTINGS, row_updates=row_updates)
    undisturbed = Gru4Rec(settings).fit(training_sessions())
    kill_at(killed_at, monkeypatch)
    with pytest.raises(KilledError):
        Gru4Rec(settings).fit(training_sessions(), folder=tmp_path)
    monkeypatch.undo()
    resumed = Gru4Rec(settings).fit(training_sessions(), folder=tmp_path, resume=True)
    assert equal(weights(resumed), weights(undisturbed))
    assert [entry["step"] for entry in resumed.history] == [entry["step"] for entry in undisturbed.history]
    assert [entry["score"] for entry in resumed.history] == [entry["score"] for entry in undisturbed.history]
    again = Gru4Rec(settings).fit(training_sessions(), folder=tmp_path, resume=True)  # complete: nothing left to do
    assert equal(weights(again), weights(undisturbed))
    assert not list((tmp_path / "checkpoints").glob("step-*"))


def test_resuming_with_other_settings_is_refused(tmp_path: Path) -> None:
    Gru4Rec(SETTINGS).fit(training_sessions(), folder=tmp_path)
    other = dataclasses.replace(SETTINGS, learning_rate=0.02)
    with pytest.raises(ConfigError, match=r"made with learning_rate 0\.01, now 0\.02"):
        Gru4Rec(other).fit(training_sessions(), folder=tmp_path, resume=True)


def test_kept_weights_that_are_not_the_models_are_one_line(tmp_path: Path) -> None:
    Gru4Rec(SETTINGS).fit(training_sessions(), folder=tmp_path)
    file = tmp_path / "weights.safetensors"
    kept = load_file(file)
    for change in (b"cut short", {**kept, "another": torch.ones(2)}, {**kept, next(iter(kept)): torch.ones(2)}):
        file.write_bytes(change if isinstance(change, bytes) else save(change))
        with pytest.raises(ModelError, match=r"weights\.safetensors: cannot be read; start over without"):
            Gru4Rec(SETTINGS).fit(training_sessions(), folder=tmp_path, resume=True)


def told_of(free: float, ranker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fit on a machine with so much memory."""
    monkeypatch.setattr(train, "free_memory", lambda _: Free(int(free), "a test"))
    ranker.fit(training_sessions())


def test_a_softmax_that_does_not_fit_comes_in_chunks_or_is_refused_with_what_fits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = dataclasses.replace(SETTINGS, loss="full", batch_size=8192, max_epochs=1)

    def bytes_of(*given: Any, softmax: str = "") -> int:
        size, way = given[3], given[4] if len(given) > 4 else softmax
        return int(size * (10 if way == "full" else 1))

    monkeypatch.setattr(train, "training_bytes", bytes_of)
    whole, chunked = Gru4Rec(settings), Gru4Rec(settings)
    told_of(90_000, whole, monkeypatch)
    assert capsys.readouterr().err.count("chunks") == 0
    told_of(9_000, chunked, monkeypatch)
    assert "the softmax is computed in chunks: in full it needs about 1 MiB" in capsys.readouterr().err
    for name, value in weights(whole).items():
        torch.testing.assert_close(value, weights(chunked)[name], rtol=1e-4, atol=1e-5)
    with pytest.raises(ConfigError, match=r"; what fits: batch_size=4000$"):
        told_of(4_000, Gru4Rec(settings), monkeypatch)


def test_nothing_is_written_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Gru4Rec(SETTINGS).fit(training_sessions())
    assert not list(tmp_path.iterdir())


def test_the_best_weights_stay_and_training_stops_when_it_gets_no_better(tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, max_epochs=60, patience=3, learning_rate=0.05, validation_share=0.5)
    ranker = Gru4Rec(settings).fit(training_sessions(), folder=tmp_path)
    scores = [entry["score"] for entry in ranker.history]
    best = scores.index(max(scores))
    assert len(scores) == min(60, best + 1 + 3)
    assert equal(weights(ranker), load_file(tmp_path / "weights.safetensors"))
    shorter = Gru4Rec(dataclasses.replace(settings, max_epochs=best + 1)).fit(training_sessions())
    assert equal(weights(shorter), weights(ranker))
    lines = (tmp_path / "history.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["score"] for line in lines] == scores


def test_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    ranker = Gru4Rec(dataclasses.replace(SETTINGS, max_minutes=1e-9)).fit(training_sessions())
    assert [entry["step"] for entry in ranker.history] == [1]


def test_given_batches_take_the_place_of_drawn_ones() -> None:
    ranker = Gru4Rec(dataclasses.replace(SETTINGS, loss="full", dropout_prob=0.0)).fit(training_sessions())
    prefixes = train.Prefixes(*(torch.zeros(0, dtype=torch.int64).numpy() for _ in range(3)))
    losses: list[float] = []
    batch = (torch.tensor([[1, 2]]).numpy(), torch.tensor([2]).numpy(), torch.tensor([3]).numpy())
    with torch.no_grad():
        first = float(ranker.scorer(*map(torch.from_numpy, batch), "full"))
    train.train_scorer(
        ranker.scorer,
        prefixes,
        dataclasses.replace(ranker.settings, dropout_prob=0.0),
        batches=[batch] * 3,
        on_step=lambda step, loss: losses.append(loss),
    )
    assert losses[0] == pytest.approx(first, rel=1e-5)
    assert losses[2] < losses[1] < losses[0]


@pytest.mark.slow
def test_two_processes_train_what_one_trains(tmp_path: Path) -> None:
    program = """
import dataclasses, sys
from pathlib import Path
from llmrec.rankers.neural.models_by_name import Gru4Rec
from llmrec.testing.ranker_contract import training_sessions
from tests.training.kill import KilledError, kill_at
from tests.rankers.neural.test_neural_train import SETTINGS
settings = dataclasses.replace(SETTINGS, dropout_prob=0.0)
Gru4Rec(settings).fit(training_sessions(), folder=Path(sys.argv[1]))
"""
    (tmp_path / "program.py").write_text(program, encoding="utf-8")
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    for processes in (1, 2):
        launch = ["torch.distributed.run", "--nproc-per-node", str(processes), "--master-port", "29617"]
        command = [sys.executable, "-m", *launch, str(tmp_path / "program.py"), str(tmp_path / str(processes))]
        subprocess.run(command, env=environment, check=True, capture_output=True)
    one, two = (load_file(tmp_path / name / "weights.safetensors") for name in ("1", "2"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-4, rtol=1e-3)
