"""A title's loss is the same however few logits are computed for it, at once or in pieces, packed or not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM, Gemma2Config, LlamaConfig

from llmrec.titles.models.model import build_tiny_mt5
from llmrec.titles.training import losses
from llmrec.titles.training.losses import causal_title_loss, packed_rows, title_loss

VOCABULARY = 97
ROWS = {
    "input_ids": [[5, 9, 11, 30], [7, 8], [40, 41, 42, 43, 44, 45, 46], [3]],
    "labels": [[12, 13, 1], [9, 1], [21, 22, 23, 24, 1], [1]],
}
SIZE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def causal_model(kind: Any = LlamaConfig) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(kind(vocab_size=VOCABULARY, num_key_value_heads=2, head_dim=8, **SIZE))


def mt5_by_hand(model: Any) -> Any:
    """Each session alone, all logits."""
    total = torch.zeros(())
    for prompt, title in zip(ROWS["input_ids"], ROWS["labels"], strict=True):
        read = torch.tensor([[0, *title[:-1]]])
        logits = model(input_ids=torch.tensor([prompt]), decoder_input_ids=read).logits[0]
        total = total + functional.cross_entropy(logits, torch.tensor(title), reduction="sum")
    return total


def causal_by_hand(model: Any) -> Any:
    total = torch.zeros(())
    for prompt, title in zip(ROWS["input_ids"], ROWS["labels"], strict=True):
        logits = model(input_ids=torch.tensor([prompt + title])).logits[0, len(prompt) - 1 : -1]
        total = total + functional.cross_entropy(logits, torch.tensor(title), reduction="sum")
    return total


def gradients(model: Any, loss: Any) -> dict[str, Any]:
    model.zero_grad()
    loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters()}


@pytest.mark.parametrize("in_pieces", [False, True])
@pytest.mark.parametrize("kind", ["mt5", "padded", "packed"])
def test_it_is_the_loss_of_each_session_alone(kind: str, in_pieces: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "CHUNK_BYTES", 4 * VOCABULARY * 3)  # three tokens at once
    monkeypatch.setattr(losses, "PACKED_TOKENS", 14)  # of 28
    model = build_tiny_mt5(VOCABULARY, 32, 1, 0) if kind == "mt5" else causal_model()
    expected = mt5_by_hand(model) if kind == "mt5" else causal_by_hand(model)
    if kind == "mt5":
        loss = title_loss(model, ROWS, "cpu", in_pieces=in_pieces)
    else:
        loss = causal_title_loss(model, ROWS, "cpu", pack=kind == "packed", in_pieces=in_pieces)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    wanted = gradients(model, expected)
    for name, gradient in gradients(model, loss).items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize(("grad", "in_pieces", "most"), [(True, False, 11), (True, True, 3), (False, False, 3)])
def test_logits_are_of_title_tokens_alone_and_in_pieces_where_asked_or_nothing_is_learnt(
    grad: bool, in_pieces: bool, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "CHUNK_BYTES", 4 * VOCABULARY * 3)
    for model, loss in ((build_tiny_mt5(VOCABULARY, 32, 1, 0), title_loss), (causal_model(), causal_title_loss)):
        computed: list[int] = []
        model.lm_head.register_forward_hook(lambda _, __, out, seen=computed: seen.append(out.numel() // VOCABULARY))
        with torch.set_grad_enabled(grad):
            loss(model, ROWS, "cpu", in_pieces=in_pieces)
        assert (max(computed), sum(computed)) == (most, 11)  # title tokens: 3 + 2 + 5 + 1


def test_a_model_that_changes_its_logits_behind_the_head_is_left_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model = causal_model(Gemma2Config).eval()
    expected = causal_title_loss(model, ROWS, "cpu").item()
    monkeypatch.setattr(losses, "CHUNK_BYTES", 4 * VOCABULARY * 3)
    assert causal_title_loss(model, ROWS, "cpu", in_pieces=True).item() == expected


def test_packed_rows_hold_every_session_once_within_the_bound() -> None:
    assert packed_rows([4, 3, 3], 10) == [[0, 1, 2]]
    assert packed_rows([2, 11, 5, 6, 3, 4], 10) == [[1], [3, 5], [2, 4, 0]]
    assert packed_rows([], 10) == [[]]
