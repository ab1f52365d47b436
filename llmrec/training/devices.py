"""Where training runs."""

from __future__ import annotations

import os

import torch

__all__ = ["name_processor"]


def name_processor() -> None:
    """Tell DeepSpeed, where it is installed, to use the processor if there is nothing else; it warns otherwise.

    Call it before the first `accelerate.Accelerator` of a process.
    """
    if not torch.accelerator.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
