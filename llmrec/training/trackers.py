"""Experiment trackers: ``--log-to tensorboard,wandb,mlflow,trackio,none``."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from llmrec.errors import ConfigError, MissingExtraError, nearest

__all__ = ["TRACKERS", "start_trackers", "stop_trackers", "tracker_names"]

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
        return ["tensorboard"] if folder is not None and find_spec("tensorboard") else []
    names = list(dict.fromkeys(name for name in log_to.replace(" ", "").split(",") if name not in ("", "none")))
    for name in names:
        if name not in TRACKERS:
            raise ConfigError(f"--log-to: unknown tracker '{name}'{nearest(name, (*TRACKERS, 'none'))}")
        if find_spec(name) is None:
            raise MissingExtraError(f"--log-to {name}: it is not installed; pip install {name}")
        if name == "tensorboard" and folder is None:
            raise ConfigError("--log-to tensorboard writes into the folder of the training; give --checkpoints DIR")
    return names


def start_trackers(
    accelerator: Any, log_to: str | None, folder: Path | None, run_name: str, settings: Mapping[str, Any]
) -> None:
    """Start the trackers that `accelerator.log` then reports to.

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
    plain = {key: value if isinstance(value, bool | int | float) else str(value) for key, value in settings.items()}
    names = tracker_names(log_to, folder)
    for name in names if accelerator.is_main_process else ():
        tracker = makers[name]()
        try:
            tracker.start()
            if name != "tensorboard":  # it would show them as one more run, in a folder named by the time
                tracker.store_init_configuration(plain)
        except Exception as error:  # of whatever kind the tool raises where its server or login is not there
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ConfigError(f"--log-to {name}: it did not start: {reason}") from error
        accelerator.trackers.append(tracker)


def stop_trackers(accelerator: Any) -> None:
    """Finish the runs: a process may train again, and report to others."""
    for tracker in accelerator.trackers:
        tracker.finish()
    accelerator.trackers = []
