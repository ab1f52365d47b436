"""Which sessions each device sees at each step: a pure function of the seed, so nothing is lost, doubled or forgotten.

Every process computes the same plan and takes its own part, which makes a resumed or redistributed run see the very
batches of an undisturbed one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
from datasets import Dataset
from numpy.typing import NDArray

__all__ = ["BatchPlan", "decoding_batches", "pad", "read_tokens", "token_lengths"]

Indices = NDArray[np.int64]
POOL_BATCHES = 50  # batches whose sessions are sorted by length together: little padding, still well mixed


@dataclass(frozen=True)
class BatchPlan:
    """Length-grouped training batches.

    Attributes:
        lengths: Shape ``(S,)``; prompt plus title tokens of each session.
        batch_size: Sessions per optimizer step, over all processes.
        seed: Of the order.
    """

    lengths: NDArray[np.int64]
    batch_size: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps that show every session once."""
        return -(-len(self.lengths) // self.batch_size)

    def epoch(self, number: int) -> list[Indices]:
        """Batches of one pass over the sessions: each session once, batches of similar lengths, in random order."""
        generator = np.random.default_rng([self.seed, number])
        order = generator.permutation(len(self.lengths))
        pool = self.batch_size * POOL_BATCHES
        batches = []
        for start in range(0, len(order), pool):
            chunk = order[start : start + pool]
            chunk = chunk[np.argsort(self.lengths[chunk], kind="stable")]
            batches += [chunk[at : at + self.batch_size] for at in range(0, len(chunk), self.batch_size)]
        return [batches[position] for position in generator.permutation(len(batches))]

    @staticmethod
    def share(batch: Indices, process: int, num_processes: int, accumulation: int) -> list[Indices]:
        """Micro-batches of one process: the batch dealt out in turn; the parts differ by at most one session.

        A part can be empty, at the end of an epoch with more processes than sessions.
        """
        parts = num_processes * accumulation
        return [batch[process * accumulation + step :: parts] for step in range(accumulation)]


def decoding_batches(
    lengths: NDArray[np.int64], batch_size: int, takes: Callable[[int], int] | None = None, room: float = math.inf
) -> list[Indices]:
    """Batches for decoding: sessions sorted by prompt length, the longest first, so that padding is small.

    Longest first shows at once whether a batch fits in memory, and makes the estimate of the remaining time safe.

    Args:
        lengths: Tokens of each prompt, shape ``(S,)``.
        batch_size: Most sessions of a batch.
        takes: Bytes of a session, by the tokens of the longest prompt beside it.
        room: Bytes that a batch may take; one session may take more.
    """
    order, batches, start = np.argsort(-lengths, kind="stable"), [], 0
    while start < len(order):
        fitting = batch_size if takes is None else min(batch_size, room // takes(int(lengths[order[start]])))
        batches.append(order[start : start + max(1, int(fitting))])
        start += len(batches[-1])
    return batches


def pad(rows: Sequence[Sequence[int]], value: int) -> NDArray[np.int64]:
    """Rows of different lengths as one array of shape ``(B, longest)``, filled with ``value`` to the right."""
    width = max((len(row) for row in rows), default=0)
    padded = np.full((len(rows), max(width, 1)), value, dtype=np.int64)
    for position, row in enumerate(rows):
        padded[position, : len(row)] = row
    return padded


def token_lengths(sessions: Dataset, column: str) -> NDArray[np.int64]:
    """Number of tokens in each row of ``input_ids`` or ``labels``, shape ``(S,)``; 0 where the row is null."""
    chunks = sessions.data.column(column).chunks
    lengths = [pc.fill_null(pc.list_value_length(chunk), 0).to_numpy(zero_copy_only=False) for chunk in chunks]
    return np.concatenate(lengths).astype(np.int64) if lengths else np.zeros(0, dtype=np.int64)


def read_tokens(sessions: Dataset, rows: Indices) -> dict[str, list[list[int]]]:
    """``input_ids`` and ``labels`` of some rows, from the memory-mapped file."""
    taken = sessions.select_columns(["input_ids", "labels"])[rows.tolist()]
    return {"input_ids": taken["input_ids"], "labels": taken["labels"]}
