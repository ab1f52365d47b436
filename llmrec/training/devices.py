"""Where training runs."""

from __future__ import annotations

import os
from typing import Any

import torch

__all__ = ["name_processor", "new_accelerator"]


def name_processor() -> None:
    """Tell DeepSpeed, where it is installed, to use the processor if there is nothing else; it warns otherwise.

    Call it before the first `accelerate.Accelerator` of a process.
    """
    if not torch.accelerator.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")


def new_accelerator() -> Any:
    """An `accelerate.Accelerator` for a model whose steps need not use all of its parameters."""
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs

    name_processor()
    return Accelerator(kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)])
