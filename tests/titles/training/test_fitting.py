"""A training asks for its memory first: it is cut until it fits, learns the same, or names in one line what fits."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, LlamaConfig, MT5Config

from llmrec.errors import ConfigError
from llmrec.memory import GIB, Free
from llmrec.titles.models.lora import adapt
from llmrec.titles.settings import GenerateConfig
from llmrec.titles.training import fitting
from llmrec.titles.training.fitting import Cut, fit_training, micro_batches

CONFIG = GenerateConfig(base_model="a folder", batch_size=16, generate_batch_size=24)
PACKED = replace(CONFIG, pack=True, lora_rank=4)


@pytest.fixture(autouse=True)
def nothing_reserved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "RESERVED", {"cpu": 0})


def small(kind: str) -> Any:
    """A model of six layers."""
    if kind == "llama":
        sizes = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128}
        settings = LlamaConfig(vocab_size=4096, hidden_size=64, num_hidden_layers=6, **sizes)
        return AutoModelForCausalLM.from_config(settings)
    sizes = {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 6, "num_heads": 4}
    return AutoModelForSeq2SeqLM.from_config(MT5Config(vocab_size=4096, **sizes))


def training_of(kind: str, config: GenerateConfig) -> fitting._Training:
    """A training on 40 sessions of 60 and 20 tokens."""
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=True)
    lengths = np.full(40, 60), np.full(40, 20)
    return fitting._Training(accelerator, adapt(accelerator, small(kind), config), config, *lengths, lengths)


def fitted(training: fitting._Training, free: float, monkeypatch: pytest.MonkeyPatch) -> Cut:
    monkeypatch.setattr(fitting, "free_memory", lambda _: Free(int(free), "a test"))
    lengths = training.prompts, training.titles
    return fit_training(training.accelerator, training.model, training.config, lengths, lengths)


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Lines of stderr, without those that show on a slow machine that work goes on."""
    return [line for line in capsys.readouterr().err.splitlines() if not line.startswith("memory of")]


@pytest.mark.parametrize("micro", [None, 4])
def test_what_fits_is_left_as_it_was_asked_for_without_a_word(
    micro: int | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    training = training_of("mt5", replace(CONFIG, micro_batch_size=micro))
    assert fitted(training, 8 * GIB, monkeypatch) == Cut(micro_batches(16, micro, 1), False, 24)
    assert said(capsys) == []


@pytest.mark.parametrize(("kind", "config"), [("mt5", CONFIG), ("llama", PACKED)])
def test_with_less_there_are_more_parts_and_a_word(
    kind: str, config: GenerateConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    training = training_of(kind, config)
    whole, quarter = (training.needed(parts, False).total for parts in (1, 4))
    assert quarter < whole
    cut = fitted(training, quarter, monkeypatch)
    assert 2 <= cut.accumulation <= 8  # a packed row takes more than in proportion
    beginning = f"a step's 16 sessions are computed {-(-16 // cut.accumulation)} at once on a device: about "
    (line,) = said(capsys)
    assert line.startswith(beginning)
    assert line.endswith("that are free (a test), and the same losses")


def mapped(model: Any) -> set[str]:
    """Parameters whose numbers lie in a file that is mapped."""
    lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if "safetensors" in line]
    parts = [[int(end, 16) for end in one[0].split("-")] for one in lines]
    return {name for name, one in model.named_parameters() if any(a <= one.data_ptr() < b for a, b in parts)}


@pytest.mark.skipif(sys.platform != "linux", reason="what is mapped is Linux's to tell")
def test_weights_are_in_memory_before_memory_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small("llama").save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert mapped(model), "it is no longer read lazily: nothing to mend"
    before = {name: one.detach().clone() for name, one in model.named_parameters()}
    training = replace(training_of("llama", CONFIG), model=model)
    fitted(training, 8 * GIB, monkeypatch)
    assert not mapped(model)
    assert all((one == before[name]).all() for name, one in model.named_parameters())


def test_on_a_cpu_few_packed_tokens_are_computed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "CPU_TOKENS", 320)  # 16 sessions of 60 and 20 tokens are 1,280
    training = training_of("llama", PACKED)
    assert fitted(training, 8 * GIB, monkeypatch).accumulation == 4
    asked = training_of("llama", replace(PACKED, micro_batch_size=16))
    assert fitted(asked, 8 * GIB, monkeypatch).accumulation == 1


@pytest.mark.parametrize(("kind", "config"), [("mt5", CONFIG), ("llama", PACKED)])
def test_long_prompts_with_short_titles_are_not_counted_as_long_sessions(
    kind: str, config: GenerateConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = training_of(kind, config)
    lengths = np.array([40, 70] * 16), np.array([50, 20] * 16)
    seen: list[Any] = []
    measured = fitting._measured
    monkeypatch.setattr(fitting, "free_memory", lambda _: Free(8 * GIB, "a test"))
    monkeypatch.setattr(fitting, "_measured", lambda *all, **kw: seen.append(all[2]) or measured(*all, **kw))
    fit_training(training.accelerator, training.model, config, lengths, lengths)
    together = {len(p) + len(t) for p, t in zip(seen[0]["input_ids"], seen[0]["labels"], strict=True)}
    assert together == ({90} if kind == "llama" else {120}), "an encoder's prompts and the titles are padded apart"
    assert {len(title) for title in seen[0]["labels"]} == {50}


def test_a_micro_batch_that_was_asked_for_is_refused_with_one_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    training = training_of("mt5", replace(CONFIG, micro_batch_size=16))
    free = training.needed(2, False).total
    with pytest.raises(ConfigError, match=r"^training with 16 sessions at once needs about .* what fits") as caught:
        fitted(training, free, monkeypatch)
    size = int(re.findall(r"what fits: --micro-batch-size (\d+)", str(caught.value))[0])
    assert training.needed(micro_batches(16, size, 1), True).total <= free


def test_where_not_even_one_session_fits_other_settings_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    training = training_of("mt5", CONFIG)
    fits = r"^training with 1 session at once .*; what fits: .*--lora-rank 16 .*--micro-batch-size \d+$"
    with pytest.raises(ConfigError, match=fits):
        fitted(training, 0.9 * training.needed(16, True).total, monkeypatch)
    with pytest.raises(ConfigError, match="give shorter prompts, a smaller --base-model, or more memory"):
        fitted(training, 1, monkeypatch)


@pytest.mark.parametrize(
    ("kind", "parts", "checkpointing"), [("mt5", 1, False), ("mt5", 16, False), ("llama", 1, True)]
)
def test_layers_that_are_added_up_take_what_they_take_together(
    kind: str, parts: int, checkpointing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = training_of(kind, replace(CONFIG, gradient_checkpointing=checkpointing))
    added = training.needed(parts, False)
    training.known.clear()
    monkeypatch.setattr(fitting, "_layers", lambda _: 0)
    whole = training.needed(parts, False)
    assert added.states == whole.states
    assert whole.step <= added.step <= 1.05 * whole.step


LIMITED = """
import resource, sys
import llmrec.cli, llmrec.titles.generation
used = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, (used + (1500 << 20),) * 2)
llmrec.cli.main(["generate", *sys.argv[1:]])
"""


@pytest.mark.slow
@pytest.mark.parametrize(("width", "fits"), [(256, True), (1024, False), (1536, False)])
def test_under_a_limit_it_trains_in_parts_or_ends_in_one_line(width: int, fits: bool, tmp_path: Path) -> None:
    """A process that may take 1,500 MiB of addresses beyond those of the libraries."""
    flags = (
        f"--base-model tiny --tiny-width {width} --tiny-layers 2 --batch-size 256 --max-steps 2 --eval-every 2 "
        "--validation-sample 50 --limit 20 --log-to none --output-dir out"
    )
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *flags.split()],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == (0 if fits else 2), done.stderr[-2000:]
    assert ("a step's 256 sessions are computed" in done.stderr) == fits
    assert (" are free (ulimit -v); " in done.stderr.splitlines()[-1]) != fits
    assert "Traceback" not in done.stderr
