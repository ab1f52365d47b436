"""How much memory a training step takes, found by running it on tensors without content."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from llmrec.titles.models.architectures import Architecture, build_hollow, runnable
from llmrec.titles.models.model import checkpoint_activations
from llmrec.titles.training.losses import title_loss_of

__all__ = ["ActivationMemory", "Weights", "activation_memory", "count_weights", "peak_bytes"]


@dataclass(frozen=True)
class Weights:
    """Numbers of parameters.

    Attributes:
        total: All.
        trained: Those that the optimizer moves.
        largest_layer: Of the module that holds most by itself, which ZeRO-3 gathers at once.
        linear: In frozen linear layers other than the head, which 4-bit storage packs.
    """

    total: int
    trained: int
    largest_layer: int
    linear: int = 0


@dataclass(frozen=True)
class ActivationMemory:
    """Peak of everything but weights, their gradients and the optimizer, by micro-batch size.

    The peak is convex in the size, so a straight line between two sizes is never below it.

    Attributes:
        points: Bytes by micro-batch size, the smallest size first.
    """

    points: Mapping[int, int]

    def at(self, size: int) -> int:
        """Bytes at a micro-batch size between those measured."""
        (low, small), *rest = sorted(self.points.items())
        for high, large in rest:
            if size <= high:
                return round(small + (large - small) * (size - low) / (high - low))
            low, small = high, large
        return small


class _Peak(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sums the bytes of all living storages that were made inside, and keeps their maximum."""

    def __init__(self, known: Mapping[int, Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known = known
        self._live: dict[int, int] = {}
        self._now = 0
        self.peak: int = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor.untyped_storage())
        return out

    def _add(self, storage: Any) -> None:
        key = storage._cdata
        if key in self._known or key in self._live:
            return
        self._live[key] = storage.nbytes()
        self._now += self._live[key]
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._free, key)

    def _free(self, key: int) -> None:
        self._now -= self._live.pop(key, 0)


def peak_bytes(
    model: Any, loss: Callable[[Any, Any, Any], torch.Tensor], rows: Any, *, keep_gradients: bool = False
) -> int:
    """Most bytes that forward and backward hold beside the weights.

    Args:
        model: A model that is `runnable`; in evaluation mode there is no backward pass.
        loss: Of the model's kind.
        rows: What the loss takes.
        keep_gradients: Whether gradients count; else each is dropped once it is complete.
    """
    known = {weight.untyped_storage()._cdata: weight for weight in [*model.parameters(), *model.buffers()]}

    def drop(weight: torch.Tensor) -> None:
        weight.grad = None

    trained = [] if keep_gradients else [weight for weight in model.parameters() if weight.requires_grad]
    handles = [weight.register_post_accumulate_grad_hook(drop) for weight in trained]
    try:
        with _Peak(known) as peak, torch.set_grad_enabled(model.training):
            found = loss(model, rows, "cpu")
            if model.training:
                found.backward()  # type: ignore[no-untyped-call]
    finally:
        for handle in handles:
            handle.remove()
    return int(peak.peak)


def activation_memory(
    architecture: Architecture,
    sizes: tuple[int, ...],
    *,
    source_tokens: int,
    target_tokens: int,
    dtype: torch.dtype,
    checkpointing: bool = False,
    adapt: Callable[[Any], Any] | None = None,
) -> tuple[Weights, ActivationMemory]:
    """Count a model's parameters and measure its training step at some micro-batch sizes, with the longest sessions.

    Args:
        architecture: The model.
        sizes: Micro-batch sizes.
        source_tokens: Tokens of each prompt.
        target_tokens: Tokens of each title.
        dtype: What is computed in.
        checkpointing: Whether activations are computed again in the backward pass.
        adapt: Puts adapters on the model.
    """
    model = build_hollow(architecture, dtype).train()
    if checkpointing:
        checkpoint_activations(model)
    if adapt:
        model = adapt(model)
    weights = count_weights(model)
    with runnable(model):
        loss = title_loss_of(model)
        points = {}
        for size in sorted(set(sizes)):
            rows = {"input_ids": [[5] * source_tokens] * size, "labels": [[5] * target_tokens] * size}
            points[size] = peak_bytes(model, loss, rows)
    return weights, ActivationMemory(points)


def count_weights(model: Any) -> Weights:
    """A model's numbers of parameters."""
    head = model.get_output_embeddings()
    linear = [part for part in model.modules() if isinstance(part, torch.nn.Linear) and part is not head]
    return Weights(
        total=sum(weight.numel() for weight in model.parameters()),
        trained=sum(weight.numel() for weight in model.parameters() if weight.requires_grad),
        largest_layer=max(sum(one.numel() for one in part.parameters(recurse=False)) for part in model.modules()),
        linear=sum(part.weight.numel() for part in linear if not part.weight.requires_grad),
    )
