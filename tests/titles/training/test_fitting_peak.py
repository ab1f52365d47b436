"""What a training step is estimated to take is what a process takes of memory, to a fifth."""

from __future__ import annotations

import subprocess
import sys

import pytest

LLAMA = {
    "vocab_size": 4096,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
MT5 = {"vocab_size": 4096, "d_model": 256, "d_kv": 64, "d_ff": 512, "num_layers": 4, "num_heads": 4}
ADAPTERS = {"lora_rank": 8, "lora_dropout": 0.05}
CASES = {
    "packed adapters": (LLAMA, {**ADAPTERS, "pack": True}),
    "adapters": (LLAMA, ADAPTERS),
    "all weights, accumulated": (MT5, {"micro_batch_size": 8}),
    "checkpointed": (MT5, {"gradient_checkpointing": True}),
}
STEPS = """
import sys
import numpy as np, torch
from accelerate import Accelerator
from pathlib import Path
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, LlamaConfig, MT5Config
from llmrec.titles.models.lora import adapt
from llmrec.titles.settings import GenerateConfig
from llmrec.titles.training import fitting
from llmrec.titles.training.losses import title_loss_of

sizes, changes = eval(sys.argv[1])
seq2seq = "d_model" in sizes
family, kind = (AutoModelForSeq2SeqLM, MT5Config) if seq2seq else (AutoModelForCausalLM, LlamaConfig)
config = GenerateConfig(base_model="a folder", batch_size=16, **changes)
accelerator, fitting.LARGE = Accelerator(cpu=True), 0
torch.set_num_threads(1)
model = adapt(accelerator, family.from_config(kind(**sizes)), config).train()
lengths = np.full(16, 112), np.full(16, 32)
cut = fitting.fit_training(accelerator, model, config, lengths, lengths)
training = fitting._Training(accelerator, model, config, *lengths, lengths)
estimate = training.needed(cut.accumulation, cut.in_pieces).total - fitting.RESERVED["cpu"]
loss = title_loss_of(model, pack=config.pack, row_tokens=fitting.packed_tokens(accelerator))
optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=1e-4)

def held(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))

def step(sessions, parts=1):
    for _ in range(parts):
        loss(model, {"input_ids": [[5] * 112] * sessions, "labels": [[5] * 32] * sessions}, "cpu").backward()

step(1)  # what libraries load at their first use
optimizer.zero_grad()
before = held("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
for _ in range(2):
    step(16 // cut.accumulation, cut.accumulation)
    optimizer.step()
    optimizer.zero_grad()
print(estimate, held("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a part of a process is Linux's to tell")
@pytest.mark.parametrize("case", CASES)
def test_the_estimate_is_the_peak_to_a_fifth(case: str) -> None:
    done = subprocess.run([sys.executable, "-c", STEPS, repr(CASES[case])], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    estimate, measured = map(int, done.stdout.splitlines()[-1].split())
    assert measured > 60 << 20, "too little to compare"
    assert 0.8 * measured < estimate < 1.2 * measured, f"{estimate >> 20} MiB estimated, {measured >> 20} measured"
