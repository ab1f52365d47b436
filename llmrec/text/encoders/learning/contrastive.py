"""Contrastive training of an encoder on pairs of items seen together, by `accelerate`.

Each item of a pair has to tell its partner from the other items of the batch. Items that are known to be seen together,
that are the same, or that have the same text are no negatives. The batches are drawn from seed and epoch, so a resumed
training ends with the weights of an undisturbed one; vectors are gathered from all processes, so several learn as one.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, broadcast
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # as everybody writes it

from llmrec.console import notice, progress_bar
from llmrec.errors import ConfigError, DataError
from llmrec.files import atomic_file, write_text
from llmrec.settings import deciding
from llmrec.text.encoders.base import Floats
from llmrec.text.encoders.learning.pairs import Pairs
from llmrec.text.encoders.learning.settings import EncoderSettings
from llmrec.text.encoders.learning.students import Student
from llmrec.training import checkpoint
from llmrec.training.checkpoint import Progress
from llmrec.training.devices import name_processor
from llmrec.training.schedule import learning_rate_at

__all__ = ["contrastive_loss", "train_encoder"]

Ints = NDArray[np.int64]

WEIGHTS: Final = "weights.safetensors"
HISTORY: Final = "history.jsonl"
MINED: Final = "negatives.safetensors"
SPARE: Final = 50  # nearest items looked at beyond those wanted, for those seen together stand nearest
Finder = Callable[[Floats], Callable[[Floats, int], Ints]]  # vectors → (queries, k) → their k nearest rows, -1 beyond


@dataclass
class _Training:
    """Everything one training touches; the functions below are its steps."""

    accelerator: Accelerator
    student: Any  # as `accelerate` has wrapped it
    optimizer: Any
    pairs: Pairs
    same_text: Ints  # one number for each distinct text, shape (N,)
    settings: EncoderSettings
    validate: Callable[[Student], float]
    folder: Path
    progress: Progress = field(default_factory=Progress)
    history: list[dict[str, float]] = field(default_factory=list)
    finder: Finder | None = None
    mined: Ints | None = None

    @property
    def plain(self) -> Student:
        """The student without what `accelerate` wraps around it."""
        student: Student = self.accelerator.unwrap_model(self.student)
        return student

    @cached_property
    def log_chances(self) -> NDArray[np.float32]:
        """Logarithm of how often an item stands in a batch of pairs, shape ``(N,)``."""
        pairs, num = self.pairs, self.pairs.num_items
        sums = np.bincount(pairs.first, pairs.weights, num) + np.bincount(pairs.second, pairs.weights, num)
        logs: NDArray[np.float32] = np.log(np.maximum(sums / sums.sum(), 1e-12)).astype(np.float32)
        return logs

    @property
    def log_even(self) -> float:
        """The same for an item drawn evenly."""
        return -math.log(self.pairs.num_items)

    @property
    def steps_per_epoch(self) -> int:
        """Steps between validations."""
        return max(1, len(self.pairs) // self.settings.batch_size)

    @property
    def total_steps(self) -> int:
        """Steps where nothing stops the training early."""
        steps = self.settings.max_epochs * self.steps_per_epoch
        return min(steps, self.settings.max_steps or steps)

    @property
    def is_over(self) -> bool:
        """Whether validation has stopped rising."""
        best = self.progress.best_step
        return best >= 0 and self.progress.step - best >= self.settings.patience * self.steps_per_epoch


def train_encoder(
    student: Student,
    pairs: Pairs,
    same_text: Ints,
    settings: EncoderSettings,
    *,
    validate: Callable[[Student], float],
    folder: Path,
    resume: bool = False,
    finder: Finder | None = None,
) -> list[dict[str, float]]:
    """Train a student in place; it ends with the weights that validation liked best.

    Args:
        student: What to train.
        pairs: Items seen together.
        same_text: A number for each item that items of the same text share, shape ``(N,)``.
        settings: How.
        validate: Gives a score, higher is better, after each epoch.
        folder: Where checkpoints, ``history.jsonl`` and the best weights go.
        resume: Go on from the newest checkpoint there.
        finder: Makes an index of vectors, which hard negatives are looked up in.

    Returns:
        One entry an epoch: step, training loss and validation score.

    Raises:
        ConfigError: ``folder`` holds a training with other settings, the batch cannot be shared, or hard negatives are
            asked for without a ``finder``.
        DataError: there is no pair to learn from.
    """
    if not len(pairs):
        raise DataError("no two items are seen together in the training sessions; give more sessions to --train")
    states = folder / "checkpoints"
    if resume and checkpoint.is_finished(states, deciding(settings, "weights")):
        student.load_state_dict(load_file(folder / WEIGHTS), strict=False)
        return _read_history(folder)
    run = _prepare(student, pairs, same_text, settings, validate, folder)
    run.finder = finder
    if resume:
        _resume(run)
    with progress_bar() as bar:
        task = bar.add_task("train", total=run.total_steps, completed=run.progress.step, note="")
        for batch in _batches(run):
            if settings.hard_negatives and run.progress.step % run.steps_per_epoch == 0:
                _mine(run)
            loss = _step(run, batch)
            bar.update(task, completed=run.progress.step, note=f"loss {loss:.3f}")
            if run.progress.step % run.steps_per_epoch == 0 or run.progress.step == run.total_steps:
                _end_epoch(run)
            elif run.progress.step % settings.checkpoint_every == 0:
                checkpoint.save_checkpoint(run.accelerator, states, run.progress, deciding(settings, "weights"))
            if run.is_over:
                break
    run.plain.load_state_dict(load_file(folder / WEIGHTS), strict=False)
    if run.accelerator.is_main_process:
        checkpoint.finish(states, run.progress, deciding(settings, "weights"))
    run.accelerator.wait_for_everyone()
    return run.history


def _prepare(
    student: Student,
    pairs: Pairs,
    same_text: Ints,
    settings: EncoderSettings,
    validate: Callable[[Student], float],
    folder: Path,
) -> _Training:
    name_processor()
    accelerator = Accelerator(kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)])
    for name in ("batch_size", "random_negatives"):
        if getattr(settings, name) % accelerator.num_processes:
            shared = f"{getattr(settings, name)} cannot be shared evenly by {accelerator.num_processes} processes"
            raise ConfigError(f"{name}: {shared}; give a multiple of it")
    torch.manual_seed(settings.seed + accelerator.process_index)  # dropout
    learnt = [one for one in student.parameters() if one.requires_grad]
    optimizer = torch.optim.Adam(learnt, lr=settings.learning_rate)
    wrapped, prepared = accelerator.prepare(student, optimizer)
    folder.mkdir(parents=True, exist_ok=True)
    return _Training(accelerator, wrapped, prepared, pairs, same_text, settings, validate, folder)


def _resume(run: _Training) -> None:
    states = run.folder / "checkpoints"
    progress = checkpoint.load_progress(states, deciding(run.settings, "weights"))
    if progress is None:
        return
    checkpoint.restore(run.accelerator, states)
    run.progress = progress
    run.history = [entry for entry in _read_history(run.folder) if entry["step"] <= progress.step]
    if (run.folder / MINED).is_file():
        run.mined = load_file(run.folder / MINED)["negatives"].numpy()
    notice(f"resumed at step {progress.step} of {run.total_steps}")


def _batches(run: _Training) -> Iterator[tuple[Ints, Ints]]:
    """Pairs of each step from the current one on, drawn by their weights, either item first."""
    size, chances = run.settings.batch_size, run.pairs.weights / run.pairs.weights.sum()
    first_epoch, first = divmod(run.progress.step, run.steps_per_epoch)
    for epoch in range(first_epoch, run.settings.max_epochs):
        chance = np.random.default_rng((run.settings.seed, epoch))
        drawn = chance.choice(len(run.pairs), size=(run.steps_per_epoch, size), p=chances)
        turned = chance.random(drawn.shape) < 0.5
        one, other = run.pairs.first[drawn], run.pairs.second[drawn]
        for step in range(first, run.steps_per_epoch):
            if run.progress.step >= run.total_steps:
                return
            yield np.where(turned[step], other[step], one[step]), np.where(turned[step], one[step], other[step])
        first = 0


def _step(run: _Training, batch: tuple[Ints, Ints]) -> float:
    """One optimizer step; returns the batch's loss, the same on every process."""
    settings, step, device = run.settings, run.progress.step, run.accelerator.device
    rate = learning_rate_at(
        step,
        peak=settings.learning_rate,
        total_steps=run.total_steps,
        warmup_steps=settings.warmup_steps,
        schedule=settings.schedule,
    )
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    run.student.train()
    one, other = batch
    further = _further_negatives(run, one)
    columns = np.concatenate([other, *further])
    with run.accelerator.autocast():
        vectors = _encoded(run, [one, other, *further])
    allowed = torch.from_numpy(~_false_negatives(run, one[:, None], columns[None, :])).to(device)
    shift = torch.from_numpy(settings.logq * run.log_chances).to(device)
    shifts = torch.cat(
        [shift[other], torch.full((len(columns) - len(other),), settings.logq * run.log_even).to(device)]
    )
    loss = contrastive_loss(vectors[: len(one)], vectors[len(one) :], allowed, settings.temperature, shift[one], shifts)
    run.accelerator.backward(loss)
    run.accelerator.clip_grad_norm_(run.student.parameters(), settings.max_grad_norm)
    run.optimizer.step()
    run.optimizer.zero_grad()
    before = run.progress
    value = float(loss.detach())
    run.progress = replace(before, step=step + 1, loss_sum=before.loss_sum + value, loss_steps=before.loss_steps + 1)
    return value


def _further_negatives(run: _Training, one: Ints) -> list[Ints]:
    """Items beside the batch's own: a hard one for each first item, and some drawn evenly; alike on all processes."""
    settings, chance = run.settings, np.random.default_rng((run.settings.seed, 1, run.progress.step))
    further = []
    if run.mined is not None:
        further.append(run.mined[one, chance.integers(run.mined.shape[1], size=len(one))])
    if settings.random_negatives:
        further.append(chance.integers(run.pairs.num_items, size=settings.random_negatives))
    return further


def _encoded(run: _Training, parts: list[Ints]) -> Tensor:
    """Vectors of all parts, one after another; each process computes its share of each part."""
    rank, processes = run.accelerator.process_index, run.accelerator.num_processes
    mine = np.concatenate([np.array_split(part, processes)[rank] for part in parts])
    vectors: Tensor = run.student(mine).float()
    if processes == 1:
        return vectors
    from torch.distributed.nn.functional import all_gather

    # its gradient is summed over processes and then averaged over them: that of one process with the whole batch
    gathered = all_gather(vectors)  # type: ignore[no-untyped-call]
    ends = np.cumsum([0, *(len(part) // processes for part in parts)])
    return torch.cat([whole[start:end] for start, end in itertools.pairwise(ends) for whole in gathered])


def contrastive_loss(
    one: Tensor, other: Tensor, allowed: Tensor, temperature: float, row_shift: Tensor, column_shift: Tensor
) -> Tensor:
    """InfoNCE in both directions.

    Args:
        one: Vectors of length 1, shape ``(B, D)``.
        other: Those of their partners, then of further negatives, shape ``(B + H, D)``.
        allowed: Whether a column may count as a negative of a row, shape ``(B, B + H)``; a partner always counts.
        temperature: Cosines are divided by it.
        row_shift: Taken from a row's scores as a candidate, shape ``(B,)``: the logarithm of its chance to be one.
        column_shift: The same for columns, shape ``(B + H,)``.
    """
    size = len(one)
    right = torch.arange(size, device=one.device)
    counts = allowed.clone()
    counts[right, right] = True
    scores = (one @ other.T / temperature).masked_fill(~counts, -torch.inf)
    forward = F.cross_entropy(scores - column_shift, right)
    return (forward + F.cross_entropy(scores[:, :size].T - row_shift, right)) / 2


def _false_negatives(run: _Training, rows: Ints, columns: Ints) -> NDArray[np.bool_]:
    """Whether items must not count as wrong for others; of the shape that the two arrays broadcast to."""
    found: NDArray[np.bool_] = run.pairs.known(rows, columns) | (run.same_text[rows] == run.same_text[columns])
    return found


def _mine(run: _Training) -> None:
    """The nearest items of each item that are no false negatives, by the student as it is now."""
    if run.finder is None:
        raise ConfigError("hard_negatives needs an index; give train_encoder a finder")
    vectors = run.plain.vectors()
    nearest, num = run.finder(vectors), min(run.settings.hard_negatives, len(vectors) - 1)
    run.mined = np.zeros((len(vectors), num), dtype=np.int64)
    for start in range(0, len(vectors), 512):
        rows = np.arange(start, min(start + 512, len(vectors)))[:, None]
        found = nearest(vectors[rows[:, 0]], min(num + SPARE, len(vectors)))
        found = np.where(found < 0, rows, found)  # an item is no negative of itself, so this one counts for nothing
        order = np.argsort(_false_negatives(run, rows, found), axis=1, kind="stable")[:, :num]
        run.mined[rows[:, 0]] = np.take_along_axis(found, order, axis=1)
    if run.accelerator.is_main_process:
        with atomic_file(run.folder / MINED) as temporary:
            save_file({"negatives": torch.from_numpy(run.mined)}, temporary)


def _end_epoch(run: _Training) -> None:
    """Validate, keep the best weights, note how it went, and leave a checkpoint."""
    before = run.progress
    score = float(broadcast(torch.tensor(run.validate(run.plain), device=run.accelerator.device)))
    entry = {"step": before.step, "train_loss": before.loss_sum / max(1, before.loss_steps), "score": score}
    run.progress = replace(before, loss_sum=0.0, loss_steps=0)
    best = score > before.best_score
    if best:
        run.progress = replace(run.progress, best_step=before.step, best_score=score)
    run.history.append(entry)
    if run.accelerator.is_main_process:
        if best:
            learnt = {name for name, value in run.plain.named_parameters() if value.requires_grad}
            state = {name: one for name, one in run.plain.state_dict().items() if name in learnt}
            with atomic_file(run.folder / WEIGHTS) as temporary:
                save_file({name: one.detach().cpu().contiguous() for name, one in state.items()}, temporary)
        shown = f"validation recall {score:.4f}{' (best so far)' if best else ''}"
        notice(f"step {before.step}/{run.total_steps}: loss {entry['train_loss']:.4f}, {shown}")
        lines = "".join(json.dumps({**one, "time": round(time.time(), 3)}) + "\n" for one in run.history)
        write_text(run.folder / HISTORY, lines)
    checkpoint.save_checkpoint(
        run.accelerator, run.folder / "checkpoints", run.progress, deciding(run.settings, "weights")
    )


def _read_history(folder: Path) -> list[dict[str, float]]:
    file = folder / HISTORY
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.is_file() else []
