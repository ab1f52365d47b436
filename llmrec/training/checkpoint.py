"""Training state on disk: whole or absent, so that a killed training goes on where it was."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmrec.errors import ConfigError, ModelError, shown
from llmrec.files import sha256_of
from llmrec.output import disk_errors, sync
from llmrec.records import Count, read_record, record_text, write_record

__all__ = ["Progress", "checkpoints", "finish", "is_finished", "load_progress", "restore", "save_checkpoint"]

PROGRESS = "progress.json"

# T5's tied weights are one tensor under three names; that it is saved once is no news at every checkpoint.
logging.getLogger("accelerate.utils.other").setLevel(logging.ERROR)
FINISHED = "finished.json"


@dataclass(frozen=True)
class Progress:
    """Where a training stands.

    Attributes:
        step: Optimizer steps done.
        loss_sum: Training loss summed over the steps since the last validation.
        loss_steps: Their number.
        best_step: Step of the best validation so far, -1 before the first.
        best_score: Its score, higher is better; None before the first.
        seconds: Time it has taken, where that counts.
    """

    step: Count = 0
    loss_sum: float = 0.0
    loss_steps: Count = 0
    best_step: int = -1
    best_score: float | None = None
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if not -1 <= self.best_step <= self.step or (self.best_step < 0) != (self.best_score is None):
            raise ValueError(f"best at step {self.best_step} of {self.step}")


@dataclass(frozen=True)
class _State:
    progress: Progress
    settings: Mapping[str, Any]
    files: Mapping[str, str] = field(default_factory=dict)  # SHA-256 by name; an earlier version's record has none
    processes: Count = 0  # that wrote it; 0 in an earlier version's record


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, the oldest first; one that was being written when the process died is not among them."""
    return sorted(path for path in folder.glob("step-*") if (path / PROGRESS).is_file())


def save_checkpoint(accelerator: Any, folder: Path, progress: Progress, settings: Mapping[str, Any]) -> None:
    """Save weights, optimizer and random states of all processes; older checkpoints go when it is complete.

    Args:
        accelerator: `accelerate.Accelerator`; every process calls this.
        folder: Folder of checkpoints.
        progress: Where the training stands.
        settings: What a resumed training must have in common with this one.
    """
    target = folder / f"step-{progress.step:08d}"
    temporary = folder / f".{target.name}.tmp"
    with disk_errors(target):
        if accelerator.is_main_process:
            for unfinished in folder.glob(".step-*.tmp"):
                shutil.rmtree(unfinished, ignore_errors=True)
            temporary.mkdir(parents=True)
        accelerator.wait_for_everyone()
        accelerator.save_state(str(temporary))
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            written = [file for file in sorted(temporary.rglob("*")) if file.is_file()]
            digests = {file.relative_to(temporary).as_posix(): sha256_of(file) for file in written}
            state = _State(progress, settings, digests, accelerator.num_processes)
            (temporary / PROGRESS).write_text(record_text(state), encoding="utf-8")
            for file in (*written, temporary / PROGRESS):
                sync(file)
            shutil.rmtree(target, ignore_errors=True)
            temporary.rename(target)
            for path in folder.glob("step-*"):
                if path != target:
                    shutil.rmtree(path, ignore_errors=True)
        accelerator.wait_for_everyone()


def load_progress(folder: Path, settings: Mapping[str, Any]) -> Progress | None:
    """Progress of the newest checkpoint, or None where there is none.

    Raises:
        ConfigError: it was made with other settings; the first that differs is named.
        ModelError: its record is damaged.
    """
    found = checkpoints(folder)
    if not found:
        return None
    state = _read(found[-1] / PROGRESS)
    _same_settings(found[-1], state.settings, settings)
    return state.progress


def restore(accelerator: Any, folder: Path) -> None:
    """Load weights, optimizer and random states of the newest checkpoint into prepared objects.

    Raises:
        ModelError: its files cannot be read, or are not those that were written; or DeepSpeed wrote it with another
            number of processes.
    """
    newest = checkpoints(folder)[-1]
    wrote = _read(newest / PROGRESS).processes or accelerator.num_processes
    if accelerator.state.deepspeed_plugin is not None and wrote != accelerator.num_processes:
        raise ModelError(
            f"{newest}: under DeepSpeed the {wrote} processes that wrote it hold a part each; launch as many, or start "
            "over without --resume"
        )
    wrong = _changed_file(newest) if accelerator.is_main_process else None
    if accelerator.num_processes > 1:  # each says so, lest some wait for others
        from accelerate.utils import gather_object

        wrong = next((one for one in gather_object([wrong]) if one is not None), None)
    if wrong is not None:
        raise ModelError(f"{newest / wrong}: not as it was written; start over without --resume")
    try:
        accelerator.load_state(str(newest))
    except Exception as error:
        raise ModelError(f"{newest}: this checkpoint cannot be read; start over without --resume") from error


def _changed_file(checkpoint: Path) -> str | None:
    """Name of a file that the checkpoint's record knows and that is missing or another."""
    for name, digest in _read(checkpoint / PROGRESS).files.items():
        file = checkpoint / name
        if not file.resolve().is_relative_to(checkpoint.resolve()) or not file.is_file() or sha256_of(file) != digest:
            return name
    return None


def finish(folder: Path, progress: Progress, settings: Mapping[str, Any]) -> None:
    """Mark a training as complete and drop its checkpoints, which are several times the model's size."""
    write_record(folder / FINISHED, _State(progress, settings))
    for path in [*folder.glob("step-*"), *folder.glob(".step-*.tmp")]:
        shutil.rmtree(path, ignore_errors=True)


def is_finished(folder: Path, settings: Mapping[str, Any]) -> bool:
    """Whether a training with these settings is complete.

    Raises:
        ConfigError: it is complete, with other settings.
    """
    file = folder / FINISHED
    if not file.is_file():
        return False
    _same_settings(file, _read(file).settings, settings)
    return True


def _read(file: Path) -> _State:
    return read_record(file, _State, "start over without --resume", error=ModelError)


def _same_settings(where: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    for key, now in sorted(new.items()):  # a record of an earlier version has no word for what it did not have
        if key not in old and now:
            raise ConfigError(f"{where}: of an earlier version, which had no '{key}'; start over without --resume")
        if old.get(key) != now and (key in old or now):
            raise ConfigError(
                f"{where}: made with {key} {shown(old.get(key))}, now {shown(now)}; "
                "--resume needs the same settings, or start over without it"
            )
