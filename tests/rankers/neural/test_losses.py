"""Losses over items: the chunked one is the full one, the sampled one estimates it, as worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from llmrec.rankers.neural.losses import NegativeSampler, chunked_softmax, full_softmax, sampled_softmax


def vectors(num_sessions: int = 6, num_items: int = 23, size: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    sessions = torch.randn(num_sessions, size, generator=generator)
    items = torch.randn(num_items, size, generator=generator)
    targets = torch.randint(0, num_items, (num_sessions,), generator=generator)
    return sessions.requires_grad_(), items.requires_grad_(), targets


def test_full_softmax_matches_the_value_worked_by_hand() -> None:
    # Logits 0, ln 2 and ln 5 sum to 1 + 2 + 5 = 8 as exponentials; the target has 2 of them.
    loss = full_softmax(torch.tensor([[1.0]]), torch.tensor([[0.0], [math.log(2)], [math.log(5)]]), torch.tensor([1]))
    assert float(loss) == pytest.approx(math.log(8 / 2))


@pytest.mark.parametrize("chunk", [1, 7, 23, 100])
def test_chunked_softmax_equals_the_full_one_in_value_and_gradients(chunk: int) -> None:
    sessions, items, targets = vectors()
    expected = full_softmax(sessions, items, targets) * 0.3
    expected_gradients = torch.autograd.grad(expected, (sessions, items))
    loss = chunked_softmax(sessions, items, targets, chunk) * 0.3
    gradients = torch.autograd.grad(loss, (sessions, items))
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), abs=1e-5)
    for one, other in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_chunked_softmax_is_near_the_full_one_in_bfloat16(dtype: torch.dtype) -> None:
    sessions, items, targets = vectors()
    expected = torch.autograd.grad(full_softmax(sessions, items, targets), (sessions, items))
    with torch.autocast("cpu", torch.bfloat16):
        loss = chunked_softmax(sessions.to(dtype), items, targets, 7)  # an encoder's vectors may be bfloat16 already
    gradients = torch.autograd.grad(loss, (sessions, items))
    assert float(loss.detach()) == pytest.approx(float(full_softmax(sessions, items, targets).detach()), rel=0.02)
    for one, other in zip(gradients, expected, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, atol=0.05, rtol=0.05)


def test_chunked_softmax_holds_no_matrix_of_all_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions, items, targets = vectors(num_items=64)
    held = []
    keep = torch.autograd.graph.saved_tensors_hooks(lambda one: held.append(one.numel()) or one, lambda one: one)
    with keep:
        chunked_softmax(sessions, items, targets, 8)
    assert max(held) == items.numel()  # 64 * 5; the logits would be 6 * 64
    assert sum(held) < items.numel() + sessions.numel() + 6 * 64


def test_sampled_softmax_over_every_item_once_is_the_full_one() -> None:
    # Each item drawn once and as likely as any: no correction is left but for the target, which the draw holds too.
    sessions, items, targets = vectors()
    drawn = torch.arange(len(items))
    loss = sampled_softmax(
        sessions,
        items[targets],
        items,
        targets=targets,
        drawn=drawn,
        log_odds=torch.zeros(len(items)),
        num_items=len(items),
        strength=1.0,
    )
    assert float(loss.detach()) == pytest.approx(float(full_softmax(sessions, items, targets).detach()), rel=1e-5)


def of_equal_logits(target: int, drawn: list[int], log_odds: list[float], num_items: int, strength: float) -> float:
    """Loss of one session whose target is set beside two negatives, all logits 0."""
    zero = torch.zeros(1, 3)
    loss = sampled_softmax(
        zero,
        zero,
        torch.zeros(2, 3),
        targets=torch.tensor([target]),
        drawn=torch.tensor(drawn),
        log_odds=torch.tensor(log_odds),
        num_items=num_items,
        strength=strength,
    )
    return float(loss)


@pytest.mark.parametrize(("strength", "weight"), [(1.0, 1 / 4), (0.5, 1 / 2), (0.0, 1.0)])
def test_a_popular_negative_counts_less_by_the_strength_of_the_correction(strength: float, weight: float) -> None:
    # Two negatives of 8 items, so each stands for 4; one is 4 times as likely as 1/8.
    loss = of_equal_logits(0, [1, 2], [math.log(4), 0.0], 8, strength)
    assert loss == pytest.approx(math.log(1 + 4 * weight + 4))


def test_the_target_among_the_negatives_is_no_negative() -> None:
    assert of_equal_logits(5, [5, 6], [0.0, 0.0], 2, 1.0) == pytest.approx(math.log(1 + 1))


def test_negatives_are_drawn_by_popularity_and_from_the_seed() -> None:
    counts = np.array([0, 1, 3])  # never seen counts as once
    sampler = NegativeSampler(counts)  # weights 1, 1, 3
    np.testing.assert_allclose(np.exp(sampler.log_odds) / 3, [1 / 5, 1 / 5, 3 / 5], rtol=1e-6)
    drawn = sampler.draw(20_000, (3, 1))
    np.testing.assert_allclose(np.bincount(drawn) / 20_000, [0.2, 0.2, 0.6], atol=0.02)
    assert (drawn == sampler.draw(20_000, (3, 1))).all()
    assert (drawn != sampler.draw(20_000, (3, 2))).any()
    assert (NegativeSampler(np.array([2, 2])).log_odds == 0).all()
