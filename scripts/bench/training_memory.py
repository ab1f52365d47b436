"""What a title model's training was estimated to take of memory, beside what its steps took; logits of titles alone."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from bench.measure import app, measure, resident, show, start_peak
from llmrec.memory import give_back_at_once, readable

__all__ = ["memory"]

SMOL = {  # SmolLM2-135M
    "vocab_size": 49_152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "tie_word_embeddings": True,
}
MT5 = {"vocab_size": 32_000, "d_model": 256, "d_kv": 64, "d_ff": 1024, "num_layers": 6, "num_heads": 4}
PACKED = {"pack": True, "lora_rank": 16}
CASES: dict[str, tuple[dict[str, Any], tuple[int, int], dict[str, Any]]] = {
    "mT5 of width 256, 8 sessions": (MT5, (128, 64), {"batch_size": 8}),
    "the same, 4 at once": (MT5, (128, 64), {"batch_size": 8, "micro_batch_size": 4}),
    "the same, gradient checkpointing": (MT5, (128, 64), {"batch_size": 8, "gradient_checkpointing": True}),
    "the same, logits in pieces": (MT5 | {"vocab_size": 128_000}, (64, 64), {"batch_size": 16}),
    "SmolLM2-135M's sizes, LoRA, 4 packed sessions": (
        SMOL,
        (160, 32),
        {"batch_size": 4, **PACKED},
    ),
    "SmolLM2-135M's sizes, all weights, 2 sessions": (SMOL, (100, 32), {"batch_size": 2}),
}


def _model(sizes: dict[str, Any]) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, LlamaConfig, MT5Config

    torch.set_num_threads(1)
    torch.manual_seed(0)
    if "d_model" in sizes:
        return AutoModelForSeq2SeqLM.from_config(MT5Config(**sizes))
    return AutoModelForCausalLM.from_config(LlamaConfig(**sizes))


def _case(name: str) -> dict[str, float]:
    """Two optimizer steps: seconds and bytes of the estimate, and the peak above what was there before."""
    import torch
    from accelerate import Accelerator

    from llmrec.titles.models.lora import adapt
    from llmrec.titles.settings import GenerateConfig
    from llmrec.titles.training import fitting
    from llmrec.titles.training.losses import title_loss_of

    sizes, (prompt, title), changes = CASES[name]
    accelerator, config = Accelerator(cpu=True), GenerateConfig(base_model="a folder", **changes)
    model, pieces = adapt(accelerator, _model(sizes), config), "pieces" in name
    lengths = np.full(64, prompt), np.full(64, title)
    training = fitting._Training(accelerator, model, config, *lengths, lengths)
    accumulation = fitting.micro_batches(config.batch_size, config.micro_batch_size, 1)
    started = time.process_time()
    estimate = training.needed(accumulation, pieces).total - fitting.RESERVED["cpu"]
    give_back_at_once()  # as a large training does
    seconds = time.process_time() - started
    rows_of = fitting.packed_tokens(accelerator)
    loss = title_loss_of(model, pack=config.pack, in_pieces=pieces, row_tokens=rows_of)
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=1e-4)

    def step(sessions: int, first: int, second: int) -> None:
        rows = {"input_ids": [[5] * first] * sessions, "labels": [[5] * second] * sessions}
        loss(model.train(), rows, "cpu").backward()  # type: ignore[no-untyped-call]

    step(1, 4, 2)
    optimizer.zero_grad()
    before = start_peak()
    for _ in range(2):
        for _ in range(accumulation):
            step(config.batch_size // accumulation, prompt, title)
        optimizer.step()
        optimizer.zero_grad()
    return {"estimate": estimate, "seconds": seconds, "measured": resident("VmHWM") - before}


def _logits(everywhere: bool) -> float:
    """CPU seconds of a step on titles of very different lengths; with logits ``everywhere``, padding included."""
    import torch
    from torch.nn import functional

    from llmrec.titles.decoding.decode import pad_prompts
    from llmrec.titles.training.batches import pad
    from llmrec.titles.training.losses import title_loss

    model = _model(MT5).train()
    rng = np.random.default_rng(0)
    rows = {"input_ids": [[5] * 64] * 8, "labels": [[5] * int(n) for n in rng.integers(8, 65, 8)]}

    def padded() -> torch.Tensor:
        inputs, mask = pad_prompts(rows["input_ids"], "cpu")
        labels = torch.from_numpy(pad(rows["labels"], -100))
        read = functional.pad(labels[:, :-1].clamp(min=0), (1, 0))
        logits = model(input_ids=inputs, attention_mask=mask, decoder_input_ids=read, use_cache=False).logits
        return functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum")

    taken = []
    for _ in range(4):
        started = time.process_time()
        (padded() if everywhere else title_loss(model, rows, "cpu")).backward()  # type: ignore[no-untyped-call]
        taken.append(time.process_time() - started)
    return float(np.median(taken[1:]))


@app.command()
def memory() -> None:
    """Estimates of training memory beside what steps took, and a step with logits where titles are learnt alone."""
    rows = []
    for name in CASES:
        found = measure(_case, name)
        estimate, measured = found.value["estimate"], found.value["measured"]
        note = f"{readable(estimate)} estimated in {found.value['seconds']:.2f} CPU s, {readable(measured)} measured"
        rows.append((name, found, f"{note}, {estimate / measured - 1:+.0%}"))
    show("memory of a training step", rows)
    both = [measure(_logits, way) for way in (True, False)]
    names = ("logits at padding too", "logits where a title is learnt")
    show("a step of mT5", [(name, one, f"{one.value:.2f} CPU s") for name, one in zip(names, both, strict=True)])
