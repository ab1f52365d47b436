"""A small network that gives odds, learnt in seconds with NumPy alone: two hidden layers of rectified units, AdamW."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Floats, checked

__all__ = ["Network", "learn"]

WIDTH: Final = 64
BATCH: Final = 2048
_CLIP: Final = 5.0  # standard deviations; what lies beyond is as rare
_MOMENTS: Final = (0.9, 0.999)


@dataclass(frozen=True)
class Network:
    """Weights.

    Attributes:
        centre: Shape ``(2 F,)``; mean of features and of their logarithms.
        scale: Shape ``(2 F,)``; their standard deviations.
        layers: Weights and biases of three layers.
    """

    centre: Floats
    scale: Floats
    layers: tuple[Floats, ...]

    def odds(self, features: Floats) -> Floats:
        """Probability of each row of ``(G, F)``, shape ``(G,)``."""
        return np.concatenate([self._odds(part) for part in _parts(features)] or [np.zeros(0, np.float32)])

    def _odds(self, features: Floats) -> Floats:
        value = _forward(_scaled(_widened(features), self.centre, self.scale), self.layers)[-1]
        return _logistic(value)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Its arrays by name, for a file."""
        named = {f"layer.{place}": layer for place, layer in enumerate(self.layers)}
        return {"centre": self.centre, "scale": self.scale, **named}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], prefix: str, width: int) -> Network:
        """What `arrays` gave, under a prefix; ``width`` is ``F``.

        Raises:
            ValueError: an array is of another kind or shape.
        """
        shapes = [(2 * width, WIDTH), (WIDTH,), (WIDTH, WIDTH), (WIDTH,), (WIDTH,), (1,)]
        layers = [checked(arrays, f"{prefix}layer.{place}", "float32", shape) for place, shape in enumerate(shapes)]
        centre = checked(arrays, f"{prefix}centre", "float32", (2 * width,))
        return cls(centre, checked(arrays, f"{prefix}scale", "float32", (2 * width,), least=1e-9), tuple(layers))


def learn(features: Floats, labels: Floats, epochs: int, rate: float, seed: int) -> Network:
    """Learn to tell the odds of ``labels``.

    Args:
        features: Shape ``(G, F)``.
        labels: Shape ``(G,)``; 0 or 1.
        epochs: Passes.
        rate: Highest learning rate; it rises for a tenth of the steps and then falls to 0.
        seed: Seed of first weights and order.
    """
    rng = np.random.default_rng(seed)
    sample = _widened(features[rng.permutation(len(features))[:100_000]])
    centre, scale = sample.mean(axis=0), sample.std(axis=0) + np.float32(1e-6)
    layers = _start(2 * features.shape[1], float(labels.mean()) if len(labels) else 0.5, rng)
    moments = [(np.zeros_like(layer), np.zeros_like(layer)) for layer in layers]
    steps, step = max(1, epochs * -(-len(features) // BATCH)), 0
    for _ in range(epochs):
        order = rng.permutation(len(features))
        for start in range(0, len(order), BATCH):
            rows, step = order[start : start + BATCH], step + 1
            gradients = _gradients(_scaled(_widened(features[rows]), centre, scale), labels[rows], layers)
            warm = max(1, steps // 10)
            now = rate * min(step / warm, 0.5 * (1 + np.cos(np.pi * max(0, step - warm) / max(1, steps - warm))))
            _adam(layers, gradients, moments, now, step)
    return Network(centre, scale, tuple(layers))


def _logistic(values: Floats) -> Floats:
    odds: Floats = (1 / (1 + np.exp(-values.clip(-30, 30)))).astype(np.float32)
    return odds


def _parts(features: Floats, size: int = 1 << 16) -> list[Floats]:
    return [features[start : start + size] for start in range(0, len(features), size)]


def _widened(features: Floats) -> Floats:
    """Features and their logarithms: counts need the latter."""
    return np.concatenate([features, np.sign(features) * np.log1p(np.abs(features))], axis=1)


def _scaled(values: Floats, centre: Floats, scale: Floats) -> Floats:
    scaled: Floats = ((values - centre) / scale).clip(-_CLIP, _CLIP)
    return scaled


def _start(width: int, mean: float, rng: np.random.Generator) -> list[Floats]:
    """He's initial weights; the last bias gives the average odds."""
    prior = np.log(max(mean, 1e-4) / max(1 - mean, 1e-4))
    shapes = [(width, WIDTH), (WIDTH, WIDTH), (WIDTH,)]
    weights = [(rng.standard_normal(shape) * np.sqrt(2 / shape[0])).astype(np.float32) for shape in shapes]
    weights[2] *= np.float32(0.1)
    biases = [np.zeros(WIDTH, np.float32), np.zeros(WIDTH, np.float32), np.array([prior], np.float32)]
    return [weights[0], biases[0], weights[1], biases[1], weights[2], biases[2]]


def _forward(values: Floats, layers: tuple[Floats, ...] | list[Floats]) -> tuple[Floats, Floats, Floats]:
    first = np.maximum(values @ layers[0] + layers[1], 0)
    second = np.maximum(first @ layers[2] + layers[3], 0)
    return first, second, second @ layers[4] + layers[5]


def _gradients(values: Floats, labels: Floats, layers: list[Floats]) -> list[Floats]:
    """Of the mean cross-entropy, in the order of ``layers``."""
    first, second, output = _forward(values, layers)
    error = (_logistic(output) - labels) / np.float32(len(labels))
    back = np.outer(error, layers[4]) * (second > 0)
    deeper = (back @ layers[2].T) * (first > 0)
    return [
        values.T @ deeper, deeper.sum(axis=0), first.T @ back, back.sum(axis=0), second.T @ error,
        error.sum(keepdims=True),
    ]  # fmt: skip


def _adam(
    layers: list[Floats], gradients: list[Floats], moments: list[tuple[Floats, Floats]], rate: float, step: int
) -> None:
    """One step of AdamW (Loshchilov and Hutter 2019), in place."""
    first, second = _MOMENTS
    for layer, gradient, (mean, square) in zip(layers, gradients, moments, strict=True):
        mean += (1 - first) * (gradient - mean)
        square += (1 - second) * (gradient * gradient - square)
        change = (mean / (1 - first**step)) / (np.sqrt(square / (1 - second**step)) + 1e-8)
        layer -= np.float32(rate) * (change + (0.01 * layer if layer.ndim > 1 else 0)).astype(np.float32)
