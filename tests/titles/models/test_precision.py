"""bf16 is what was asked for, and where it is slow the user hears of it."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from llmrec.console import notice_once
from llmrec.titles.models import precision

SECONDS = {
    "slow": {torch.float32: 0.001, torch.bfloat16: 0.002},
    "quick": {torch.float32: 0.002, torch.bfloat16: 0.001},
}


def processor(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_seconds", SECONDS[kind].__getitem__)
    precision.bf16_speed.cache_clear()
    notice_once.cache_clear()


def tiny() -> LlamaForCausalLM:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    return LlamaForCausalLM(LlamaConfig(vocab_size=16, **sizes))


@pytest.mark.parametrize("kind", SECONDS)
@pytest.mark.parametrize("asked", precision.PRECISIONS)
def test_slow_bf16_is_told_once_and_given(
    kind: str, asked: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    processor(kind, monkeypatch)
    for _ in range(2):
        assert precision.in_precision(tiny(), asked).dtype == precision.PRECISIONS[asked]
    told = capsys.readouterr().err
    precision.bf16_speed.cache_clear()
    assert told.count("at 0.50 times the speed of fp32") == (kind == "slow" and asked == "bf16")
    assert bool(told) == (kind == "slow" and asked == "bf16")


def test_the_processor_is_measured() -> None:
    precision.bf16_speed.cache_clear()
    assert 0.001 < precision.bf16_speed() < 1000
