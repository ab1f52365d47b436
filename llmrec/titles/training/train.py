"""Fine-tuning a sequence-to-sequence or causal model on prompt sessions, by `accelerate`.

The loss of a step is the mean over the title tokens of its whole batch, however many devices and micro-batches share
it, so the same recipe means the same training on one device or eight.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch.nn import functional

from llmrec.console import notice, progress_bar
from llmrec.errors import ConfigError, DataError
from llmrec.titles.decoding.decode import pad_prompts, validation_bleu
from llmrec.titles.models.causal import IGNORED, causal_title_loss, check_packing, is_causal
from llmrec.titles.models.model import ModelCard, save_model
from llmrec.titles.prompting.prompt_sessions import TrainingSessions
from llmrec.titles.settings import GenerateConfig
from llmrec.titles.training.batches import BatchPlan, pad, read_tokens, token_lengths
from llmrec.training import checkpoint
from llmrec.training.checkpoint import Progress
from llmrec.training.schedule import learning_rate_at

__all__ = ["micro_batches", "title_loss", "title_loss_of", "train", "validation_loss"]

TitleLoss = Callable[[Any, Mapping[str, list[list[int]]], Any], torch.Tensor]
LOG_EVERY = 10


def micro_batches(batch_size: int, micro_batch_size: int | None, num_processes: int) -> int:
    """Micro-batches that one process accumulates in a step so that none exceeds ``micro_batch_size`` sessions."""
    if micro_batch_size is None:
        return 1
    return max(1, math.ceil(batch_size / (num_processes * micro_batch_size)))


def title_loss(model: Any, rows: Mapping[str, list[list[int]]], device: Any) -> torch.Tensor:
    """Summed cross-entropy of the titles' tokens; 0 for rows without any.

    Args:
        model: Sequence-to-sequence model whose decoder starts with token 0, as all of T5's family.
        rows: ``input_ids`` and ``labels`` of ``B`` sessions.
        device: Where the model is.
    """
    inputs, mask = pad_prompts(rows["input_ids"], device)
    labels = torch.from_numpy(pad(rows["labels"], IGNORED)).to(device)
    read = torch.zeros_like(labels)
    read[:, 1:] = labels[:, :-1].masked_fill(labels[:, :-1] == IGNORED, 0)
    logits = model(input_ids=inputs, attention_mask=mask, decoder_input_ids=read, use_cache=False).logits
    return functional.cross_entropy(
        logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum"
    )


def title_loss_of(model: Any, *, pack: bool = False) -> TitleLoss:
    """The loss of a model's kind: `title_loss`, or `llmrec.titles.models.causal.causal_title_loss`.

    Raises:
        ConfigError: ``pack`` with a model that reads its prompt with an encoder.
        ModelError: ``pack`` with a model in which packed sessions read each other.
    """
    if is_causal(model):
        if pack:
            check_packing(model)
        return partial(causal_title_loss, pack=pack)
    if pack:
        raise ConfigError("--pack is for causal models; leave it out: T5's batches are of similar lengths already")
    return title_loss


@dataclass
class _Training:
    """Everything one training touches; the functions below are its steps."""

    accelerator: Any
    model: Any
    tokenizer: Any
    optimizer: Any
    sessions: Dataset
    validation: Dataset
    config: GenerateConfig
    card: ModelCard
    folder: Path
    plan: BatchPlan
    rows: NDArray[np.int64]  # (S,) rows of `sessions` that have a title to learn
    title_tokens: NDArray[np.int64]  # (S,) of those rows
    total_steps: int
    accumulation: int
    loss: TitleLoss
    progress: Progress = field(default_factory=Progress)

    @property
    def eval_every(self) -> int:
        """Steps between validations; an epoch where none is set."""
        return self.config.eval_every or self.plan.steps_per_epoch


def train(
    accelerator: Any,
    model: Any,
    tokenizer: Any,
    sessions: TrainingSessions,
    validation: TrainingSessions,
    *,
    config: GenerateConfig,
    card: ModelCard,
    folder: Path,
    settings: Mapping[str, Any],
) -> None:
    """Fine-tune ``model`` and leave its best state in ``folder/model``.

    Writes ``history.jsonl`` (one line a validation), TensorBoard logs and checkpoints into ``folder``. With
    ``config.resume`` it goes on from the newest checkpoint and ends with the weights of an undisturbed training.

    Args:
        accelerator: `accelerate.Accelerator`; every process calls this.
        model: Model to fine-tune.
        tokenizer: Its tokenizer.
        sessions: What to learn from; made of labelled sessions alone.
        validation: What the best state is chosen on.
        config: Settings.
        card: What the model is trained to read.
        folder: Output folder.
        settings: What a resumed training must have in common with the killed one.

    Raises:
        ConfigError: ``folder`` holds a training with other settings.
        DataError: no session has a title to learn.
        DiskError: a checkpoint could not be written.
        TypeError: sessions are not `TrainingSessions`, which a store hands out for labelled splits alone.
    """
    if not isinstance(sessions, TrainingSessions) or not isinstance(validation, TrainingSessions):
        raise TypeError("training takes TrainingSessions alone; llmrec.titles.prompting.prompt_sessions makes them")
    run = _prepare(accelerator, model, tokenizer, sessions, validation, config=config, card=card, folder=folder)
    states = folder / "checkpoints"
    resumed = checkpoint.load_progress(states, settings) if config.resume else None
    if resumed:
        checkpoint.restore(accelerator, states)
        run.progress = resumed
        if accelerator.is_main_process:
            notice(f"resumed at step {resumed.step} of {run.total_steps}")
    _trim_history(run)
    with progress_bar() as bar:
        task = bar.add_task("train", total=run.total_steps, completed=run.progress.step, note="")
        for batch in _batches(run):
            loss = _step(run, batch)
            if run.progress.step % config.checkpoint_every == 0 and run.progress.step < run.total_steps:
                checkpoint.save_checkpoint(accelerator, states, run.progress, settings)
            if accelerator.is_main_process:
                bar.update(task, completed=run.progress.step, note=f"loss {loss:.3f}")
    if accelerator.is_main_process:
        checkpoint.finish(states, run.progress, settings)
    accelerator.wait_for_everyone()


def _prepare(
    accelerator: Any,
    model: Any,
    tokenizer: Any,
    sessions: TrainingSessions,
    validation: TrainingSessions,
    *,
    config: GenerateConfig,
    card: ModelCard,
    folder: Path,
) -> _Training:
    dataset = sessions.dataset
    titles = token_lengths(dataset, "labels")
    rows = np.flatnonzero(titles)
    if not len(rows):
        raise DataError("no training session has a next product with a title; nothing to learn from")
    prompts = token_lengths(dataset, "input_ids")
    plan = BatchPlan(prompts[rows] + titles[rows], config.batch_size, config.seed)
    total = max(1, math.ceil(config.epochs * plan.steps_per_epoch))
    accumulation = micro_batches(config.batch_size, config.micro_batch_size, accelerator.num_processes)
    _configure_deepspeed(accelerator, config, accumulation)
    accelerator.gradient_accumulation_steps = accumulation
    loss = title_loss_of(model, pack=config.pack)
    torch.manual_seed(config.seed + 1 + accelerator.process_index)
    optimizer = torch.optim.AdamW(_parameter_groups(model, config.weight_decay), lr=config.learning_rate)
    prepared, optimizer = accelerator.prepare(model, optimizer)
    return _Training(
        accelerator=accelerator,
        model=prepared,
        tokenizer=tokenizer,
        optimizer=optimizer,
        sessions=dataset,
        validation=validation.dataset,
        config=config,
        card=card,
        folder=folder,
        plan=plan,
        rows=rows,
        title_tokens=titles[rows],
        total_steps=min(total, config.max_steps or total),
        accumulation=accumulation,
        loss=loss,
    )


def _configure_deepspeed(accelerator: Any, config: GenerateConfig, accumulation: int) -> None:
    """Tell DeepSpeed the batch sizes, which it otherwise reads from a data loader that this loop does not have."""
    plugin = accelerator.state.deepspeed_plugin
    if plugin is None:
        return
    micro = math.ceil(config.batch_size / (accelerator.num_processes * accumulation))
    plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = micro
    plugin.deepspeed_config["gradient_accumulation_steps"] = accumulation
    plugin.deepspeed_config["train_batch_size"] = micro * accumulation * accelerator.num_processes
    plugin.deepspeed_config["gradient_clipping"] = config.max_grad_norm


def _parameter_groups(model: Any, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices; none for norms and biases."""
    matrices = [parameter for parameter in model.parameters() if parameter.requires_grad and parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.requires_grad and parameter.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def _batches(run: _Training) -> Iterator[NDArray[np.int64]]:
    """Batches from the current step to the last; each an index into ``run.rows``."""
    while run.progress.step < run.total_steps:
        epoch, offset = divmod(run.progress.step, run.plan.steps_per_epoch)
        yield from run.plan.epoch(epoch)[offset : offset + run.total_steps - run.progress.step]


def _step(run: _Training, batch: NDArray[np.int64]) -> float:
    """One optimizer step with all that is due after it; returns its loss."""
    loss, before = _optimize(run, batch), run.progress
    step = before.step + 1
    run.progress = replace(before, step=step, loss_sum=before.loss_sum + loss, loss_steps=before.loss_steps + 1)
    if step % LOG_EVERY == 0:
        run.accelerator.log({"train/loss": loss, "train/learning_rate": _rate(run, before.step)}, step=step)
    if step % run.eval_every == 0 or step == run.total_steps:
        _validate(run)
    return loss


def _rate(run: _Training, step: int) -> float:
    return learning_rate_at(
        step,
        peak=run.config.learning_rate,
        total_steps=run.total_steps,
        warmup_steps=run.config.warmup_steps,
        schedule=run.config.schedule,
    )


def _optimize(run: _Training, batch: NDArray[np.int64]) -> float:
    """One optimizer step; returns the batch's mean loss per title token, the same on every process."""
    accelerator, tokens = run.accelerator, int(run.title_tokens[batch].sum())
    for group in run.optimizer.param_groups:
        group["lr"] = _rate(run, run.progress.step)
    run.model.train()
    summed = torch.zeros((), device=accelerator.device)
    # Each backward is averaged over processes and micro-batches; the batch's mean per token undoes both.
    scale = accelerator.num_processes * run.accumulation / tokens
    for part in run.plan.share(batch, accelerator.process_index, accelerator.num_processes, run.accumulation):
        with accelerator.accumulate(run.model), accelerator.autocast():
            loss = run.loss(run.model, _rows(run, part), accelerator.device)
            accelerator.backward(loss * scale)
            summed += loss.detach()
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(run.model.parameters(), run.config.max_grad_norm)
            run.optimizer.step()
            run.optimizer.zero_grad()
    return float(accelerator.reduce(summed, reduction="sum")) / tokens


def _rows(run: _Training, part: NDArray[np.int64]) -> dict[str, list[list[int]]]:
    """Tokens of some sessions. An empty part stands in with one session without labels: every process must step."""
    if len(part):
        return read_tokens(run.sessions, run.rows[part])
    stand_in = read_tokens(run.sessions, run.rows[:1])
    return {"input_ids": stand_in["input_ids"], "labels": [[IGNORED]]}


def _validate(run: _Training) -> None:
    """Score the validation sessions, write history, and keep the model if it is the best so far."""
    loss = validation_loss(run.accelerator, run.model, run.validation, run.config.generate_batch_size, run.loss)
    entry = {
        "step": run.progress.step,
        "epoch": round(run.progress.step / run.plan.steps_per_epoch, 4),
        "train_loss": run.progress.loss_sum / max(1, run.progress.loss_steps),
        "validation_loss": loss,
    }
    score = -loss
    if run.config.best_by == "bleu":
        score = validation_bleu(
            run.accelerator,
            run.model,
            run.tokenizer,
            run.validation,
            config=run.config,
            max_tokens=run.card.max_target_tokens,
        )
        entry["validation_bleu"] = score
    best = score > run.progress.best_score
    if best:
        run.progress = replace(run.progress, best_step=run.progress.step, best_score=score)
        weights = run.accelerator.get_state_dict(run.model)
        if run.accelerator.is_main_process:
            plain = run.accelerator.unwrap_model(run.model)
            save_model(run.folder / "model", plain, run.tokenizer, run.card, weights)
    run.progress = replace(run.progress, loss_sum=0.0, loss_steps=0)
    run.accelerator.log({f"validation/{key}": value for key, value in entry.items()}, step=run.progress.step)
    if run.accelerator.is_main_process:
        _append_history(run.folder, entry)
        shown = f"{score:.2f} BLEU" if run.config.best_by == "bleu" else f"loss {loss:.4f}"
        notice(
            f"step {run.progress.step}/{run.total_steps}: training loss {entry['train_loss']:.4f}, "
            f"validation {shown}{' (best so far)' if best else ''}"
        )


def validation_loss(
    accelerator: Any, model: Any, sessions: Dataset, batch_size: int, title_loss: TitleLoss = title_loss
) -> float:
    """Mean cross-entropy per title token, in nats, over sessions that have a title; all processes share the work."""
    titles = token_lengths(sessions, "labels")
    rows = np.flatnonzero(titles)
    if not len(rows):
        raise DataError("no validation session has a next product with a title; the best checkpoint cannot be chosen")
    rows = rows[np.argsort(titles[rows], kind="stable")]
    starts = range(0, len(rows), batch_size)
    rounds = math.ceil(len(starts) / accelerator.num_processes)
    summed = torch.zeros((), device=accelerator.device, dtype=torch.float64)
    model.eval()
    with torch.no_grad(), accelerator.autocast():
        for turn in range(rounds):  # under ZeRO-3 every process must take every turn
            position = turn * accelerator.num_processes + accelerator.process_index
            mine = rows[position * batch_size : (position + 1) * batch_size]
            tokens = read_tokens(sessions, mine if len(mine) else rows[:1])
            loss = title_loss(model, tokens, accelerator.device)
            summed += loss.double() if len(mine) else 0.0
    return float(accelerator.reduce(summed, reduction="sum")) / int(titles[rows].sum())


def _append_history(folder: Path, entry: Mapping[str, float]) -> None:
    with (folder / "history.jsonl").open("a", encoding="utf-8") as handle:
        handle.write(json.dumps({**entry, "time": round(time.time(), 3)}) + "\n")
        handle.flush()
        os.fsync(handle.fileno())


def _trim_history(run: _Training) -> None:
    """Drop what a killed training wrote after the checkpoint that is resumed: it is about to be written again."""
    file = run.folder / "history.jsonl"
    if run.accelerator.is_main_process and file.is_file():
        kept = []
        for line in file.read_text(encoding="utf-8").splitlines():
            if line.endswith("}") and json.loads(line)["step"] <= run.progress.step:
                kept.append(line + "\n")
        file.write_text("".join(kept), encoding="utf-8")
