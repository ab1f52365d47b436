"""The one loop of all trainings: a family brings a `Task`, the loop brings everything else.

The steps are a pure function of the settings, so a training that was killed and resumed ends with the weights of an
undisturbed one.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from accelerate.utils import broadcast
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from llmrec.console import notice, progress_bar
from llmrec.errors import ConfigError, ModelError
from llmrec.output import atomic_file
from llmrec.settings import deciding
from llmrec.training import checkpoint
from llmrec.training.checkpoint import Progress
from llmrec.training.history import read_history, write_history
from llmrec.training.nodes import require_same, require_shared, together
from llmrec.training.schedule import learning_rate_at
from llmrec.training.trackers import tracking

__all__ = ["WEIGHTS", "Task", "Validated", "run_training"]

WEIGHTS: Final = "weights.safetensors"
LOG_EVERY: Final = 10  # steps between two points of a tracker's curve
MINUTE_S: Final = 60.0
TELL_AFTER_S: Final = 1.0


class Validated(NamedTuple):
    """What a validation found.

    Attributes:
        score: Higher is better.
        values: For the history, by name.
        shown: For the user: ``loss 1.2345``.
    """

    score: float
    values: Mapping[str, float]
    shown: str


@dataclass(kw_only=True)
class Task:
    """What a family of models brings to the loop.

    Attributes:
        accelerator: `accelerate.Accelerator`.
        model: As the accelerator has prepared it.
        optimizers: The same. A parameter group's ``factor`` multiplies its learning rate.
        settings: What all families name alike: ``learning_rate``, ``schedule``, ``warmup_steps``, ``max_grad_norm``,
            ``checkpoint_every``, ``log_to``; and, where a family has them, ``eval_every`` (steps between validations,
            else an epoch), ``patience`` (epochs without a better score) and ``max_minutes``.
        steps_per_epoch: Batches of an epoch.
        total_steps: Steps where nothing stops the training early.
        evaluate: Scores the plain model, higher is better; None: there is nothing to validate on.
        metric: Name of that score.
        checkpoint_validated: Whether each validation is followed by a checkpoint.
    """

    accelerator: Any
    model: Any
    optimizers: Sequence[Any]
    settings: Any
    steps_per_epoch: int
    total_steps: int
    evaluate: Callable[[Any], float] | None = None
    metric: str = ""
    checkpoint_validated: bool = True
    best: dict[str, Tensor] = field(default_factory=dict)  # where there is no folder to keep it in

    @property
    def plain(self) -> Any:
        """The model without what `accelerate` wraps around it."""
        return self.accelerator.unwrap_model(self.model)

    def epoch(self, number: int, first: int, /) -> Iterable[Any]:
        """Batches of epoch ``number`` from the ``first`` on: the same for the same seed, on every process."""
        raise NotImplementedError

    def parts(self, batch: Any, /) -> Sequence[Any]:
        """What this process computes of a batch, in micro-batches whose gradients accumulate."""
        return [batch]

    def size(self, batch: Any, /) -> int:
        """What the summed loss of a batch, over all processes, is divided by."""
        raise NotImplementedError

    def loss(self, part: Any, step: int, /) -> Tensor:
        """Summed loss of a micro-batch."""
        raise NotImplementedError

    def part_size(self, _part: Any, /) -> int:
        """A micro-batch's part in `size`; 0 where losses are not told before a step is over."""
        return 0

    def precision(self) -> AbstractContextManager[None]:
        """What a micro-batch's loss, gradient and update are computed in; a loss may be in one of its own."""
        return nullcontext()

    def after_step(self) -> None:
        """Called after the optimizers' step, while the gradients are still there."""

    def validate(self) -> Validated | None:
        """Score the model; every process calls this."""
        if self.evaluate is None:
            return None
        score = float(np.float32(self.evaluate(self.plain)))  # a rounding error is no better score
        return Validated(score, {"score": score}, f"{self.metric} {score:.4f}")

    def weights(self) -> dict[str, Tensor]:
        """What is kept of the best state."""
        state: dict[str, Tensor] = self.plain.state_dict()
        return state

    def keep(self, folder: Path | None) -> None:
        """Keep the model's state as the best one; every process calls this."""
        if folder is None:
            self.best = {name: value.detach().cpu().clone() for name, value in self.weights().items()}
        elif self.accelerator.is_main_process:
            with atomic_file(folder / WEIGHTS) as temporary:
                save_file({name: one.detach().cpu().contiguous() for name, one in self.weights().items()}, temporary)

    def restore(self, folder: Path | None) -> None:
        """Load the state that was kept; every process calls this."""
        if folder is None:
            self.plain.load_state_dict(self.plain.state_dict() | self.best)
            return
        try:
            self.plain.load_state_dict(self.plain.state_dict() | load_file(folder / WEIGHTS))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise ModelError(f"{folder / WEIGHTS}: cannot be read; start over without --resume") from error


@dataclass
class _Run:
    """Everything one training touches; the functions below are its steps."""

    task: Task
    folder: Path | None
    decides: Mapping[str, Any]
    started: float = field(default_factory=time.monotonic)
    progress: Progress = field(default_factory=Progress)
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Time it has taken, that before a resumed checkpoint included."""
        return time.monotonic() - self.started

    def is_due(self, every: int) -> bool:
        """Whether it is the last step, or one of those ``every`` so many."""
        return self.progress.step % every == 0 or self.progress.step == self.task.total_steps


def run_training(
    task: Task,
    *,
    folder: Path | None,
    decides: Mapping[str, Any] | None = None,
    resume: bool = False,
    on_step: Callable[[int, float], None] | None = None,
) -> list[dict[str, Any]]:
    """Train a task's model in place; it ends with the weights that validation liked best, or the last without one.

    Args:
        task: What is trained, on what.
        folder: Where ``checkpoints``, ``history.jsonl``, ``logs`` and the best weights go; None: nowhere.
        decides: What a resumed training must have in common with this one; by itself what its settings say.
        resume: Go on from the newest checkpoint in ``folder``.
        on_step: Called with each step, from 0, and its mean loss.

    Returns:
        One entry a validation: ``step``, ``epoch``, ``train_loss``, the validation's values, ``seconds``, ``time``.

    Raises:
        ConfigError: ``folder`` holds a training with other settings, a tracker cannot be used, or a loss or a gradient
            is not finite: the training stops, and what was kept before that step stays.
        DiskError: a checkpoint cannot be written.
    """
    with together():
        return _training(_Run(task, folder, decides or deciding(task.settings, "weights")), resume, on_step)


def _training(run: _Run, resume: bool, on_step: Callable[[int, float], None] | None) -> list[dict[str, Any]]:
    task, folder = run.task, run.folder
    require_same(repr((sorted(run.decides.items()), task.steps_per_epoch, task.total_steps)), "the training")
    if folder is not None:
        require_shared(folder)
    if folder is not None and resume and checkpoint.is_finished(folder / "checkpoints", run.decides):
        task.restore(folder)
        return read_history(folder)
    if folder is not None and resume:
        _resume(run, folder)
    name = folder.name if folder is not None else type(task.settings).__name__.removesuffix("Settings").lower()
    tracked = tracking(task.accelerator, task.settings.log_to, folder, name, asdict(task.settings))
    with tracked, progress_bar() as bar:
        shown = bar.add_task("train", total=task.total_steps, completed=run.progress.step, note="")
        for batch in _batches(run):
            loss = _step(run, batch, lambda told: bar.update(shown, note=told))
            bar.update(shown, completed=run.progress.step, note=f"loss {loss:.3f}")
            if on_step is not None:
                on_step(run.progress.step - 1, loss)
            validated = run.is_due(getattr(task.settings, "eval_every", None) or task.steps_per_epoch)
            if validated:
                _validate(run)
            if (validated and task.checkpoint_validated) or run.is_due(task.settings.checkpoint_every):
                _save(run)
            if _time_is_up(run):
                break
        if run.progress.loss_steps:  # time was up between two validations
            _validate(run)
    _end(run)
    return run.history


def _resume(run: _Run, folder: Path) -> None:
    states, main = folder / "checkpoints", run.task.accelerator.is_main_process
    progress = checkpoint.load_progress(states, run.decides)
    if progress is not None:
        checkpoint.restore(run.task.accelerator, states)
        run.progress = progress
        run.started -= progress.seconds
        if main:
            notice(f"resumed at step {progress.step} of {run.task.total_steps}")
    run.history = read_history(folder, until=run.progress.step)  # what came later is about to be written again


def _batches(run: _Run) -> Iterator[Any]:
    """Batches from the current step on, until the last one or until validation has stopped rising."""
    while run.progress.step < run.task.total_steps and not _is_out_of_patience(run):
        epoch, first = divmod(run.progress.step, run.task.steps_per_epoch)
        for batch in itertools.islice(run.task.epoch(epoch, first), run.task.total_steps - run.progress.step):
            yield batch
            if _is_out_of_patience(run):
                return


def _is_out_of_patience(run: _Run) -> bool:
    best, patience = run.progress.best_step, getattr(run.task.settings, "patience", None)
    return patience is not None and best >= 0 and run.progress.step - best >= patience * run.task.steps_per_epoch


def _time_is_up(run: _Run) -> bool:
    """Whether ``max_minutes`` are over; clocks differ, and one of them counts."""
    most = getattr(run.task.settings, "max_minutes", None)
    return most is not None and bool(_agreed(run.task.accelerator, run.seconds >= most * MINUTE_S))


def _agreed(accelerator: Any, value: float) -> float:
    """One process's word for all, lest rounding or clocks send them different ways."""
    if accelerator.num_processes == 1:
        return value
    return float(broadcast(torch.tensor(value, dtype=torch.float64, device=accelerator.device)))


def _step(run: _Run, batch: Any, tell: Callable[[str], Any]) -> float:
    """One optimizer step; returns the batch's mean loss, the same on every process.

    Where its parts take long, ``tell`` is told of them and their mean loss so far.
    """
    task, settings, before = run.task, run.task.settings, run.progress
    accelerator, rate = task.accelerator, _rate(run)
    for group in itertools.chain.from_iterable(optimizer.param_groups for optimizer in task.optimizers):
        group["lr"] = rate * group.get("factor", 1.0)
    task.model.train()
    parts, size = task.parts(batch), task.size(batch)
    # Each backward is averaged over processes and micro-batches; the batch's mean undoes both.
    scale = accelerator.num_processes * len(parts) / size
    summed, done, told, norm = torch.zeros((), device=accelerator.device), 0, time.monotonic(), None
    for number, part in enumerate(parts, 1):
        with accelerator.accumulate(task.model), task.precision():
            loss = task.loss(part, before.step)
            accelerator.backward(loss * scale)
            summed += loss.detach()
            if accelerator.sync_gradients and settings.max_grad_norm is not None:
                norm = accelerator.clip_grad_norm_(_dense(task.model), settings.max_grad_norm)
            for optimizer in task.optimizers:
                optimizer.step()
            if accelerator.sync_gradients:
                task.after_step()
            for optimizer in task.optimizers:
                optimizer.zero_grad()
        done += task.part_size(part)
        if number < len(parts) and done and time.monotonic() - told > TELL_AFTER_S:  # not oftener: it waits for a GPU
            told = time.monotonic()
            tell(f"part {number} of {len(parts)} of step {before.step + 1}, loss {float(summed) / done:.3f}")
    mean = float(accelerator.reduce(summed, reduction="sum")) / size
    step = before.step + 1
    if not math.isfinite(mean) or not math.isfinite(0.0 if norm is None else float(norm)):
        raise ConfigError(_diverged(run, step, "the loss" if not math.isfinite(mean) else "the gradient"))
    run.progress = replace(before, step=step, loss_sum=before.loss_sum + mean, loss_steps=before.loss_steps + 1)
    if step % LOG_EVERY == 0:
        accelerator.log({"train/loss": mean, "train/learning_rate": rate}, step=step)
    return mean


def _diverged(run: _Run, step: int, what: str) -> str:
    """What a training that cannot go on leaves, and what to try: nothing of this step has been saved."""
    left = ""
    if run.folder is not None:
        saved = checkpoint.checkpoints(run.folder / "checkpoints")
        kept = [f"the best state so far (step {run.progress.best_step})"] if run.progress.best_step >= 0 else []
        kept += [f"the checkpoint {saved[-1].name}"] if saved else []
        left = f"; {run.folder} keeps {' and '.join(kept)}" if kept else ""
    return (
        f"step {step}: {what} is not a finite number, so the training stops{left}; try a lower learning rate, more "
        "warmup steps, a smaller max_grad_norm, or bf16 or no mixed precision"
    )


def _rate(run: _Run) -> float:
    settings = run.task.settings
    return learning_rate_at(
        run.progress.step,
        peak=settings.learning_rate,
        total_steps=run.task.total_steps,
        warmup_steps=settings.warmup_steps,
        schedule=settings.schedule,
    )


def _dense(model: Any) -> list[Tensor]:
    """Parameters whose gradients can be clipped together."""
    return [one for one in model.parameters() if one.grad is None or not one.grad.is_sparse]


def _validate(run: _Run) -> None:
    """Score the model, keep it if it is the best so far, and note how it went."""
    task, before, shown = run.task, run.progress, ""
    _check_weights(run)
    train_loss = before.loss_sum / max(1, before.loss_steps)
    entry = {"step": before.step, "epoch": round(before.step / task.steps_per_epoch, 4), "train_loss": train_loss}
    run.progress = replace(before, loss_sum=0.0, loss_steps=0)
    task.model.eval()
    found = task.validate()
    if found is not None:
        score = _agreed(task.accelerator, found.score)
        shown = f", validation {found.shown}"
        if score > (-math.inf if before.best_score is None else before.best_score):
            run.progress = replace(run.progress, best_step=before.step, best_score=score)
            task.keep(run.folder)
            shown += " (best so far)"
        entry |= found.values
    run.history.append(entry | {"seconds": round(run.seconds, 3), "time": round(time.time(), 3)})
    task.accelerator.log({f"validation/{key}": value for key, value in entry.items()}, step=before.step)
    if task.accelerator.is_main_process:
        notice(f"step {before.step}/{run.task.total_steps}: training loss {train_loss:.4f}{shown}, {run.seconds:.0f} s")
        if run.folder is not None:
            write_history(run.folder, run.history)


def _check_weights(run: _Run) -> None:
    """Stop before weights that a step has broken replace good ones: the loss tells only a step later."""
    for one in run.task.model.parameters():
        if one.is_floating_point() and not one.detach().sum(dtype=torch.float32).isfinite():
            raise ConfigError(_diverged(run, run.progress.step, "a weight"))


def _save(run: _Run) -> None:
    if run.folder is not None and run.progress.step < run.task.total_steps:  # then it is complete
        _check_weights(run)
        run.progress = replace(run.progress, seconds=run.seconds)
        checkpoint.save_checkpoint(run.task.accelerator, run.folder / "checkpoints", run.progress, run.decides)


def _end(run: _Run) -> None:
    """Load the best weights, or keep the last where nothing was scored, and mark the training as complete."""
    task = run.task
    if run.progress.best_step < 0:
        task.keep(run.folder)
    task.accelerator.wait_for_everyone()
    task.restore(run.folder)
    if run.folder is not None and task.accelerator.is_main_process:
        checkpoint.finish(run.folder / "checkpoints", run.progress, run.decides)
    task.accelerator.wait_for_everyone()
