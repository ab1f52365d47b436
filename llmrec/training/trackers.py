"""Experiment trackers: ``--log-to tensorboard,wandb,mlflow,trackio,none``."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from llmrec.errors import ConfigError, MissingExtraError, nearest, without_secrets

__all__ = ["TRACKERS", "tracker_names", "tracking"]

TRACKERS: Final = ("tensorboard", "wandb", "mlflow", "trackio")
PROJECT: Final = "llmrec"


def tracker_names(log_to: str | None, folder: Path | None) -> list[str]:
    """Trackers by name, each known and installed.

    Args:
        log_to: Names with commas between; ``none`` for none. None: TensorBoard, where there is a folder and it is
            installed.
        folder: Folder of the training, where there is one; TensorBoard writes into its ``logs``.

    Raises:
        ConfigError: a name is unknown, or TensorBoard has no folder to write into.
        MissingExtraError: a tracker is not installed.
    """
    if log_to is None:
        return ["tensorboard"] if folder is not None and _is_installed("tensorboard") else []
    names = list(dict.fromkeys(name for name in log_to.replace(" ", "").split(",") if name))
    if names == ["none"]:
        return []
    if "none" in names:
        raise ConfigError(f"--log-to {log_to}: none goes with no other; leave it or the others out")
    for name in names:
        if name not in TRACKERS:
            raise ConfigError(f"--log-to: unknown tracker '{name}'{nearest(name, (*TRACKERS, 'none'))}")
        if not _is_installed(name):
            raise MissingExtraError(f"--log-to {name}: it is not installed; pip install {name}")
        if name == "tensorboard" and folder is None:
            raise ConfigError(
                "--log-to tensorboard writes into the folder of a training; give --checkpoints DIR, or another tracker"
            )
    return names


def _is_installed(name: str) -> bool:
    spec = find_spec(name)
    return spec is not None and spec.origin is not None  # without: a folder that wandb made where the program runs


@contextlib.contextmanager
def tracking(
    accelerator: Any, log_to: str | None, folder: Path | None, run_name: str, settings: Mapping[str, Any]
) -> Iterator[None]:
    """Trackers that `accelerator.log` reports to; however the block ends, their runs end with it.

    Where they report to is each tool's own affair: ``WANDB_MODE=offline``, ``MLFLOW_TRACKING_URI``, ``TRACKIO_DIR`` …

    Args:
        accelerator: `accelerate.Accelerator`.
        log_to: As `tracker_names`.
        folder: As `tracker_names`.
        run_name: Name of the run, in the project `PROJECT`.
        settings: Shown beside the run's curves.

    Raises:
        ConfigError: a name is unknown, or a tracker does not start.
        MissingExtraError: a tracker is not installed.
    """
    from accelerate import tracking

    makers = {
        "tensorboard": lambda: tracking.TensorBoardTracker("", logging_dir=str(folder and folder / "logs")),
        "wandb": lambda: tracking.WandBTracker(PROJECT, name=run_name),
        "mlflow": lambda: tracking.MLflowTracker(PROJECT, run_name=run_name),
        "trackio": lambda: tracking.TrackioTracker(PROJECT, name=run_name),
    }
    plain = {
        key: value if isinstance(value, bool | int | float) else without_secrets(str(value))
        for key, value in settings.items()
    }
    names = tracker_names(log_to, folder)
    with _quiet_writers():
        try:
            for name in names if accelerator.is_main_process else ():
                tracker = makers[name]()
                _start(tracker, plain)
                accelerator.trackers.append(tracker)
            yield
        finally:
            for tracker in accelerator.trackers:
                tracker.finish()
            accelerator.trackers = []  # a process may train again, and report to others


@contextlib.contextmanager
def _quiet_writers() -> Iterator[None]:
    """TensorBoard's thread, which keeps what ended it for the next call to raise, prints no traceback besides."""
    before = threading.excepthook

    def told(what: threading.ExceptHookArgs) -> None:
        if not type(what.thread).__module__.startswith("tensorboard."):
            before(what)

    threading.excepthook = told
    try:
        yield
    finally:
        threading.excepthook = before


def _start(tracker: Any, settings: Mapping[str, Any]) -> None:
    try:
        tracker.start()
        if tracker.name != "tensorboard":  # it would show them as one more run, in a folder named by the time
            tracker.store_init_configuration(settings)
    except Exception as error:  # of whatever kind the tool raises where its server or login is not there
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"--log-to {tracker.name}: it did not start: {reason}") from error
