"""Where training runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from llmrec.errors import ConfigError

__all__ = ["launch_errors", "name_processor", "new_accelerator"]


def name_processor() -> None:
    """Tell DeepSpeed, where it is installed, to use the processor if there is nothing else; it warns otherwise.

    Call it before the first `accelerate.Accelerator` or model of a process.
    """
    if not torch.accelerator.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")


def new_accelerator() -> Any:
    """An `accelerate.Accelerator` for a model whose steps need not use all of its parameters."""
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs

    from llmrec.training.nodes import join

    name_processor()
    join()
    with launch_errors():
        return Accelerator(kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)])


@contextmanager
def launch_errors() -> Iterator[None]:
    """Turn what accelerate or torch say of a launcher's settings that they cannot use into one line.

    Raises:
        ConfigError: the environment holds such a setting.
    """
    try:
        yield
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"the environment has a launcher's setting that cannot be used ({reason}); unset it, or accelerate launch"
        ) from error
