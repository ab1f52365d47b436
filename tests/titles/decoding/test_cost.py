"""Titles are decoded in batches that fit: the same titles, a word, or one line with what fits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM

from llmrec.errors import ConfigError
from llmrec.memory import Free
from llmrec.titles.decoding import cost, decode
from llmrec.titles.decoding.cost import decoding_room, session_bytes
from llmrec.titles.decoding.decode import decode_batch, validation_bleu
from llmrec.titles.models.model import build_tiny_mt5
from llmrec.titles.settings import GenerateConfig


def llama() -> Any:
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=100, num_hidden_layers=6, head_dim=8, **sizes))


def test_keys_and_values_grow_with_the_beams_and_the_tokens() -> None:
    one, five = (session_bytes(llama(), max_tokens=20, num_beams=beams) for beams in (1, 5))
    cached = 8 * 2 * 2 * 8 * 4  # layers (and two again), keys and values, heads, numbers, bytes
    logits = 4 * 4 * 100
    read = 30 * (4 * (3 * 64 + 6 * 32) + 8 * 30)  # each beam reads the prompt: tokens, bytes, numbers, mask
    assert five(30) - one(30) == 4 * (cached * 50 + logits + read)
    assert session_bytes(llama().to(torch.bfloat16), max_tokens=20)(30) < 0.8 * one(30)


def test_a_session_that_does_not_fit_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "free_memory", lambda _: Free(1 << 20, "a test"))
    with pytest.raises(ConfigError, match=r"writing one title after 7 tokens needs about 10 MiB .*--num-beams 1"):
        decoding_room(Accelerator(cpu=True), lambda _: 10 << 20, 7)


def test_smaller_batches_write_the_same_titles_and_say_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    model = build_tiny_mt5(100, 32, 1, 0)
    prompts = [[5, 6, 7, 1], [8, 1], [9, 10, 11, 12, 13, 1], [14, 1], [15, 16, 1]]
    columns = {"input_ids": prompts, "labels": [[3, 1]] * 5, "target_title": ["a"] * 5, "locale": ["UK"] * 5}
    sizes: list[int] = []

    def watched(*given: Any, **settings: Any) -> list[str]:
        sizes.append(len(given[2]))
        return decode_batch(*given, **settings)

    class Words:
        def batch_decode(self, rows: Any, **_: Any) -> list[str]:
            return [" ".join(map(str, row.tolist())) for row in rows]

    monkeypatch.setattr(decode, "decode_batch", watched)
    given = Accelerator(cpu=True), model, Words(), Dataset.from_dict(columns)
    config = GenerateConfig(generate_batch_size=4)
    whole = validation_bleu(*given, config=config, max_tokens=5)
    assert (sizes, capsys.readouterr().err) == ([4, 1], "")
    takes = session_bytes(model, max_tokens=5)
    monkeypatch.setattr(cost, "free_memory", lambda _: Free(int(2.9 * takes(6)), "a test"))
    assert validation_bleu(*given, config=config, max_tokens=5) == whole
    assert sizes[2:] == [2, 3]
    assert capsys.readouterr().err.startswith("2 of the longest sessions are decoded at once, not 4: each takes about")
