"""The plan: sizes that publishers state, memory that DeepSpeed and a real step agree with, commands that start."""

from __future__ import annotations

import dataclasses
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from llmrec.errors import ConfigError, ModelError
from llmrec.settings import load_recipe, resolve
from llmrec.titles.models.architectures import build_hollow, known_models, read_architecture
from llmrec.titles.models.memory import ActivationMemory, Weights, activation_memory
from llmrec.titles.models.plan import GIB, Way, choose, fitted, launch_command, make_plan, run_plan, state_ways
from llmrec.titles.settings import GenerateConfig
from tests.places import ROOT
from tests.titles.tiny_llm import write_tiny_llm

HALF = Weights(total=500_000_000, trained=500_000_000, largest_layer=100_000_000)


@pytest.mark.parametrize("name", sorted(known_models()))
def test_a_model_built_from_typed_sizes_has_the_parameters_that_its_publisher_states(name: str) -> None:
    model = build_hollow(read_architecture(GenerateConfig(base_model=name)), torch.bfloat16)
    built = sum(weight.numel() for weight in model.parameters())
    assert built == pytest.approx(float(known_models()[name]["parameters"]), rel=2e-4)


def test_a_folder_is_read_and_an_unknown_name_is_one_line(tmp_path: Path) -> None:
    folder = write_tiny_llm(tmp_path / "llm", ["a title"])
    assert read_architecture(GenerateConfig(base_model=str(folder))).config.hidden_size == 32
    with pytest.raises(ModelError, match="did you mean 'google/mt5-small'"):
        read_architecture(GenerateConfig(base_model="google/mt5-small-"))


def test_states_are_those_of_deepspeeds_estimators_and_of_arithmetic() -> None:
    from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs
    from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs

    plain, zero2, zero3, offloaded = state_ways(HALF, per_node=4, nodes=2)
    assert plain.states == HALF.total * (4 + 2 + 4 + 8)
    expected = estimate_zero2_model_states_mem_needs(HALF.total, 4, 2, cpu_offload=False)
    assert (zero2.host, zero2.states) == expected
    expected = estimate_zero3_model_states_mem_needs(HALF.total, HALF.largest_layer, 4, 2, cpu_offload=False)
    assert (zero3.host, zero3.states) == expected[:2]
    assert offloaded.states == 4 * HALF.largest_layer
    assert all(way.optimizer >= 0 and way.gradients >= 0 for way in (plain, zero2, zero3, offloaded))


def test_frozen_weights_have_neither_gradients_nor_moments() -> None:
    lora = Weights(total=1_000_000_000, trained=10_000_000, largest_layer=0, linear=900_000_000)
    plain = state_ways(lora, per_node=1, nodes=1)[0]
    assert plain.states == 18 * 10_000_000 + 2 * 990_000_000
    (four_bit,) = state_ways(lora, per_node=1, nodes=1, four_bit=True)
    assert four_bit.states < 0.4 * plain.states


@pytest.mark.parametrize(
    ("room_gib", "gpus", "expected"),
    [
        (100.0, 1, (12, 1)),
        (6.6, 1, (6, 2)),  # 6 sessions at 1 GiB each, a tenth more
        (5.5, 1, (4, 3)),  # 5 fit; three parts of 4 are as equal as can be
        (1.1, 4, (1, 3)),
        (1.0, 1, (0, 0)),
    ],
)
def test_the_micro_batch_is_the_largest_that_fits_and_the_global_batch_stays(
    room_gib: float, gpus: int, expected: tuple[int, int]
) -> None:
    activations = ActivationMemory({1: GIB, 12: 12 * GIB})
    way = fitted(Way("", 0, False, 0, 0, 0, 0), activations, batch_size=12, gpus=gpus, memory_gib=room_gib + 1.5 + 1e-6)
    assert (way.micro_batch, way.accumulation) == expected


def test_the_first_way_with_few_parts_is_taken_then_the_one_with_fewest() -> None:
    many, few, none = (
        Way(name, 0, False, 0, 0, 0, 0, 0, *n) for name, n in {"a": (1, 9), "b": (3, 3), "c": (0, 0)}.items()
    )
    assert choose([none, many, few]) is few
    assert choose([none, many]) is many
    assert choose([none]) is None


def test_activations_between_two_sizes_are_on_the_line() -> None:
    assert [ActivationMemory({1: 10, 5: 50}).at(size) for size in (1, 3, 5)] == [10, 30, 50]


@pytest.mark.parametrize("kind", ["mt5", "llama"])
def test_memory_without_weights_grows_with_the_batch_and_shrinks_with_checkpointing(kind: str, tmp_path: Path) -> None:
    config = GenerateConfig(base_model="tiny", tiny_layers=4)
    if kind == "llama":
        config = GenerateConfig(base_model=str(write_tiny_llm(tmp_path, ["a title"], kind=kind)))
    measured = []
    for checkpointing in (False, True):
        numbers, memory = activation_memory(
            read_architecture(config),
            (2, 8),
            source_tokens=64,
            target_tokens=16,
            dtype=torch.float32,
            checkpointing=checkpointing,
        )
        assert numbers.total == numbers.trained
        assert 1.5 * memory.at(2) < memory.at(8) < 4.5 * memory.at(2)
        measured.append(memory.at(8))
    assert measured[1] < 0.75 * measured[0]


MEASURE = """
import json, sys, torch
from transformers import AutoModelForSeq2SeqLM, MT5Config
from llmrec.titles.training.losses import title_loss
sizes, batch, tokens = json.loads(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(1)
model = AutoModelForSeq2SeqLM.from_config(MT5Config(**sizes))
for weight in model.parameters():
    weight.register_post_accumulate_grad_hook(lambda weight: setattr(weight, "grad", None))
def step(batch, tokens):
    title_loss(model, {"input_ids": [[5] * tokens] * batch, "labels": [[5] * tokens] * batch}, "cpu").backward()
step(1, 2)
def kib(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))
before = kib("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
step(batch, tokens)
print((kib("VmHWM") - before) * 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("batch", [4, 8])
def test_the_estimate_is_within_a_tenth_of_what_a_real_step_takes(batch: int) -> None:
    import json

    from transformers import MT5Config

    from llmrec.titles.models.architectures import Architecture

    sizes = {"vocab_size": 32000, "d_model": 256, "d_kv": 64, "d_ff": 1024, "num_layers": 4, "num_heads": 4}
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    command = [sys.executable, "-c", MEASURE, json.dumps(sizes), str(batch), "128"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    _, memory = activation_memory(
        Architecture("", "", MT5Config(**sizes)), (batch,), source_tokens=128, target_tokens=128, dtype=torch.float32
    )
    assert memory.at(batch) == pytest.approx(int(done.stdout), rel=0.1)


def test_a_recipe_and_changes_become_a_command_that_parses(capsys: pytest.CaptureFixture[str]) -> None:
    from llmrec.cli.flags import command_of

    changes = {"learning_rate": "1e-3", "gradient_checkpointing": True}
    run_plan("mt5_small_k1", changes, gpus=8, memory_gib=48)
    told, shown = capsys.readouterr()[::-1]
    assert "google/mt5-small: 300.2 M parameters" in told
    assert "ZeRO-3 offload" in shown
    words = shlex.split(shown.splitlines()[-1])
    assert (ROOT / words[words.index("--config_file") + 1]).is_file()
    seen: list[GenerateConfig] = []
    command_of(GenerateConfig, seen.append, None)(
        args=words[words.index("scripts/gen.py") + 1 :], standalone_mode=False
    )
    recipe = resolve(GenerateConfig, {}, load_recipe("mt5_small_k1"))
    wanted = {"recipe": "mt5_small_k1", "data": Path("STORE"), "learning_rate": 1e-3, "gradient_checkpointing": True}
    assert seen == [dataclasses.replace(recipe, **wanted)]


def test_adapters_are_counted_and_take_less(tmp_path: Path) -> None:
    config = GenerateConfig(base_model=str(write_tiny_llm(tmp_path, ["a title"])), batch_size=8)
    adapted = make_plan(dataclasses.replace(config, lora_rank=2, quantize="4bit"), "mine", gpus=1, memory_gib=8)
    whole = make_plan(config, "mine", gpus=1, memory_gib=8)
    numbers = adapted.parameters
    assert 0 < numbers.trained < 0.2 * numbers.total
    assert 0 < numbers.linear < numbers.total - numbers.trained
    assert len(adapted.ways) == 1
    assert adapted.ways[0].states < whole.ways[0].states


def test_what_does_not_fit_is_tried_with_checkpointing_and_shared_further(tmp_path: Path) -> None:
    folder = write_tiny_llm(tmp_path, ["a title"])
    config = GenerateConfig(base_model=str(folder), batch_size=16, max_source_tokens=256, max_target_tokens=64)
    roomy = make_plan(config, "mine", gpus=1, memory_gib=8)
    assert (roomy.best and roomy.best.micro_batch) == 16
    assert launch_command(roomy).split()[:4] == [
        "accelerate",
        "launch",
        "--config_file",
        "accelerate_configs/single_gpu.yaml",
    ]
    nothing = make_plan(config, "mine", gpus=1, memory_gib=1.5)
    assert nothing.best is None
    assert nothing.config.gradient_checkpointing
    with pytest.raises(ConfigError, match="no way of sharing this training fits"):
        launch_command(nothing)


def test_several_machines_and_offload_are_in_the_command() -> None:
    plan = make_plan(GenerateConfig(), "demo", gpus=16, memory_gib=48)
    command = launch_command(plan)
    assert "multi_node.yaml --num_processes 16 --num_machines 2 --machine_rank RANK --main_process_ip FIRST" in command
    offloaded = dataclasses.replace(plan, best=dataclasses.replace(plan.ways[-1], micro_batch=1, accumulation=2))
    assert "zero3.yaml" in launch_command(offloaded)
    assert "--offload_optimizer_device cpu --offload_param_device cpu scripts/gen.py" in launch_command(offloaded)
    assert launch_command(offloaded).endswith("--micro-batch-size 1")
    with pytest.raises(ConfigError, match="--gpus 12 is not a whole number of machines of 8"):
        make_plan(GenerateConfig(), "demo", gpus=12, memory_gib=48)
