"""Fine-tuning a sequence-to-sequence or causal model on prompt sessions.

The loss of a step is the mean over the title tokens of its whole batch, however many devices and micro-batches share
it, so the same recipe means the same training on one device or eight.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray

from llmrec.arrays import Ints
from llmrec.errors import DataError
from llmrec.titles.decoding.decode import validation_bleu
from llmrec.titles.models.causal import IGNORED
from llmrec.titles.models.model import ModelCard, save_model
from llmrec.titles.prompting.prompt_sessions import TrainingPrompts
from llmrec.titles.settings import GenerateConfig
from llmrec.titles.training.batches import BatchPlan, read_tokens, token_lengths
from llmrec.titles.training.fitting import Cut, fit_training, packed_tokens
from llmrec.titles.training.losses import TitleLoss, title_loss_of
from llmrec.training.loop import Task, Validated, run_training

__all__ = ["train", "validation_loss"]


def train(
    accelerator: Any,
    model: Any,
    tokenizer: Any,
    sessions: TrainingPrompts,
    validation: TrainingPrompts,
    *,
    config: GenerateConfig,
    card: ModelCard,
    folder: Path,
    settings: Mapping[str, Any],
) -> None:
    """Fine-tune ``model`` and leave its best state in ``folder/model``.

    Writes ``history.jsonl`` (one line a validation), trackers' logs and checkpoints into ``folder``. With
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
        ConfigError: ``folder`` holds a training with other settings, a tracker cannot be used, or memory is short.
        DataError: no session has a title to learn.
        DiskError: a checkpoint could not be written.
        TypeError: sessions are not `TrainingPrompts`, which a store hands out for labelled splits alone.
    """
    if not isinstance(sessions, TrainingPrompts) or not isinstance(validation, TrainingPrompts):
        raise TypeError("training takes TrainingPrompts alone; llmrec.titles.prompting.prompt_sessions makes them")
    rows, prompts, titles = _learnable(sessions)
    order = BatchPlan(prompts + titles, config.batch_size, config.seed)
    cut = fit_training(accelerator, model, config, (prompts, titles), _lengths(validation))
    rows_of = packed_tokens(accelerator)
    loss = title_loss_of(model, pack=config.pack, in_pieces=cut.in_pieces, row_tokens=rows_of)
    prepared, optimizer = _prepared(accelerator, model, config, cut)
    task = _TitleTask(
        accelerator=accelerator,
        model=prepared,
        optimizers=[optimizer],
        settings=config,
        steps_per_epoch=order.steps_per_epoch,
        total_steps=_total_steps(config, order),
        checkpoint_validated=False,  # those of a large model take long to write
        tokenizer=tokenizer,
        sessions=sessions.dataset,
        validation=validation.dataset,
        card=card,
        order=order,
        rows=rows,
        title_tokens=titles,
        cut=cut,
        title_loss=loss,
    )
    run_training(task, folder=folder, decides=settings, resume=config.resume)


def _lengths(sessions: TrainingPrompts) -> tuple[Ints, Ints]:
    """Tokens of each session's prompt, and of its title."""
    return token_lengths(sessions.dataset, "input_ids"), token_lengths(sessions.dataset, "labels")


def _prepared(accelerator: Any, model: Any, config: GenerateConfig, cut: Cut) -> tuple[Any, Any]:
    """Model and optimizer, ready on every process, each of which then draws for itself."""
    _configure_deepspeed(accelerator, config, cut.accumulation)
    accelerator.gradient_accumulation_steps = cut.accumulation
    torch.manual_seed(config.seed + 1 + accelerator.process_index)
    optimizer = torch.optim.AdamW(_parameter_groups(model, config.weight_decay), lr=config.learning_rate)
    prepared: tuple[Any, Any] = accelerator.prepare(model, optimizer)
    return prepared


def _total_steps(config: GenerateConfig, order: BatchPlan) -> int:
    """Steps of the whole training."""
    total = max(1, math.ceil(config.epochs * order.steps_per_epoch))
    return min(total, config.max_steps or total)


def _learnable(sessions: TrainingPrompts) -> tuple[Ints, Ints, Ints]:
    """Rows with a title to learn, and the tokens of their prompts and titles.

    Raises:
        DataError: there is none.
    """
    prompts, titles = _lengths(sessions)
    rows = np.flatnonzero(titles)
    if not len(rows):
        raise DataError("no training session has a next product with a title; nothing to learn from")
    return rows, prompts[rows], titles[rows]


@dataclass(kw_only=True)
class _TitleTask(Task):
    """Prompt sessions, the loss of their titles' tokens, and model folders."""

    tokenizer: Any
    sessions: Dataset
    validation: Dataset
    card: ModelCard
    order: BatchPlan
    rows: NDArray[np.int64]  # (S,) rows of `sessions` that have a title to learn
    title_tokens: NDArray[np.int64]  # (S,) of those rows
    cut: Cut
    title_loss: TitleLoss

    def epoch(self, number: int, first: int) -> Sequence[NDArray[np.int64]]:
        """Batches, each an index into ``rows``."""
        return self.order.epoch(number)[first:]

    def parts(self, batch: NDArray[np.int64]) -> Sequence[NDArray[np.int64]]:
        """This process's share in micro-batches, some of which may be empty."""
        accelerator = self.accelerator
        return self.order.share(batch, accelerator.process_index, accelerator.num_processes, self.cut.accumulation)

    def size(self, batch: NDArray[np.int64]) -> int:
        """Number of the titles' tokens."""
        return int(self.title_tokens[batch].sum())

    def loss(self, part: NDArray[np.int64], _step: int) -> torch.Tensor:
        """Summed cross-entropy. An empty part stands in with one session without labels: every process must step."""
        tokens = read_tokens(self.sessions, self.rows[part] if len(part) else self.rows[:1])
        if not len(part):
            tokens = {"input_ids": tokens["input_ids"], "labels": [[IGNORED]]}
        return self.title_loss(self.model, tokens, self.accelerator.device)

    def part_size(self, part: NDArray[np.int64]) -> int:
        """The same of a micro-batch: on a CPU a step of a large model takes minutes."""
        return self.size(part)

    def precision(self) -> AbstractContextManager[None]:
        """That of ``--mixed_precision``, the backward pass included."""
        mixed: AbstractContextManager[None] = self.accelerator.autocast()
        return mixed

    def validate(self) -> Validated:
        """The loss and, where the best state is chosen by it, the BLEU of validation titles."""
        config = self.settings
        loss = validation_loss(self.accelerator, self.model, self.validation, self.cut.validated, self.title_loss)
        if config.best_by == "loss":
            return Validated(-loss, {"validation_loss": loss}, f"loss {loss:.4f}")
        bleu = validation_bleu(
            self.accelerator,
            self.model,
            self.tokenizer,
            self.validation,
            config=config,
            max_tokens=self.card.max_target_tokens,
        )
        return Validated(bleu, {"validation_loss": loss, "validation_bleu": bleu}, f"{bleu:.2f} BLEU")

    def keep(self, folder: Path | None) -> None:
        """Write the model folder; under ZeRO-3 every process has a part of the weights."""
        weights = self.accelerator.get_state_dict(self.model)
        if folder is not None and self.accelerator.is_main_process:
            save_model(folder / "model", self.plain, self.tokenizer, self.card, weights)

    def restore(self, folder: Path | None) -> None:
        """Nothing: the model folder is opened anew, as it may be adapters or parts of weights."""


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


def validation_loss(accelerator: Any, model: Any, sessions: Dataset, batch_size: int, title_loss: TitleLoss) -> float:
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
