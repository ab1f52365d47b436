"""Numbers that a model computes with, and whether this processor is quick in them."""

from __future__ import annotations

import time
from functools import cache
from typing import Any, Final

import torch

from llmrec.console import notice_once

__all__ = ["PRECISIONS", "bf16_speed", "in_precision", "tell_slow_bf16"]

PRECISIONS: Final = {"fp32": torch.float32, "bf16": torch.bfloat16}
_ROWS, _FROM, _TO, _TIMES = 1024, 576, 1536, 3  # a layer of a small language model: tens of milliseconds
_SLOW: Final = 0.9


def in_precision(model: Any, precision: str) -> Any:
    """A model with its weights in ``fp32`` or ``bf16``, where it lies; says so where that is slow here."""
    if precision == "bf16":
        tell_slow_bf16(model.device)
    return model.to(PRECISIONS[precision])


def tell_slow_bf16(device: Any) -> None:
    """Say, once, where a CPU multiplies more slowly in bf16 than in fp32: many have no unit for it."""
    if device.type == "cpu" and bf16_speed() < _SLOW:
        notice_once(f"this processor computes in bf16 at {bf16_speed():.2f} times the speed of fp32; fp32 is quicker")


@cache
def bf16_speed() -> float:
    """How many times as fast as in fp32 a core of this processor multiplies matrices in bf16."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several would wait for the one that others disturb
    try:
        return _seconds(torch.float32) / _seconds(torch.bfloat16)
    finally:
        torch.set_num_threads(threads)


def _seconds(kind: torch.dtype) -> float:
    """The least of some trials of a layer, which others that run here disturb least."""
    rows, weights = torch.ones(_ROWS, _FROM, dtype=kind), torch.ones(_TO, _FROM, dtype=kind)
    taken: list[float] = []
    with torch.inference_mode():
        for _ in range(1 + _TIMES):
            started = time.perf_counter()
            torch.nn.functional.linear(rows, weights)
            taken.append(time.perf_counter() - started)
    return min(taken[1:])
