"""A training that diverges stops at that step, and what it had kept is as it was."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import Tensor

from llmrec.errors import ConfigError
from llmrec.training.loop import Task, run_training


@dataclass(frozen=True)
class Settings:
    """What every family has."""

    learning_rate: float = 0.1
    schedule: str = "constant"
    warmup_steps: int = 0
    max_grad_norm: float = 1.0
    checkpoint_every: int = 2
    log_to: str = "none"
    eval_every: int = 2


@dataclass(kw_only=True)
class Diverging(Task):
    """A weight that falls by a tenth a step, until the loss, or its gradient alone, is no number."""

    breaks_at: int = 99
    in_gradient: bool = False
    in_weight: bool = False

    def after_step(self) -> None:
        self.stepped = getattr(self, "stepped", 0) + 1
        if self.in_weight and self.stepped == self.breaks_at:
            self.model.weight.data.fill_(float("inf"))

    def epoch(self, _number: int, first: int) -> range:
        return range(first, 8)

    def size(self, _batch: int) -> int:
        return 1

    def loss(self, _part: int, step: int) -> Tensor:
        loss: Tensor = self.model.weight.sum()
        if step + 1 != self.breaks_at or self.in_weight:
            return loss
        if self.in_gradient:  # sqrt has none at 0
            return loss + (0 * loss).sqrt()
        return loss * float("nan")


def train(folder: Path, **changes: Any) -> Any:
    accelerator = Accelerator(cpu=True)
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model, optimizer = accelerator.prepare(model, optimizer)
    task = Diverging(
        accelerator=accelerator,
        model=model,
        optimizers=[optimizer],
        settings=Settings(),
        steps_per_epoch=8,
        total_steps=8,
        evaluate=lambda one: -float(one.weight.detach().sum()),
        metric="score",
        **changes,
    )
    run_training(task, folder=folder, decides={})
    return task


@pytest.mark.parametrize(("in_gradient", "what"), [(False, "loss"), (True, "gradient")])
def test_it_stops_in_one_line_and_keeps_what_was_good(tmp_path: Path, in_gradient: bool, what: str) -> None:
    with pytest.raises(ConfigError, match=f"^step 6: the {what} is not a finite number, so the training") as caught:
        train(tmp_path, breaks_at=6, in_gradient=in_gradient)
    (kept,) = (tmp_path / "checkpoints").glob("step-*")
    assert f"{tmp_path} keeps the best state so far (step 4) and the checkpoint {kept.name}" in str(caught.value)
    assert "lower learning rate" in str(caught.value)
    for file in (tmp_path / "weights.safetensors", kept / "model.safetensors"):
        assert load_file(file)["weight"].item() == pytest.approx(1 - 4 * 0.1)


def test_weights_that_a_step_broke_replace_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^step 6: a weight is not a finite number.* keeps the best state .*step 4"):
        train(tmp_path, breaks_at=6, in_weight=True)
    (kept,) = (tmp_path / "checkpoints").glob("step-*")
    for file in (tmp_path / "weights.safetensors", kept / "model.safetensors"):
        assert load_file(file)["weight"].item() == pytest.approx(1 - 4 * 0.1)


def test_undisturbed_it_ends(tmp_path: Path) -> None:
    assert train(tmp_path).plain.weight.item() == pytest.approx(1 - 8 * 0.1, rel=1e-4)
