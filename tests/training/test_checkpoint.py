"""A checkpoint's files are those that were written, or --resume says which is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from llmrec.errors import ModelError
from llmrec.training.checkpoint import Progress, checkpoints, restore, save_checkpoint


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Any, Any, Path]:
    """An accelerator, its model of ones, and the model's checkpoint."""
    accelerator = Accelerator(cpu=True)
    model = torch.nn.Linear(8, 8)
    torch.nn.init.ones_(model.weight)
    model = accelerator.prepare(model)
    save_checkpoint(accelerator, tmp_path, Progress(step=3), {"seed": 0})
    return accelerator, model, checkpoints(tmp_path)[-1]


def test_what_was_saved_is_restored(trained: tuple[Any, Any, Path]) -> None:
    accelerator, model, checkpoint = trained
    torch.nn.init.zeros_(model.weight)
    restore(accelerator, checkpoint.parent)
    assert model.weight.eq(1).all()


@pytest.mark.parametrize("change", [lambda data: data[:-1] + b"\0", lambda data: data[:-1], None])
def test_a_changed_or_missing_file_is_one_line(change: Any, trained: tuple[Any, Any, Path]) -> None:
    accelerator, model, checkpoint = trained
    file = checkpoint / "model.safetensors"
    data = file.read_bytes()
    file.unlink()
    if change is not None:
        file.write_bytes(change(data))
    with pytest.raises(ModelError, match=r"model\.safetensors: not as it was written; start over without --resume"):
        restore(accelerator, checkpoint.parent)
    assert model.weight.eq(1).all()
