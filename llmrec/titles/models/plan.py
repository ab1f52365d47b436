"""What fits on some GPUs: the memory of a recipe's training in each way of sharing it, and the command to start it."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import torch

from llmrec.console import Table, notice, out, table
from llmrec.errors import ConfigError, require
from llmrec.settings import load_recipe, resolve
from llmrec.titles.models.architectures import Architecture, read_architecture
from llmrec.titles.models.lora import add_adapters
from llmrec.titles.models.memory import ActivationMemory, Weights, activation_memory
from llmrec.titles.settings import GenerateConfig
from llmrec.training.devices import name_processor

__all__ = ["Plan", "Way", "choose", "launch_command", "make_plan", "run_plan", "state_ways"]

GIB: Final = 2**30
RESERVED_GIB: Final = 1.5  # the CUDA context, cuBLAS and NCCL buffers
SLACK: Final = 1.1  # of the activations, for blocks that the allocator cannot reuse
MOST_ACCUMULATION: Final = 4  # beyond it the next way is taken, which talks more and computes in larger pieces
FOUR_BIT_BYTES: Final = 0.52  # 4 bits, and 8-bit scales for each 64 weights


@dataclass(frozen=True)
class Way:
    """One way of sharing a training, and what it takes on each GPU, in bytes.

    Attributes:
        name: For people.
        stage: ZeRO stage; 0 without DeepSpeed.
        offload: Whether optimizer (and, at stage 3, weights) lie in the host's memory.
        weights: Parameters.
        gradients: Gradients.
        optimizer: Adam's moments, and the weights in float32 where others are computed with.
        host: Of the host's memory, a node.
        activations: At ``micro_batch``.
        micro_batch: Sessions on a GPU at once; 0 where not even one fits.
        accumulation: Micro-batches in a step.
    """

    name: str
    stage: int
    offload: bool
    weights: int
    gradients: int
    optimizer: int
    host: int
    activations: int = 0
    micro_batch: int = 0
    accumulation: int = 0

    @property
    def states(self) -> int:
        """Everything but activations."""
        return self.weights + self.gradients + self.optimizer


@dataclass(frozen=True)
class Plan:
    """What `llmrec plan` found.

    Attributes:
        config: The recipe's settings; gradient checkpointing is on where nothing fits without.
        recipe: Its name.
        architecture: The model.
        parameters: Its numbers.
        ways: Every way, whether it fits or not.
        best: The way to take; None where none fits.
        gpus: Their number.
        memory_gib: Memory of each.
        nodes: Machines.
        changes: Settings that win over the recipe's, by name.
    """

    config: GenerateConfig
    recipe: str
    architecture: Architecture
    parameters: Weights
    ways: tuple[Way, ...]
    best: Way | None
    gpus: int
    memory_gib: float
    nodes: int
    changes: Mapping[str, Any] = field(default_factory=dict)


def state_ways(weights: Weights, *, per_node: int, nodes: int, four_bit: bool = False) -> list[Way]:
    """Memory of weights, gradients and optimizer in each way, by DeepSpeed's own estimators where it shares them.

    Frozen weights are held in bf16, or in 4 bits but for embeddings, and have neither gradient nor moments.

    Raises:
        MissingExtraError: DeepSpeed is not installed.
    """
    name_processor()
    require("deepspeed", "deepspeed")
    from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs as zero3
    from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs as zero2

    gpus, trained, frozen = per_node * nodes, weights.trained, weights.total - weights.trained
    small = weights.linear if four_bit else 0
    still = round(2 * (frozen - small) + FOUR_BIT_BYTES * small)
    # float32 weights and their bf16 copies that autocast keeps for a pass; float32 gradients; two moments
    ways = [Way("plain", 0, False, 6 * trained + still, 4 * trained, 8 * trained, 0)]
    if four_bit:
        return ways  # bitsandbytes' packed weights cannot be shared out
    host, device = zero2(trained, per_node, nodes, cpu_offload=False)
    ways.append(_shared("ZeRO-2", 2, 2 * trained, still, 6 * trained // gpus, device, host))
    host, device, gathered = zero3(trained, weights.largest_layer, per_node, nodes, cpu_offload=False)
    own = 2 * trained // gpus + gathered
    ways.append(_shared("ZeRO-3", 3, own, still // gpus, 4 * trained // gpus, device, host))
    host, device, gathered = zero3(
        trained, weights.largest_layer, per_node, nodes, cpu_offload=True, cpu_offload_params=True
    )
    offloaded = _shared("ZeRO-3 offload", 3, device, 0, 0, device, host + still // nodes)
    return [*ways, replace(offloaded, offload=True)]


def _shared(name: str, stage: int, own: int, still: int, gradients: int, device: float, host: float) -> Way:
    """A way whose trained parameters take ``device`` bytes in all, by DeepSpeed's estimate."""
    return Way(name, stage, False, own + still, gradients, int(device) - own - gradients, int(host))


def fitted(way: Way, activations: ActivationMemory, *, batch_size: int, gpus: int, memory_gib: float) -> Way:
    """The way with the largest micro-batch that fits; a step's micro-batches are as equal as they can be."""
    room = (memory_gib - RESERVED_GIB) * GIB - way.states
    share = math.ceil(batch_size / gpus)
    most = next((size for size in range(share, 0, -1) if SLACK * activations.at(size) <= room), 0)
    if not most:
        return replace(way, activations=round(SLACK * activations.at(1)))
    accumulation = math.ceil(batch_size / (gpus * most))
    micro = math.ceil(batch_size / (gpus * accumulation))
    return replace(way, activations=round(SLACK * activations.at(micro)), micro_batch=micro, accumulation=accumulation)


def choose(ways: Iterable[Way]) -> Way | None:
    """The first way that fits with few micro-batches a step, for each further one talks more; else that with fewest."""
    fitting = [way for way in ways if way.micro_batch]
    few = [way for way in fitting if way.accumulation <= MOST_ACCUMULATION]
    return few[0] if few else min(fitting, key=lambda way: way.accumulation, default=None)


def make_plan(config: GenerateConfig, recipe: str, *, gpus: int, memory_gib: float, per_node: int = 8) -> Plan:
    """Find what fits; where nothing does, once more with gradient checkpointing.

    Args:
        config: The recipe's settings.
        recipe: Its name.
        gpus: GPUs over all machines.
        memory_gib: Memory of each.
        per_node: GPUs of a machine.

    Raises:
        ConfigError: the GPUs are not whole machines.
        ModelError: the model's sizes are not known.
    """
    if gpus > per_node and gpus % per_node:
        raise ConfigError(f"--gpus {gpus} is not a whole number of machines of {per_node}; see --gpus-per-node")
    nodes = max(1, gpus // per_node)
    architecture = read_architecture(config)
    parameters, activations = _measured(architecture, config, math.ceil(config.batch_size / gpus))
    states = state_ways(parameters, per_node=min(gpus, per_node), nodes=nodes, four_bit=config.quantize == "4bit")
    ways = tuple(
        fitted(way, activations, batch_size=config.batch_size, gpus=gpus, memory_gib=memory_gib) for way in states
    )
    best = choose(ways)
    if best is None and not config.gradient_checkpointing:
        saving = replace(config, gradient_checkpointing=True)
        return make_plan(saving, recipe, gpus=gpus, memory_gib=memory_gib, per_node=per_node)
    return Plan(config, recipe, architecture, parameters, ways, best, gpus, memory_gib, nodes)


def _measured(architecture: Architecture, config: GenerateConfig, share: int) -> tuple[Weights, ActivationMemory]:
    plain = replace(config, quantize="none")
    adapt = None if config.lora_rank is None else lambda model: add_adapters(model, plain).to(torch.bfloat16)
    return activation_memory(
        architecture,
        (1, share),
        source_tokens=config.max_source_tokens or 256,
        target_tokens=config.max_target_tokens or 96,
        dtype=torch.bfloat16,
        checkpointing=config.gradient_checkpointing,
        adapt=adapt,
    )


def launch_command(plan: Plan) -> str:
    """The command that starts the training as planned; on several machines, on each of them.

    Raises:
        ConfigError: nothing fits.
    """
    best = plan.best
    if best is None:
        raise ConfigError("no way of sharing this training fits; see the table")
    words = ["accelerate launch --config_file", f"accelerate_configs/{_hardware(plan, best)}.yaml"]
    if plan.gpus > 1:
        words.append(f"--num_processes {plan.gpus}")
    if plan.nodes > 1:
        words.append(
            f"--num_machines {plan.nodes} --machine_rank RANK --main_process_ip FIRST --main_process_port 29500"
        )
    if best.offload:
        words.append("--offload_optimizer_device cpu --offload_param_device cpu")
    words.append(f"scripts/gen.py --data STORE --recipe {plan.recipe}")
    words += [_flag(name, value) for name, value in plan.changes.items()]
    if best.accumulation > 1:
        words.append(f"--micro-batch-size {best.micro_batch}")
    if plan.config.gradient_checkpointing and "gradient_checkpointing" not in plan.changes:
        words.append("--gradient-checkpointing")
    return " ".join(words)


def _flag(name: str, value: Any) -> str:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    return f"--{flag} {shlex.quote(str(value))}"


def _hardware(plan: Plan, best: Way) -> str:
    if best.stage:
        return f"zero{best.stage}"
    if plan.nodes > 1:
        return "multi_node"
    return "multi_gpu" if plan.gpus > 1 else "single_gpu"


def _gib(size: float) -> str:
    return f"{size / GIB:.1f}"


def plan_table(plan: Plan) -> Table:
    """The ways side by side, in GiB a GPU."""
    rows = []
    for way in plan.ways:
        fits = f"{way.micro_batch} x {way.accumulation}" if way.micro_batch else "-"
        total = way.states + way.activations + RESERVED_GIB * GIB
        sizes = (way.weights, way.gradients, way.optimizer, way.activations, total, way.host)
        rows.append((f"{'> ' if way is plan.best else '  '}{way.name}", *map(_gib, sizes), fits))
    columns = ("way", "weights", "grads", "Adam", "activ.", "in all", "host", "batch")
    title = f"GiB on each of {plan.gpus} GPUs of {plan.memory_gib:g}; batch: sessions at once x accumulated"
    return table(title, columns, rows)


def _said(plan: Plan) -> list[str]:
    """What the table is about."""
    numbers, config = plan.parameters, plan.config
    trained = "" if numbers.trained == numbers.total else f", {numbers.trained / 1e6:,.1f} M of them trained"
    source, target = config.max_source_tokens or 256, config.max_target_tokens or 96
    lines = [
        f"{plan.architecture.name}: {numbers.total / 1e6:,.1f} M parameters{trained} ({plan.architecture.source})",
        f"in bf16, with the longest sessions ({source} + {target} tokens), {config.batch_size} of them a step",
    ]
    if config.gradient_checkpointing:
        lines.append("activations are computed again in the backward pass (gradient checkpointing)")
    idle = plan.gpus - config.batch_size
    if idle > 0:
        lines.append(f"{idle} of {plan.gpus} GPUs have no session in a step; a larger --batch-size gives them work")
    return lines


def run_plan(recipe: str, changes: Mapping[str, Any], *, gpus: int, memory_gib: float, per_node: int = 8) -> Plan:
    """Make the plan of a recipe, with some settings changed, and tell it; see `make_plan`."""
    config = resolve(GenerateConfig, changes, load_recipe(recipe))
    plan = make_plan(config, recipe, gpus=gpus, memory_gib=memory_gib, per_node=per_node)
    plan = replace(plan, changes={name: getattr(config, name) for name in changes})
    for line in _said(plan):
        notice(line)
    out.print(plan_table(plan))
    if plan.best is None:
        raise ConfigError(
            f"{plan.architecture.name} does not fit on {gpus} GPUs of {memory_gib:g} GB in any way; give more of "
            "either, shorter prompts, or adapters with --set lora_rank=16"
        )
    out.print(launch_command(plan))
    return plan
