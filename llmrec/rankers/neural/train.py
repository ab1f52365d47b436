"""Training of neural rankers on prefixes of sessions, by `accelerate`.

The loss of a step is the mean over its whole batch, however many processes share it, and negatives are drawn from the
seed and the step: the same settings are the same training on one device or eight, undisturbed or resumed.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, broadcast
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from llmrec.console import notice, progress_bar
from llmrec.files import atomic_file, write_text
from llmrec.rankers.neural.losses import NegativeSampler
from llmrec.rankers.neural.prefixes import BatchPlan, Prefixes, share_of
from llmrec.rankers.neural.scorer import Scorer
from llmrec.rankers.neural.settings import NeuralSettings
from llmrec.settings import deciding
from llmrec.training import checkpoint
from llmrec.training.checkpoint import Progress
from llmrec.training.devices import name_processor
from llmrec.training.schedule import learning_rate_at

__all__ = ["Batch", "train_scorer"]

Ints = NDArray[np.int64]
Batch = tuple[Ints, Ints, Ints]  # rows read (B, L), their numbers (B,), target rows (B,)

WEIGHTS: Final = "weights.safetensors"
MINUTE_S: Final = 60.0


@dataclass
class _Training:
    """Everything one training touches; the functions below are its steps."""

    accelerator: Accelerator
    scorer: Any  # the Scorer as `accelerate` has wrapped it
    optimizers: list[Any]
    settings: NeuralSettings
    prefixes: Prefixes
    plan: BatchPlan
    sampler: NegativeSampler
    validate: Callable[[Scorer], float] | None
    folder: Path | None
    batches: Sequence[Batch] | None
    started: float
    anchor: Tensor | None = None  # where item vectors started, if they must stay near it
    progress: Progress = field(default_factory=Progress)
    best: dict[str, Tensor] | None = None
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def total_steps(self) -> int:
        """Steps where nothing stops the training early."""
        return self.steps_per_epoch if self.batches is not None else self.settings.max_epochs * self.steps_per_epoch

    @property
    def steps_per_epoch(self) -> int:
        """Steps between validations; given batches are one epoch."""
        return self.plan.steps_per_epoch if self.batches is None else len(self.batches)

    @property
    def plain(self) -> Scorer:
        """The scorer without what `accelerate` wraps around it."""
        scorer: Scorer = self.accelerator.unwrap_model(self.scorer)
        return scorer


def train_scorer(
    scorer: Scorer,
    prefixes: Prefixes,
    settings: NeuralSettings,
    *,
    validate: Callable[[Scorer], float] | None = None,
    folder: Path | None = None,
    resume: bool = False,
    batches: Sequence[Batch] | None = None,
    on_step: Callable[[int, float], None] | None = None,
) -> list[dict[str, float]]:
    """Train a scorer in place; it ends with the weights that validation liked best.

    Args:
        scorer: What to train.
        prefixes: Examples to learn from.
        settings: How.
        validate: Gives a score, higher is better, after each epoch. Without it the last weights stay.
        folder: Where checkpoints and ``history.jsonl`` go; none are written without it.
        resume: Go on from the newest checkpoint in ``folder``, to the weights of an undisturbed training.
        batches: Batches to train on, once each, in the place of those drawn from ``prefixes``.
        on_step: Is told each step, from 0, and its mean loss.

    Returns:
        One entry an epoch: step, training loss, validation score and seconds.

    Raises:
        ConfigError: ``folder`` holds a training with other settings.
        DiskError: a checkpoint cannot be written.
    """
    if folder is not None and resume and checkpoint.is_finished(folder / "checkpoints", deciding(settings, "weights")):
        scorer.load_state_dict(load_file(folder / WEIGHTS))
        return _read_history(folder)
    run = _prepare(scorer, prefixes, settings, validate, folder, batches)
    if folder is not None and resume:
        _resume(run, folder)
    with progress_bar() as bar:
        task = bar.add_task("train", total=run.total_steps, completed=run.progress.step, note="")
        for chosen in _remaining(run):
            loss = _step(run, chosen)
            if on_step is not None:
                on_step(run.progress.step - 1, loss)
            bar.update(task, completed=run.progress.step, note=f"loss {loss:.3f}")
            if run.progress.step % run.steps_per_epoch == 0 or run.progress.step == run.total_steps:
                _end_epoch(run)
            elif folder is not None and run.progress.step % settings.checkpoint_every == 0:
                _save(run, folder)
            if _is_over(run):
                break
    if run.progress.loss_steps:  # time was up within an epoch
        _end_epoch(run)
    if run.best is not None:
        run.plain.load_state_dict(run.best)
    if folder is not None and run.accelerator.is_main_process:
        _write_weights(folder, run.plain.state_dict())
        checkpoint.finish(folder / "checkpoints", run.progress, deciding(settings, "weights"))
    run.accelerator.wait_for_everyone()
    return run.history


def _prepare(
    scorer: Scorer,
    prefixes: Prefixes,
    settings: NeuralSettings,
    validate: Callable[[Scorer], float] | None,
    folder: Path | None,
    batches: Sequence[Batch] | None,
) -> _Training:
    name_processor()
    accelerator = Accelerator(kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)])
    torch.manual_seed(settings.seed + accelerator.process_index)  # dropout; the weights are there already
    optimizers = _optimizers(scorer, settings)
    wrapped, *prepared = accelerator.prepare(scorer, *optimizers)
    anchor = None
    if settings.delta_norm is not None:
        anchor = accelerator.unwrap_model(wrapped).model.item_embedding.weight.detach().clone()
    counts = np.bincount(prefixes.items[prefixes.targets], minlength=scorer.model.item_embedding.num_embeddings - 1)
    return _Training(
        accelerator=accelerator,
        scorer=wrapped,
        optimizers=prepared,
        settings=settings,
        prefixes=prefixes,
        plan=BatchPlan(prefixes.lengths, settings.batch_size, settings.seed),
        sampler=NegativeSampler(counts, settings.negative_power),
        validate=validate,
        folder=folder,
        batches=batches,
        started=time.monotonic(),
        anchor=anchor,
    )


def _optimizers(scorer: Scorer, settings: NeuralSettings) -> list[torch.optim.Optimizer]:
    """Adam for everything; where the item table's gradients name its used rows alone, one that updates only these."""
    table = scorer.model.item_embedding.weight
    table.requires_grad_(not settings.freeze_items)
    for parameter in scorer.model.parameters():
        if parameter is not table and settings.freeze_encoder:
            parameter.requires_grad_(False)
    others = [one for one in scorer.parameters() if one is not table and one.requires_grad]
    groups = [{"params": others, "factor": 1.0}] if others else []
    item_group = {"params": [table], "factor": settings.item_learning_rate}
    if not table.requires_grad:
        return [torch.optim.Adam(groups, lr=settings.learning_rate)]
    if not scorer.row_updates:
        groups.append(item_group)
        return [torch.optim.Adam(groups, lr=settings.learning_rate, fused=True)]
    rows = torch.optim.SparseAdam([item_group], lr=settings.learning_rate)
    return [torch.optim.Adam(groups, lr=settings.learning_rate), rows] if groups else [rows]


def _resume(run: _Training, folder: Path) -> None:
    states = folder / "checkpoints"
    progress = checkpoint.load_progress(states, deciding(run.settings, "weights"))
    if progress is None:
        return
    checkpoint.restore(run.accelerator, states)
    run.progress = progress
    run.started -= progress.seconds
    if progress.best_step >= 0:
        run.best = load_file(folder / WEIGHTS)
    run.history = [entry for entry in _read_history(folder) if entry["step"] <= progress.step]
    notice(f"resumed at step {progress.step} of {run.total_steps}")


def _remaining(run: _Training) -> Iterator[Batch | Ints]:
    """Batches from the current step on; those given as they are, the others as places in the examples."""
    if run.batches is not None:
        yield from run.batches[run.progress.step :]
        return
    epoch, first = divmod(run.progress.step, run.steps_per_epoch)
    for number in range(epoch, run.settings.max_epochs):
        yield from run.plan.epoch(number, first)
        first = 0


def _is_over(run: _Training) -> bool:
    """Whether validation has stopped rising, or time is up; the same on every process."""
    progress, settings = run.progress, run.settings
    if progress.best_step >= 0 and progress.step - progress.best_step >= settings.patience * run.steps_per_epoch:
        return True
    if settings.max_minutes is None:
        return False
    late = time.monotonic() - run.started >= settings.max_minutes * MINUTE_S
    return bool(broadcast(torch.tensor(late, device=run.accelerator.device)))  # clocks differ; one of them counts


def _step(run: _Training, chosen: Batch | Ints) -> float:
    """One optimizer step; returns the batch's mean loss, the same on every process."""
    accelerator, settings, step = run.accelerator, run.settings, run.progress.step
    processes = accelerator.num_processes
    if isinstance(chosen, tuple):
        size, batch = len(chosen[1]), chosen
    else:
        size, batch = len(chosen), run.prefixes.batch(share_of(chosen, accelerator.process_index, processes))
    # A process without a share of its own stands in with an example that must not count.
    counts = 1.0 if accelerator.process_index < size else 0.0
    rate = learning_rate_at(
        step,
        peak=settings.learning_rate,
        total_steps=run.total_steps,
        warmup_steps=settings.warmup_steps,
        schedule=settings.schedule,
    )
    for optimizer in run.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * group["factor"]
    run.scorer.train()
    with _precision(run):
        loss = _loss(run, batch, step) * counts
    accelerator.backward(loss * (processes / size))  # gradients are averaged over processes
    if settings.max_grad_norm is not None:
        accelerator.clip_grad_norm_(_dense(run), settings.max_grad_norm)
    for optimizer in run.optimizers:
        optimizer.step()
    if run.anchor is not None and settings.delta_norm is not None:
        _stay_near(run.plain.model.item_embedding.weight, run.anchor, settings.delta_norm * settings.init_scale)
    for optimizer in run.optimizers:
        optimizer.zero_grad()
    mean = float(accelerator.reduce(loss.detach(), reduction="sum")) / size
    before = run.progress
    run.progress = replace(before, step=step + 1, loss_sum=before.loss_sum + mean, loss_steps=before.loss_steps + 1)
    return mean


def _loss(run: _Training, batch: Batch, step: int) -> Tensor:
    settings, device = run.settings, run.accelerator.device
    tensors = [torch.from_numpy(part).to(device) for part in batch]
    sampling = {}
    if settings.loss == "sampled":
        drawn = run.sampler.draw(settings.num_negatives, (settings.seed, step))
        sampling = {
            "drawn": torch.from_numpy(drawn + 1).to(device),
            "log_odds": torch.from_numpy(run.sampler.log_odds[drawn]).to(device),
            "strength": settings.logq,
        }
    loss: Tensor = run.scorer(*tensors, settings.loss, padding_class=settings.padding_class, **sampling)
    return loss


@torch.no_grad()
def _stay_near(table: Tensor, anchor: Tensor, most: float) -> None:
    """Bring rows that a step took farther than ``most`` from the anchor back to that distance ("Let It Go?", 2025)."""
    sparse = table.grad is not None and table.grad.is_sparse
    rows = table.grad.coalesce().indices()[0] if sparse and table.grad is not None else slice(None)
    moved = table[rows] - anchor[rows]
    length = torch.linalg.vector_norm(moved, dim=1, keepdim=True)
    table[rows] = anchor[rows] + moved * (most / length.clamp(min=most))


def _dense(run: _Training) -> list[Tensor]:
    """Parameters whose gradients can be clipped together."""
    return [one for one in run.plain.parameters() if one.grad is not None and not one.grad.is_sparse]


@contextlib.contextmanager
def _precision(run: _Training) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        stack.enter_context(run.accelerator.autocast())
        if run.settings.bf16:
            stack.enter_context(torch.autocast(run.accelerator.device.type, torch.bfloat16))
        yield


def _end_epoch(run: _Training) -> None:
    """Validate, keep the best weights, and note how it went."""
    before = run.progress
    seconds = time.monotonic() - run.started
    entry = {"step": before.step, "train_loss": before.loss_sum / max(1, before.loss_steps), "seconds": seconds}
    run.progress = replace(before, loss_sum=0.0, loss_steps=0, seconds=seconds)
    if run.validate is not None:
        run.plain.eval()
        # One process's word, lest rounding sends them different ways.
        score = float(broadcast(torch.tensor(run.validate(run.plain), device=run.accelerator.device)))
        entry["score"] = score
        if score > before.best_score:
            run.progress = replace(run.progress, best_step=before.step, best_score=score)
            run.best = {name: value.detach().cpu().clone() for name, value in run.plain.state_dict().items()}
            if run.folder is not None and run.accelerator.is_main_process:
                _write_weights(run.folder, run.best)
    run.history.append(entry)
    if run.accelerator.is_main_process:
        shown = f", validation mrr@100 {entry['score']:.4f}" if "score" in entry else ""
        notice(f"step {before.step}/{run.total_steps}: loss {entry['train_loss']:.4f}{shown}, {seconds:.0f} s")
        if run.folder is not None:
            lines = "".join(json.dumps(one) + "\n" for one in run.history)
            write_text(run.folder / "history.jsonl", lines)
    if run.folder is not None:
        _save(run, run.folder)


def _save(run: _Training, folder: Path) -> None:
    run.progress = replace(run.progress, seconds=time.monotonic() - run.started)
    checkpoint.save_checkpoint(run.accelerator, folder / "checkpoints", run.progress, deciding(run.settings, "weights"))


def _write_weights(folder: Path, weights: dict[str, Tensor]) -> None:
    with atomic_file(folder / WEIGHTS) as temporary:
        save_file({name: value.detach().cpu().contiguous() for name, value in weights.items()}, temporary)


def _read_history(folder: Path) -> list[dict[str, float]]:
    file = folder / "history.jsonl"
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.is_file() else []
