"""The learning rate as a function of the step, so that a resumed run needs no scheduler state."""

from __future__ import annotations

import math
from typing import Literal

__all__ = ["learning_rate_at"]


def learning_rate_at(
    step: int, *, peak: float, total_steps: int, warmup_steps: int, schedule: Literal["linear", "cosine", "constant"]
) -> float:
    """Learning rate of an optimizer step.

    Args:
        step: From 0.
        peak: Rate at the end of the warm-up.
        total_steps: Steps of the whole training; the rate of ``linear`` and ``cosine`` falls to 0 there.
        warmup_steps: The rate rises in equal parts over these; the first step has ``peak / warmup_steps``, not 0.
        schedule: Its course after the warm-up.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if schedule == "constant":
        return peak
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    remaining = max(0.0, 1.0 - progress)
    return peak * (remaining if schedule == "linear" else 0.5 * (1.0 - math.cos(math.pi * remaining)))
