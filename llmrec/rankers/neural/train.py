"""Training of neural rankers on prefixes of sessions.

The loss of a step is the mean over its whole batch, however many processes share it, and negatives are drawn from the
seed and the step: the same settings are the same training on one device or eight, undisturbed or resumed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from llmrec.arrays import Ints
from llmrec.console import notice
from llmrec.memory import free_memory, largest_fitting, readable, require_memory
from llmrec.processes import local_processes
from llmrec.rankers.neural.losses import CHUNK, NegativeSampler
from llmrec.rankers.neural.prefixes import BatchPlan, Prefixes, share_of
from llmrec.rankers.neural.scorer import Scorer
from llmrec.rankers.neural.settings import NeuralSettings
from llmrec.training.devices import new_accelerator
from llmrec.training.loop import Task, run_training
from llmrec.training.nodes import require_same

__all__ = ["Batch", "train_scorer", "training_bytes"]

LOGITS: Final = 3  # float32 tables of sessions by items that a full softmax holds: logits, their softmax, gradients
CHUNKED: Final = 2  # tables of a chunk's items, and of the items' vectors again for their gradients
LIBRARIES: Final = 1 << 25  # what they take with the first step
Batch = tuple[Ints, Ints, Ints]  # rows read (B, L), their numbers (B,), target rows (B,)


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
        One entry an epoch, as `llmrec.training.loop.run_training`; ``score`` is that of the validation.

    Raises:
        ConfigError: ``folder`` holds a training with other settings, a tracker cannot be used, or the training does not
            fit in memory.
        DiskError: a checkpoint cannot be written.
    """
    task = _task(scorer, prefixes, settings, validate, batches)
    return run_training(task, folder=folder, resume=resume, on_step=on_step)


@dataclass(kw_only=True)
class _ScorerTask(Task):
    """Prefixes, negatives and the softmax over items."""

    settings: NeuralSettings
    prefixes: Prefixes
    order: BatchPlan
    sampler: NegativeSampler
    batches: Sequence[Batch] | None
    softmax: str  # how the loss of the settings is computed
    anchor: Tensor | None  # where item vectors started, if they must stay near it

    def epoch(self, number: int, first: int) -> Iterable[Batch | Ints]:
        """Batches that were given as they are, the others as places in the examples."""
        return self.order.epoch(number, first) if self.batches is None else self.batches[first:]

    def size(self, batch: Batch | Ints) -> int:
        """Number of examples."""
        return len(batch[1]) if isinstance(batch, tuple) else len(batch)

    def parts(self, batch: Batch | Ints) -> Sequence[tuple[Batch, float]]:
        """This process's share; one without a share stands in with an example that counts 0."""
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        counts = 1.0 if rank < self.size(batch) else 0.0
        return [(batch if isinstance(batch, tuple) else self.prefixes.batch(share_of(batch, rank, processes)), counts)]

    def loss(self, part: tuple[Batch, float], step: int) -> Tensor:
        """Summed cross-entropy of the target items."""
        (batch, counts), settings, device = part, self.settings, self.accelerator.device
        tensors = [torch.from_numpy(one).to(device) for one in batch]
        with self._precision():
            sampling = {}
            if settings.loss == "sampled":
                drawn = self.sampler.draw(settings.num_negatives, (settings.seed, step))
                sampling = {
                    "drawn": torch.from_numpy(drawn + 1).to(device),
                    "log_odds": torch.from_numpy(self.sampler.log_odds[drawn]).to(device),
                    "strength": settings.logq,
                }
            loss: Tensor = self.model(*tensors, self.softmax, padding_class=settings.padding_class, **sampling)
            return loss * counts

    @contextlib.contextmanager
    def _precision(self) -> Iterator[None]:
        with self.accelerator.autocast():
            if not self.settings.bf16:
                yield
                return
            with torch.autocast(self.accelerator.device.type, torch.bfloat16):
                yield

    def after_step(self) -> None:
        """Keep item vectors near where they started, if the settings ask for it."""
        if self.anchor is not None and self.settings.delta_norm is not None:
            most = self.settings.delta_norm * self.settings.init_scale
            _stay_near(self.plain.model.item_embedding.weight, self.anchor, most)


def _task(
    scorer: Scorer,
    prefixes: Prefixes,
    settings: NeuralSettings,
    validate: Callable[[Scorer], float] | None,
    batches: Sequence[Batch] | None,
) -> _ScorerTask:
    accelerator = new_accelerator()
    require_same(f"{crc32(prefixes.items.tobytes()):08x}", "the training sessions")
    softmax = _fitting_softmax(scorer, prefixes, settings, accelerator)
    torch.manual_seed(settings.seed + accelerator.process_index)  # dropout; the weights are there already
    wrapped, *optimizers = accelerator.prepare(scorer, *_optimizers(scorer, settings))
    counts = np.bincount(prefixes.items[prefixes.targets], minlength=scorer.model.item_embedding.num_embeddings - 1)
    order = BatchPlan(prefixes.lengths, settings.batch_size, settings.seed)
    steps = order.steps_per_epoch if batches is None else len(batches)
    start = scorer.model.item_embedding.weight
    return _ScorerTask(
        accelerator=accelerator,
        model=wrapped,
        optimizers=optimizers,
        settings=settings,
        steps_per_epoch=steps,
        total_steps=steps if batches is not None else settings.max_epochs * steps,
        evaluate=validate,
        metric="mrr@100",
        prefixes=prefixes,
        order=order,
        sampler=NegativeSampler(counts),
        batches=batches,
        softmax=softmax,
        anchor=None if settings.delta_norm is None else start.detach().clone(),
    )


def _fitting_softmax(scorer: Scorer, prefixes: Prefixes, settings: NeuralSettings, accelerator: Any) -> str:
    """The loss of the settings; in chunks, which is the same, where all logits do not fit in memory.

    Raises:
        ConfigError: the training does not fit; names what does.
    """
    free = free_memory(accelerator.device)
    if accelerator.device.type == "cpu":
        free = free.shared(local_processes())
    share = -(-settings.batch_size // accelerator.num_processes)
    if training_bytes(scorer, prefixes, settings, share, settings.loss) <= free.size:
        return settings.loss
    softmax = "sampled" if settings.loss == "sampled" else "chunked"
    needed = partial(training_bytes, scorer, prefixes, settings, softmax=softmax)
    if needed(share) > free.size:
        fitting = largest_fitting(share, needed, free) * accelerator.num_processes
        hint = f"what fits: --set batch_size={fitting}" if fitting else "give a smaller --set embedding_size"
        require_memory("training on all these items", needed(share), free, hint)
    whole = training_bytes(scorer, prefixes, settings, share, settings.loss)
    if accelerator.is_main_process:
        notice(
            f"the softmax is computed in chunks: in full it needs about {readable(whole)}, and {readable(free.size)} "
            f"are free ({free.source}); the losses are the same"
        )
    return softmax


def training_bytes(scorer: Scorer, prefixes: Prefixes, settings: NeuralSettings, size: int, softmax: str) -> int:
    """Memory that training takes beside the weights: gradients, moments, the best state, and a step of ``size``."""
    table = scorer.model.item_embedding.weight
    weights = sum(one.numel() for one in scorer.parameters())
    num_items, width = table.shape
    frozen = table.numel() if settings.freeze_items else 0
    states = (8 if scorer.row_updates else 12) * (weights - frozen) + 4 * weights  # rows' gradients are small
    states += LIBRARIES
    length = min(settings.history, int(prefixes.lengths.max(initial=1)))
    step = scorer.model.kept_vectors * 4 * size * length * width
    if softmax == "sampled":
        step += LOGITS * 4 * size * settings.num_negatives
        return states + step
    vectors = 4 * num_items * width * (1 + settings.unit_length + (settings.item_dropout > 0))
    if softmax == "full":
        return states + step + vectors + LOGITS * 4 * size * num_items
    return states + step + vectors + CHUNKED * (4 * size * min(CHUNK, num_items) + 4 * num_items * width)


def _optimizers(scorer: Scorer, settings: NeuralSettings) -> list[torch.optim.Optimizer]:
    """Adam for everything; where the item table's gradients name its used rows alone, one that updates only these."""
    table = scorer.model.item_embedding.weight
    table.requires_grad_(not settings.freeze_items)
    for parameter in scorer.model.parameters():
        if parameter is not table and settings.freeze_encoder:
            parameter.requires_grad_(False)
    others = [one for one in scorer.parameters() if one is not table and one.requires_grad]
    groups: list[dict[str, Any]] = [{"params": others, "factor": 1.0}] if others else []
    item_group = {"params": [table], "factor": settings.item_learning_rate}
    if not table.requires_grad:
        return [torch.optim.Adam(groups, lr=settings.learning_rate)]
    if not scorer.row_updates:
        groups.append(item_group)
        return [torch.optim.Adam(groups, lr=settings.learning_rate, fused=True)]
    rows = torch.optim.SparseAdam([item_group], lr=settings.learning_rate)
    return [torch.optim.Adam(groups, lr=settings.learning_rate), rows] if groups else [rows]


@torch.no_grad()
def _stay_near(table: Tensor, anchor: Tensor, most: float) -> None:
    """Bring rows that a step took farther than ``most`` from the anchor back to that distance ("Let It Go?", 2025)."""
    sparse = table.grad is not None and table.grad.is_sparse
    rows = table.grad.coalesce().indices()[0] if sparse and table.grad is not None else slice(None)
    moved = table[rows] - anchor[rows]
    length = torch.linalg.vector_norm(moved, dim=1, keepdim=True)
    table[rows] = anchor[rows] + moved * (most / length.clamp(min=most))
