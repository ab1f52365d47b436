"""Contrastive training of an encoder on pairs of items seen together.

Each item of a pair has to tell its partner from the other items of the batch. Items that are known to be seen together,
that are the same, or that have the same text are no negatives. The batches are drawn from seed and epoch, so a resumed
training ends with the weights of an undisturbed one; vectors are gathered from all processes, so several learn as one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # as everybody writes it

from llmrec.arrays import Floats, Ints, checked
from llmrec.errors import ConfigError, DataError, ModelError
from llmrec.output import atomic_file
from llmrec.ragged import offsets_of
from llmrec.text.encoders.learning.pairs import Pairs
from llmrec.text.encoders.learning.settings import EncoderSettings
from llmrec.text.encoders.learning.trainable import TrainableEncoder
from llmrec.training.devices import new_accelerator
from llmrec.training.loop import Task, run_training

__all__ = ["contrastive_loss", "train_encoder"]

Batch = tuple[Ints, Ints]  # first items (B,) and their partners (B,)

MINED: Final = "negatives.safetensors"
SPARE: Final = 50  # nearest items looked at beyond those wanted, for those seen together stand nearest
Finder = Callable[[Floats], Callable[[Floats, int], Ints]]  # vectors → (queries, k) → their k nearest rows, -1 beyond


def train_encoder(
    trainable: TrainableEncoder,
    pairs: Pairs,
    same_text: Ints,
    settings: EncoderSettings,
    *,
    validate: Callable[[TrainableEncoder], float],
    folder: Path,
    resume: bool = False,
    finder: Finder | None = None,
) -> list[dict[str, float]]:
    """Train an encoder in place; it ends with the weights that validation liked best.

    Args:
        trainable: What to train.
        pairs: Items seen together.
        same_text: A number for each item that items of the same text share, shape ``(N,)``.
        settings: How.
        validate: Gives a score, higher is better, after each epoch.
        folder: Where checkpoints, ``history.jsonl`` and the best weights go.
        resume: Go on from the newest checkpoint there.
        finder: Makes an index of vectors, which hard negatives are looked up in.

    Returns:
        One entry an epoch, as `llmrec.training.loop.run_training`; ``score`` is that of the validation.

    Raises:
        ConfigError: ``folder`` holds a training with other settings, the batch cannot be shared, hard negatives are
            asked for without a ``finder``, or a tracker cannot be used.
        DataError: there is no pair to learn from.
    """
    if not len(pairs):
        raise DataError("no two items are seen together in the training sessions; give more sessions to --train")
    accelerator = new_accelerator()
    for name in ("batch_size", "random_negatives"):
        if getattr(settings, name) % accelerator.num_processes:
            shared = f"{getattr(settings, name)} cannot be shared evenly by {accelerator.num_processes} processes"
            raise ConfigError(f"{name}: {shared}; give a multiple of it")
    torch.manual_seed(settings.seed + accelerator.process_index)  # dropout
    learnt = [one for one in trainable.parameters() if one.requires_grad]
    wrapped, optimizer = accelerator.prepare(trainable, torch.optim.Adam(learnt, lr=settings.learning_rate))
    folder.mkdir(parents=True, exist_ok=True)
    per_epoch = max(1, len(pairs) // settings.batch_size)
    task = _PairTask(
        accelerator=accelerator,
        model=wrapped,
        optimizers=[optimizer],
        settings=settings,
        steps_per_epoch=per_epoch,
        total_steps=min(settings.max_epochs * per_epoch, settings.max_steps or settings.max_epochs * per_epoch),
        evaluate=validate,
        metric="recall",
        pairs=pairs,
        same_text=same_text,
        folder=folder,
        finder=finder,
    )
    return run_training(task, folder=folder, resume=resume)


@dataclass(kw_only=True)
class _PairTask(Task):
    """Pairs of items, their negatives and InfoNCE."""

    pairs: Pairs
    same_text: Ints  # one number for each distinct text, shape (N,)
    folder: Path
    finder: Finder | None
    mined: Ints | None = None

    @cached_property
    def log_chances(self) -> NDArray[np.float32]:
        """Logarithm of how often an item stands in a batch of pairs, shape ``(N,)``."""
        pairs, num = self.pairs, self.pairs.num_items
        sums = np.bincount(pairs.first, pairs.weights, num) + np.bincount(pairs.second, pairs.weights, num)
        logs: NDArray[np.float32] = np.log(np.maximum(sums / sums.sum(), 1e-12)).astype(np.float32)
        return logs

    def epoch(self, number: int, first: int) -> Iterator[Batch]:
        """Pairs of each step, drawn by their weights, either item first; hard negatives are mined before the first."""
        if self.settings.hard_negatives:
            self._mine(anew=first == 0)
        size, chances = self.settings.batch_size, self.pairs.weights / self.pairs.weights.sum()
        rng = np.random.default_rng((self.settings.seed, number))
        drawn = rng.choice(len(self.pairs), size=(self.steps_per_epoch, size), p=chances)
        turned = rng.random(drawn.shape) < 0.5
        one, other = self.pairs.first[drawn], self.pairs.second[drawn]
        for step in range(first, self.steps_per_epoch):
            yield np.where(turned[step], other[step], one[step]), np.where(turned[step], one[step], other[step])

    def size(self, _batch: Batch) -> int:
        """Every process has the whole batch's mean."""
        return int(self.accelerator.num_processes)

    def loss(self, part: Batch, step: int) -> Tensor:
        """InfoNCE of the whole batch, whoever computed its vectors."""
        settings, device, (one, other) = self.settings, self.accelerator.device, part
        further = self._further_negatives(one, step)
        columns = np.concatenate([other, *further])
        with self.accelerator.autocast():
            vectors = self._encoded([one, other, *further])
        allowed = torch.from_numpy(~self._false_negatives(one[:, None], columns[None, :])).to(device)
        shift = torch.from_numpy(settings.logq * self.log_chances).to(device)
        even = torch.full((len(columns) - len(other),), settings.logq * -math.log(self.pairs.num_items)).to(device)
        shifts, first, others = torch.cat([shift[other], even]), vectors[: len(one)], vectors[len(one) :]
        return contrastive_loss(first, others, allowed, settings.temperature, shift[one], shifts)

    def _further_negatives(self, one: Ints, step: int) -> list[Ints]:
        """Items beside the batch's own: a hard one for each first item, and some drawn evenly; alike everywhere."""
        rng = np.random.default_rng((self.settings.seed, 1, step))
        further = []
        if self.mined is not None:
            further.append(self.mined[one, rng.integers(self.mined.shape[1], size=len(one))])
        if self.settings.random_negatives:
            further.append(rng.integers(self.pairs.num_items, size=self.settings.random_negatives))
        return further

    def _encoded(self, parts: list[Ints]) -> Tensor:
        """Vectors of all parts, one after another; each process computes its share of each part."""
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        mine = np.concatenate([np.array_split(part, processes)[rank] for part in parts])
        vectors: Tensor = self.model(mine).float()
        if processes == 1:
            return vectors
        from torch.distributed.nn.functional import all_gather

        # its gradient is summed over processes and then averaged over them: that of one process with the whole batch
        gathered = all_gather(vectors)  # type: ignore[no-untyped-call]
        ends = offsets_of([len(part) // processes for part in parts])
        return torch.cat([whole[start:end] for start, end in itertools.pairwise(ends) for whole in gathered])

    def _false_negatives(self, rows: Ints, columns: Ints) -> NDArray[np.bool_]:
        """Whether items must not count as wrong for others; of the shape that the two arrays broadcast to."""
        found: NDArray[np.bool_] = self.pairs.known(rows, columns) | (self.same_text[rows] == self.same_text[columns])
        return found

    def _mine(self, anew: bool) -> None:
        """The nearest items of each item that are no false negatives, by the encoder as it is now, or was."""
        if self.finder is None:
            raise ConfigError("hard_negatives needs an index; give train_encoder a finder")
        if not anew:  # resumed within an epoch
            self.mined = _mined(self.folder / MINED, self.plain.num_items)
            return
        vectors = self.plain.vectors()
        nearest, num = self.finder(vectors), min(self.settings.hard_negatives, len(vectors) - 1)
        self.mined = np.zeros((len(vectors), num), dtype=np.int64)
        for start in range(0, len(vectors), 512):
            rows = np.arange(start, min(start + 512, len(vectors)))[:, None]
            found = nearest(vectors[rows[:, 0]], min(num + SPARE, len(vectors)))
            found = np.where(found < 0, rows, found)  # an item is no negative of itself, so this counts for nothing
            order = np.argsort(self._false_negatives(rows, found), axis=1, kind="stable")[:, :num]
            self.mined[rows[:, 0]] = np.take_along_axis(found, order, axis=1)
        if self.accelerator.is_main_process:
            with atomic_file(self.folder / MINED) as temporary:
                save_file({"negatives": self.mined}, temporary)

    def weights(self) -> dict[str, Tensor]:
        """What is learnt: a frozen base stays out."""
        learnt = {name for name, value in self.plain.named_parameters() if value.requires_grad}
        return {name: one for name, one in self.plain.state_dict().items() if name in learnt}


def _mined(file: Path, num_items: int) -> NDArray[np.int64]:
    """Negatives that were mined before the training was killed."""
    try:
        return checked(load_file(file), "negatives", "int64", (num_items, None), least=0, most=num_items - 1)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ModelError(f"{file}: missing or damaged; start over without --resume") from error


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
