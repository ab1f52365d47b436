"""How a training's batches are cut so that they fit in memory: found by running its step on tensors without content.

A model of two and one of three layers are run, and every further layer adds what the third has: exact where all layers
are alike, and a bound where the peak moves from one place of the step to another.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from accelerate.utils import gather_object
from numpy.typing import NDArray

from llmrec.console import busy, notice
from llmrec.memory import Free, free_memory, give_back_at_once, readable, require_memory
from llmrec.processes import local_processes
from llmrec.titles.models.architectures import Architecture, build_hollow, runnable
from llmrec.titles.models.causal import is_causal
from llmrec.titles.models.lora import add_adapters
from llmrec.titles.models.memory import Weights, count_weights, peak_bytes
from llmrec.titles.models.model import checkpoint_activations
from llmrec.titles.models.plan import state_ways
from llmrec.titles.settings import GenerateConfig
from llmrec.titles.training.losses import PACKED_ON_CPU, PACKED_TOKENS, unchecked_loss

__all__ = ["Cut", "fit_training", "micro_batches", "packed_tokens"]

Lengths = NDArray[np.int64]
SLACK: Final = 1.1  # of activations, for blocks that an allocator keeps and cannot use again
RESERVED: Final = {"cuda": 1 << 29, "cpu": 1 << 28}  # libraries' workspaces, threads' stacks
CPU_TOKENS: Final = 2048  # packed at once on a CPU: more take memory and no less time, and the first loss waits for all
CPU_WORK: Final = 150 * 10**9  # the same: weights times tokens, some ten seconds of a core
LARGE: Final = 1 << 30  # bytes of a step from which on a CPU's allocator is to give back at once what is free
FEW: Final = 4  # times the micro-batches asked for: beyond it logits come in pieces, which takes some time
DEPTHS: Final = ("num_hidden_layers", "num_layers", "num_decoder_layers", "encoder_layers", "decoder_layers")


class Cut(NamedTuple):
    """How a training's batches are cut.

    Attributes:
        accumulation: Micro-batches that each process accumulates in a step.
        in_pieces: Whether logits are computed in pieces.
        validated: Sessions validated at once.
    """

    accumulation: int
    in_pieces: bool
    validated: int


class _Needed(NamedTuple):
    """Bytes: what stays over the training, and what comes and goes in a step."""

    states: int
    step: int

    @property
    def total(self) -> int:
        return self.states + self.step


@dataclass(frozen=True)
class _Training:
    """What the memory of a training depends on; ``prompts`` and ``titles`` are tokens of sessions, the most first."""

    accelerator: Any
    model: Any
    config: GenerateConfig
    prompts: Lengths
    titles: Lengths
    validation: tuple[Lengths, Lengths]
    known: dict[Any, _Needed] = field(default_factory=dict)

    @property
    def share(self) -> int:
        """Sessions that a process has of a step."""
        return -(-min(self.config.batch_size, len(self.prompts)) // int(self.accelerator.num_processes))

    def needed(self, accumulation: int, in_pieces: bool, config: GenerateConfig | None = None) -> _Needed:
        """What so many micro-batches a step take, with other settings where these are given."""
        config = config or self.config
        key = accumulation, in_pieces, config.gradient_checkpointing, config.lora_rank
        if key not in self.known:
            self.known[key] = _needed(self, accumulation, in_pieces, config)
        return self.known[key]


def micro_batches(batch_size: int, micro_batch_size: int | None, num_processes: int) -> int:
    """Micro-batches that one process accumulates in a step so that none exceeds ``micro_batch_size`` sessions."""
    if micro_batch_size is None:
        return 1
    return max(1, math.ceil(batch_size / (num_processes * micro_batch_size)))


def packed_tokens(accelerator: Any) -> int:
    """Most tokens of a packed row on a device."""
    return PACKED_ON_CPU if accelerator.device.type == "cpu" else PACKED_TOKENS


def fit_training(
    accelerator: Any,
    model: Any,
    config: GenerateConfig,
    lengths: tuple[Lengths, Lengths],
    validation: tuple[Lengths, Lengths],
) -> Cut:
    """Cut a training's batches so that it fits on this device, and say so where they are not as asked for.

    Args:
        accelerator: `accelerate.Accelerator`; every process calls this, before the model is prepared.
        model: What is trained, adapters included.
        config: Settings; a micro-batch size among them is kept.
        lengths: Tokens of the prompts and of the titles that are trained on, shape ``(S,)`` each.
        validation: The same of those that are validated on.

    Raises:
        ConfigError: it does not fit, or not with the micro-batch size asked for; names settings that do.
    """
    if accelerator.device.type == "cpu":
        _read_weights(model)
    prompts, titles = _longest(model, lengths)
    training = _Training(accelerator, model, config, prompts, titles, validation)
    with busy("memory of a training step"):
        free = _free(accelerator)
        found = _choose(training, free.size)
        cut = Cut(*found, _validated(training, free.size)) if found else None
        every: list[Cut | None] = gather_object([cut]) if accelerator.num_processes > 1 else [cut]
        cuts = [one for one in every if one is not None]
        if len(cuts) < len(every):
            _refuse(training, free)  # on every process, lest some wait for others
    agreed = Cut(max(one[0] for one in cuts), any(one[1] for one in cuts), min(one[2] for one in cuts))
    if accelerator.is_main_process:
        _tell(training, agreed, free)
    if accelerator.device.type == "cpu" and training.needed(agreed.accumulation, agreed.in_pieces).step > LARGE:
        give_back_at_once()
    return agreed


def _longest(model: Any, lengths: tuple[Lengths, Lengths]) -> tuple[Lengths, Lengths]:
    """Tokens of prompts and of titles, the most first: no sessions of the data hold more, and hardly less.

    A causal model reads both in one, so that the sessions with most tokens are as long as they are, and the longest
    titles are among these tokens. Where an encoder reads the prompts, both are padded to the longest of its own.
    """
    if not is_causal(model):
        prompts, titles = (np.sort(one)[::-1] for one in lengths)
        return prompts, titles
    wholes, titles = np.sort(lengths[0] + lengths[1])[::-1], np.sort(lengths[1])[::-1]
    return wholes - titles, titles


def _read_weights(model: Any) -> None:
    """Bring weights that are mapped from a file into memory: else they come in the first step, uncounted."""
    for one in model.parameters():
        if one.is_floating_point():
            one.data = one.data.clone()


def _free(accelerator: Any) -> Free:
    """What one process may take; those of one machine share its memory, but each has its own GPU."""
    several = 1 if accelerator.device.type == "cuda" else local_processes()
    return free_memory(accelerator.device).shared(several)


def _choose(training: _Training, free: int) -> tuple[int, bool] | None:
    """Micro-batches and whether logits come in pieces: as asked for if that fits, else as little changed as can be."""
    config = training.config
    asked = min(
        micro_batches(config.batch_size, config.micro_batch_size, training.accelerator.num_processes), training.share
    )
    if config.micro_batch_size is None and training.accelerator.device.type == "cpu":
        tokens = int(training.prompts[: training.share].sum() + training.titles[: training.share].sum())
        most = CPU_WORK / max(1, _multiplied(training.model))
        most = min(most, CPU_TOKENS) if config.pack else most
        asked = min(max(asked, math.ceil(tokens / most)), training.share)
    if training.needed(asked, False).total <= free:
        return asked, False
    if config.micro_batch_size is not None:
        return (asked, True) if training.needed(asked, True).total <= free else None
    whole = _fewest(training, asked, free, in_pieces=False)
    if whole is not None and whole <= FEW * asked:
        return whole, False
    pieces = _fewest(training, asked, free, in_pieces=True)
    found = [(number, way) for number, way in ((whole, False), (pieces, True)) if number is not None]
    return min(found, default=None)


def _multiplied(model: Any) -> int:
    """Weights that every token is multiplied with: all but embeddings and head."""
    ends = [model.get_input_embeddings().weight, model.get_output_embeddings().weight]
    return sum(one.numel() for one in model.parameters() if not any(one is end for end in ends))


def _fewest(
    training: _Training, first: int, free: int, *, in_pieces: bool, config: GenerateConfig | None = None
) -> int | None:
    """The first number of micro-batches found to fit, from ``first`` on; None where single sessions do not."""
    if training.needed(training.share, in_pieces, config).total > free:
        return None
    number = first
    while (needed := training.needed(number, in_pieces, config)).total > free:
        room = free - needed.states
        guess = math.ceil(number * needed.step / room) if room > 0 else 2 * number
        number = min(max(guess, math.ceil(1.25 * number)), training.share)
    return number


def _needed(training: _Training, accumulation: int, in_pieces: bool, config: GenerateConfig) -> _Needed:
    accelerator, micro = training.accelerator, math.ceil(training.share / accumulation)
    rows = {
        name: [[5] * int(one) for one in lengths[:micro]]
        for name, lengths in (("input_ids", training.prompts), ("labels", training.titles))
    }
    kept = accumulation == 1 and accelerator.state.deepspeed_plugin is None  # else gradients are among the states
    weights, step = _measured(training, config, rows, in_pieces=in_pieces, keep_gradients=kept)
    gradients, kind = 4 * weights.trained, accelerator.device.type
    updating = (gradients if kept else 0) + (
        gradients if kind == "cuda" else 8 * min(weights.trained, weights.largest_layer)
    )
    states = _states(training, weights) - (gradients if kept else 0)
    slack = 1.0 if kind == "cpu" and step > LARGE else SLACK  # a large training's blocks are given back at once
    return _Needed(states + RESERVED[kind], max(round(slack * step), updating))


def _states(training: _Training, weights: Weights) -> int:
    """Gradients, moments and what else stays, but for weights that are where they are trained already."""
    accelerator = training.accelerator
    plugin, processes = accelerator.state.deepspeed_plugin, accelerator.num_processes
    if plugin is not None and plugin.zero_stage >= 2:
        node = local_processes()
        ways = state_ways(weights, per_node=node, nodes=max(1, processes // node))
        offload = plugin.deepspeed_config.get("zero_optimization", {}).get("offload_optimizer", {}).get("device")
        shared = [way for way in ways if way.stage == plugin.zero_stage]
        return next((way for way in shared if way.offload == (offload in ("cpu", "nvme"))), shared[0]).states
    kind, buckets = accelerator.device.type, 4 * weights.trained if processes > 1 else 0
    moved: list[int] = [
        one.numel() * one.element_size() for one in training.model.parameters() if one.device.type != kind
    ]
    return 12 * weights.trained + buckets + sum(moved)


def _measured(
    training: _Training,
    config: GenerateConfig,
    rows: Any,
    *,
    in_pieces: bool,
    keep_gradients: bool,
    learning: bool = True,
) -> tuple[Weights, int]:
    """Numbers of parameters, and the peak of a step on some rows."""
    rows_of = packed_tokens(training.accelerator)
    loss = unchecked_loss(training.model, pack=config.pack, in_pieces=in_pieces, row_tokens=rows_of)
    layers = _layers(training.model.config)
    measured = []
    for number in (2, 3) if layers and layers > 3 else (layers,):
        hollow = _hollow(training, config, number).train(learning)
        weights = count_weights(hollow)
        bf16 = training.accelerator.mixed_precision == "bf16"
        with runnable(hollow), torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            measured.append((weights, peak_bytes(hollow, loss, rows, keep_gradients=keep_gradients)))
    if len(measured) == 1:
        return measured[0]
    (two, low), (three, high) = measured
    more = layers - 3
    trained = three.trained - two.trained
    slope = max(high - low, 4 * trained if keep_gradients else 0)
    weights = replace(
        three,
        total=three.total + more * (three.total - two.total),
        trained=three.trained + more * trained,
        linear=three.linear + more * (three.linear - two.linear),
    )
    return weights, high + more * slope


def _layers(settings: Any) -> int:
    """A model's layers where any number of them is a model of its kind; else 0."""
    depths = {getattr(settings, name, None) for name in DEPTHS} - {None}
    kinds = set(getattr(settings, "layer_types", None) or ())
    return int(depths.pop() or 0) if len(depths) == 1 and len(kinds) < 2 else 0


def _hollow(training: _Training, config: GenerateConfig, layers: int) -> Any:
    settings, model = copy.deepcopy(training.model.config), training.model
    for name in DEPTHS if layers else ():
        if getattr(settings, name, None) is not None:
            setattr(settings, name, layers)
    if layers and getattr(settings, "layer_types", None):
        settings.layer_types = settings.layer_types[:layers]
    head = model.get_output_embeddings().weight
    own_head = head is not model.get_input_embeddings().weight
    hollow = build_hollow(Architecture("", "", settings, own_head), head.dtype)
    if config.gradient_checkpointing:
        checkpoint_activations(hollow)
    return hollow if config.lora_rank is None else add_adapters(hollow, replace(config, quantize="none"))


def _validated(training: _Training, free: int) -> int:
    """Sessions to validate at once: those that are decoded at once, if they fit."""
    size, (prompts, titles) = training.config.generate_batch_size, _longest(training.model, training.validation)
    rows = {"input_ids": [[5] * int(n) for n in prompts[:size]], "labels": [[5] * int(n) for n in titles[:size]]}
    weights, step = _measured(training, training.config, rows, in_pieces=True, keep_gradients=False, learning=False)
    room = free - _states(training, weights) + 4 * weights.trained
    return max(1, min(size, size * max(0, room) // round(SLACK * step)))


def _tell(training: _Training, cut: Cut, free: Free) -> None:
    config, needed = training.config, training.needed(cut.accumulation, cut.in_pieces)
    asked = micro_batches(config.batch_size, config.micro_batch_size, training.accelerator.num_processes)
    if (cut.accumulation, cut.in_pieces) != (min(asked, training.share), False):
        micro = math.ceil(training.share / cut.accumulation)
        pieces = ", logits in pieces" if cut.in_pieces else ""
        notice(
            f"a step's {config.batch_size} sessions are computed {micro} at once on a device{pieces}: about "
            f"{readable(needed.total)} of the {readable(free.size)} that are free ({free.source}), and the same losses"
        )


def _refuse(training: _Training, free: Free) -> None:
    """Say what fits.

    Raises:
        ConfigError: always.
    """
    config, ways = training.config, []
    given = micro_batches(config.batch_size, config.micro_batch_size, training.accelerator.num_processes)
    asked = min(given, training.share)
    for flag, changed in (("", config), *_savings(config)):
        number = _fewest(training, asked, free.size, in_pieces=True, config=changed)
        if number is not None:
            ways.append(f"{flag} --micro-batch-size {math.ceil(training.share / number)}".strip())
    hint = (
        f"what fits: {', or '.join(ways)}" if ways else "give shorter prompts, a smaller --base-model, or more memory"
    )
    least = training.share if config.micro_batch_size is None else asked
    sessions = math.ceil(training.share / least)
    what = f"training with {sessions} session{'s' * (sessions > 1)} at once"
    require_memory(what, max(training.needed(least, True).total, free.size + 1), free, hint)


def _savings(config: GenerateConfig) -> Sequence[tuple[str, GenerateConfig]]:
    ways = []
    if not config.gradient_checkpointing:
        ways.append(("--gradient-checkpointing", replace(config, gradient_checkpointing=True)))
    if config.lora_rank is None and config.base_model != "tiny":
        ways.append(("--lora-rank 16", replace(config, lora_rank=16)))
        ways.append(("--lora-rank 16 --gradient-checkpointing", replace(ways[0][1], lora_rank=16)))
    return ways
