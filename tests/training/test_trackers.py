"""``--log-to``: curves reach the tracker that was named, and a tracker that is not there is one line."""

from __future__ import annotations

import dataclasses
import errno
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from llmrec.errors import ConfigError, MissingExtraError
from llmrec.rankers.neural.models_by_name import Gru4Rec
from llmrec.rankers.neural.settings import Gru4RecSettings
from llmrec.testing.ranker_contract import training_sessions
from llmrec.training import trackers
from llmrec.training.trackers import tracker_names, tracking
from tests.places import ROOT

SETTINGS = Gru4RecSettings(embedding_size=8, hidden_size=8, history=6, batch_size=32, max_epochs=2)  # 20 steps


def fitted(log_to: str | None, folder: Path | None = None, **changes: Any) -> Gru4Rec:
    return Gru4Rec(dataclasses.replace(SETTINGS, log_to=log_to, **changes)).fit(training_sessions(), folder=folder)


def test_names_are_read_with_commas(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(trackers, "_is_installed", lambda name: True)
    assert tracker_names("wandb, mlflow,wandb", None) == ["wandb", "mlflow"]
    assert tracker_names("none", tmp_path) == []
    assert tracker_names(None, None) == []
    assert tracker_names(None, tmp_path) == ["tensorboard"]


def test_wrong_names_are_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(trackers, "_is_installed", lambda name: name != "trackio")
    with pytest.raises(ConfigError, match=r"unknown tracker 'wanb'; did you mean 'wandb'\?"):
        tracker_names("tensorboard,wanb", tmp_path)
    with pytest.raises(ConfigError, match="unknown tracker 'x'; known: mlflow, none, tensorboard, trackio, wandb"):
        tracker_names("x", tmp_path)
    with pytest.raises(MissingExtraError, match="--log-to trackio: it is not installed; pip install trackio"):
        tracker_names("trackio", tmp_path)
    with pytest.raises(ConfigError, match="tensorboard writes into the folder of a training; give --checkpoints"):
        tracker_names("tensorboard", None)


def test_a_folder_that_a_tracker_left_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wandb").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    with pytest.raises(MissingExtraError, match="pip install wandb"):
        tracker_names("wandb", None)


def test_tensorboard_holds_the_curves(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    ranker = fitted(None, tmp_path)
    events = EventAccumulator(str(tmp_path / "logs")).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [10, 20]
    assert events.Scalars("train/learning_rate")[0].value == pytest.approx(SETTINGS.learning_rate)
    scores = [(event.step, event.value) for event in events.Scalars("validation/score")]
    assert scores == [(entry["step"], pytest.approx(entry["score"])) for entry in ranker.history]
    fitted("none", tmp_path / "other")
    assert not (tmp_path / "other" / "logs").exists()


class Failing:
    """A tracker without its server."""

    name = "wandb"

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def start(self) -> None:
        raise RuntimeError("no API key\nconfigured")


class Remembering(Failing):
    """A tracker that keeps what it is told."""

    told: ClassVar[list[Any]] = []

    def start(self) -> None:
        self.told.append("start")

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.told.append(values["batch_size"])

    def log(self, values: dict[str, Any], step: int) -> None:
        self.told.append((step, *values))

    def finish(self) -> None:
        self.told.append("finish")


def test_a_tracker_gets_settings_and_curves_and_always_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accelerate.tracking.WandBTracker", Remembering)
    monkeypatch.setattr(trackers, "_is_installed", lambda name: True)
    monkeypatch.setattr(Remembering, "told", [])
    fitted("wandb", max_epochs=1)
    assert Remembering.told[:3] == ["start", 32, (10, "train/loss", "train/learning_rate")]
    assert Remembering.told[3][0] == 10
    assert "validation/score" in Remembering.told[3]
    assert Remembering.told[4:] == ["finish"]
    ranker = Gru4Rec(dataclasses.replace(SETTINGS, log_to="wandb"))

    def prune(epoch: int, score: float) -> None:
        raise KeyError(epoch)

    ranker.watch = prune
    with pytest.raises(KeyError):
        ranker.fit(training_sessions())
    assert Remembering.told[-1] == "finish"


def test_a_tracker_that_does_not_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accelerate.tracking.WandBTracker", Failing)
    monkeypatch.setattr(trackers, "_is_installed", lambda name: True)
    with pytest.raises(ConfigError, match="log_to wandb: it did not start: no API key configured"):
        fitted("wandb")


def fit_apart(log_to: str, folder: Path, **environment: str) -> None:
    """Train in a process of its own: trackers write what is left when it ends."""
    code = f"from tests.training.test_trackers import fitted; fitted('{log_to}')"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), **environment}
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=folder, check=True)


def test_wandb_for_real(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    fit_apart("wandb", tmp_path, WANDB_MODE="offline")
    (record,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    content = record.read_bytes()
    assert [name for name in (b"validation/score", b"train/learning_rate", b"hidden_size") if name not in content] == []


@pytest.mark.filterwarnings("ignore")  # of its own making
def test_mlflow_for_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    ranker = fitted("mlflow", tmp_path / "first")
    client = mlflow.MlflowClient()
    (experiment,) = client.search_experiments(filter_string="name = 'llmrec'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status, run.data.params["batch_size"]) == ("first", "FINISHED", "32")
    scores = [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, "validation/score")]
    assert scores == [(entry["step"], pytest.approx(entry["score"])) for entry in ranker.history]


def test_trackio_for_real(tmp_path: Path) -> None:
    pytest.importorskip("trackio")
    fit_apart("trackio", tmp_path, TRACKIO_DIR=str(tmp_path), HF_HUB_OFFLINE="1")
    with sqlite3.connect(tmp_path / "llmrec.db") as database:
        rows = database.execute("SELECT step, metrics FROM metrics").fetchall()
    assert [step for step, metrics in rows if "validation/score" in str(metrics)] == [10, 20]


@pytest.mark.parametrize("log_to", ["wandb,none", "none,tensorboard"])
def test_none_goes_with_no_other(log_to: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none goes with no other"):
        tracker_names(log_to, tmp_path)
    assert tracker_names("none", tmp_path) == tracker_names("", tmp_path) == []


def test_a_full_disk_of_tensorboards_is_an_error_without_a_traceback_of_its_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    writer = pytest.importorskip("tensorboard.summary.writer.record_writer").RecordWriter

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writer, "write", full)
    accelerator = SimpleNamespace(is_main_process=True, trackers=[])

    def log() -> None:
        with tracking(accelerator, "tensorboard", tmp_path, "run", {}):
            for step in range(20):
                accelerator.trackers[0].log({"loss": 1.0}, step=step)
                accelerator.trackers[0].writer.flush()

    with pytest.raises((ConfigError, OSError)):
        log()
    assert "Traceback" not in capsys.readouterr().err
