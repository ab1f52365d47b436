"""Several titles of each session, drawn from what a model finds likely; a session's are the same in any batch.

Adding Gumbel noise to log-probabilities and taking the best token draws exactly from them. The noise is seeded by the
prompt, the number of the sample and the step, so no draw depends on what else is in the batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from llmrec.titles.decoding.decode import decode_batch
from llmrec.titles.training.batches import decoding_batches

__all__ = ["sample_titles"]

EPSILON: Final = 0.02  # less likely tokens are never drawn (epsilon sampling, Hewitt et al. 2022; Freitag et al. 2023)
ROWS: Final = 64  # titles written at once


def sample_titles(
    model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], count: int, *, answers: bool, max_tokens: int
) -> list[list[str]]:
    """Titles of some prompts: the greedy one first, the others drawn.

    Args:
        model: A `transformers` sequence-to-sequence or causal model.
        tokenizer: Its tokenizer.
        prompts: As `decode_batch`.
        count: Titles of each prompt.
        answers: As `decode_batch`.
        max_tokens: Most tokens of a title.

    Returns:
        ``count`` titles for each prompt, in the prompts' order.
    """
    found: list[list[str]] = [[] for _ in prompts]
    lengths = np.array([len(prompt) for prompt in prompts], dtype=np.int64)
    for some in decoding_batches(lengths, max(1, ROWS // count)):
        rows = [(row, number) for row in some.tolist() for number in range(count)]
        seeds = [(crc32(np.array(prompts[row], dtype="<i8").tobytes()), number) for row, number in rows]
        asked = [prompts[row] for row, _ in rows]
        titles = decode_batch(
            model, tokenizer, asked, answers=answers, max_tokens=max_tokens, logits_processor=[_Noise(seeds)]
        )
        for (row, _), title in zip(rows, titles, strict=True):
            found[row].append(title)
    return found


class _Noise:
    """Adds noise to the rows of a batch, step after step; those of number 0 stay as they are."""

    def __init__(self, seeds: Sequence[tuple[int, int]]) -> None:
        self._seeds, self._step = seeds, 0

    def __call__(self, _: Tensor, scores: Tensor) -> Tensor:
        log_probs = scores.float().log_softmax(-1)
        drawn = [line for line, (_, number) in enumerate(self._seeds) if number]
        noise = [
            np.random.default_rng([*self._seeds[line], self._step]).gumbel(size=scores.shape[-1]) for line in drawn
        ]
        self._step += 1
        if drawn:
            some = log_probs[drawn]
            likely = (some >= math.log(EPSILON)) | (some == some.max(-1, keepdim=True).values)
            added = torch.from_numpy(np.stack(noise).astype(np.float32)).to(some.device)
            log_probs[drawn] = (some + added).masked_fill(~likely, -math.inf)
        return log_probs
