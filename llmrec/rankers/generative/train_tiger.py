"""Training of the generative ranker: the loop of all trainings, over prefixes of sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from llmrec.arrays import Ints
from llmrec.rankers.generative.model import own_weights, summed_loss
from llmrec.rankers.generative.settings import TigerSettings
from llmrec.rankers.neural.prefixes import BatchPlan, Prefixes, share_of
from llmrec.training.devices import new_accelerator
from llmrec.training.loop import Task, run_training

__all__ = ["train_tiger"]


@dataclass(kw_only=True)
class _TigerTask(Task):
    """Prefixes, and the cross-entropy of the next item's tokens."""

    prefixes: Prefixes
    order: BatchPlan
    tokens: Ints  # (N + 1, L); of `tokens_of`

    def epoch(self, number: int, first: int) -> Iterable[Ints]:
        """Places of examples."""
        return self.order.epoch(number, first)

    def size(self, batch: Ints) -> int:
        """Number of examples."""
        return len(batch)

    def parts(self, batch: Ints) -> Sequence[tuple[Ints, float]]:
        """This process's share; one without a share stands in with an example that counts 0."""
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        return [(share_of(batch, rank, processes), 1.0 if rank < len(batch) else 0.0)]

    def loss(self, part: tuple[Ints, float], step: int) -> Tensor:
        """Summed cross-entropy."""
        del step
        chosen, counts = part
        read, _, targets = self.prefixes.batch(chosen)
        return _loss(self.model, self.tokens, read, targets, self.accelerator.device) * counts

    def weights(self) -> dict[str, Tensor]:
        """Weights, those that are another's left out."""
        return own_weights(self.plain)


def _loss(model: Any, tokens: Ints, read: Ints, targets: Ints, device: Any) -> Tensor:
    inputs = torch.from_numpy(tokens[read].reshape(len(read), -1)).to(device)
    return summed_loss(model, inputs, torch.from_numpy(tokens[targets]).to(device))


def train_tiger(
    model: Any,
    prefixes: Prefixes,
    tokens: Ints,
    settings: TigerSettings,
    held: Prefixes | None,
    folder: Path | None,
    resume: bool,
    told: Callable[[], None] | None = None,
) -> list[dict[str, float]]:
    """Train a model in place; it ends with the weights that make the held targets likeliest.

    Args:
        model: Of `llmrec.rankers.generative.model.build_model`.
        prefixes: Examples to learn from.
        tokens: Of items, `llmrec.rankers.generative.semantic_ids.tokens_of`.
        settings: How.
        held: Examples to validate on after each epoch; None: the last weights stay.
        folder: Where checkpoints and ``history.jsonl`` go; none are written without it.
        resume: Go on from the newest checkpoint in ``folder``.
        told: Called after each epoch that was validated; what it raises ends the training.

    Returns:
        One entry an epoch, as `llmrec.training.loop.run_training`.

    Raises:
        ConfigError: ``folder`` holds a training with other settings, or a tracker cannot be used.
        DiskError: a checkpoint cannot be written.
    """
    accelerator = new_accelerator()
    torch.manual_seed(settings.seed + accelerator.process_index)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    wrapped, prepared = accelerator.prepare(model, optimizer)
    order = BatchPlan(prefixes.lengths, settings.batch_size, settings.seed)

    def likelihood(plain: Any) -> float:
        total = 0.0
        with torch.inference_mode():
            for start in range(0, len(held or ()), settings.batch_size):
                some = np.arange(start, min(start + settings.batch_size, len(held or ())))
                read, _, targets = held.batch(some) if held is not None else prefixes.batch(some)
                total += float(_loss(plain, tokens, read, targets, accelerator.device))
        if told is not None:
            told()
        return -total / max(1, len(held or ()))

    task = _TigerTask(
        accelerator=accelerator,
        model=wrapped,
        optimizers=[prepared],
        settings=settings,
        steps_per_epoch=order.steps_per_epoch,
        total_steps=settings.max_epochs * order.steps_per_epoch,
        evaluate=likelihood if held is not None and len(held) else None,
        metric="log likelihood",
        prefixes=prefixes,
        order=order,
        tokens=tokens,
    )
    return run_training(task, folder=folder, resume=resume)
