"""A plain Hugging Face loop and ours on the same sessions, on a CPU or a GPU: training, and writing titles.

The plain loops are those of transformers' examples: sessions in random order, batches padded to their longest, logits
for every position, the model's own loss; `generate` on one session, or on a few in their order.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

__all__ = ["Course", "Sessions", "compared_losses", "own_titles", "own_training", "plain_titles", "plain_training"]

IGNORED: Final = -100
NORM: Final = 1.0
Batches = Sequence[Any]  # row numbers of each step


@dataclass(frozen=True)
class Sessions:
    """Token ids of prompts, in a causal model's frame or with the end token, and of titles with theirs."""

    prompts: list[list[int]]
    titles: list[list[int]]

    @property
    def lengths(self) -> Any:
        """Tokens of each session."""
        return np.array([len(a) + len(b) for a, b in zip(self.prompts, self.titles, strict=True)])

    def rows(self, some: Any) -> dict[str, list[list[int]]]:
        """What our losses take."""
        return {"input_ids": [self.prompts[one] for one in some], "labels": [self.titles[one] for one in some]}


@dataclass(frozen=True)
class Course:
    """A training: seconds (of the CPU, or of a clock beside a GPU), each step's loss, tokens of titles and of all."""

    seconds: float
    losses: list[float]
    title_tokens: int
    tokens: int


def now(device: str) -> float:
    """Seconds: of this process on a CPU, where others may be busy; of a clock once a GPU has done all it was given."""
    if device == "cpu":
        return time.process_time()
    import torch

    torch.cuda.synchronize()
    return time.perf_counter()


def _precision(device: str, bf16: bool) -> AbstractContextManager[Any]:
    import torch

    return torch.autocast(device, dtype=torch.bfloat16) if bf16 else nullcontext()


def _trained(model: Any) -> list[Any]:
    return [one for one in model.parameters() if one.requires_grad]


def _padded(rows: Sequence[Sequence[int]], value: int, device: str) -> Any:
    import torch

    width = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows], device=device)


def _plain_loss(model: Any, sessions: Sessions, some: Any, device: str) -> Any:
    """The model's own mean loss of a padded batch."""
    prompts, titles = ([of[one] for one in some] for of in (sessions.prompts, sessions.titles))
    if model.config.is_encoder_decoder:
        inputs = _padded(prompts, 0, device)
        labels = _padded(titles, IGNORED, device)
        return model(input_ids=inputs, attention_mask=(inputs != 0).long(), labels=labels).loss
    wholes = [[*prompt, *title] for prompt, title in zip(prompts, titles, strict=True)]
    learnt = [[*[IGNORED] * len(prompt), *title] for prompt, title in zip(prompts, titles, strict=True)]
    mask = _padded([[1] * len(whole) for whole in wholes], 0, device)
    return model(
        input_ids=_padded(wholes, 0, device), attention_mask=mask, labels=_padded(learnt, IGNORED, device)
    ).loss


def plain_training(
    model: Any, sessions: Sessions, batches: Batches, *, device: str, rate: float, bf16: bool = False
) -> Course:
    """Train as transformers' examples do; the first step is not in the seconds and the tokens."""

    def step(some: Any) -> float:
        with _precision(device, bf16):
            loss = _plain_loss(model, sessions, some, device)
        loss.backward()
        return float(loss.detach())

    return _training(model, sessions, batches, step, device, rate)


def own_training(
    model: Any,
    sessions: Sessions,
    batches: Batches,
    *,
    device: str,
    rate: float,
    bf16: bool = False,
    parts: int = 1,
    row_tokens: int | None = None,
) -> Course:
    """Train with our losses: packed rows of a causal model, logits where a title is learnt, micro-batches."""
    from llmrec.titles.models.causal import is_causal
    from llmrec.titles.training.batches import BatchPlan
    from llmrec.titles.training.losses import title_loss_of

    loss_of = title_loss_of(model, pack=is_causal(model), row_tokens=row_tokens)

    def step(some: Any) -> float:
        size, summed = sum(len(sessions.titles[one]) for one in some), 0.0
        for part in BatchPlan.share(np.asarray(some), 0, 1, min(parts, len(some))):
            with _precision(device, bf16):
                loss: Any = loss_of(model, sessions.rows(part), device)
            (loss / size).backward()
            summed += float(loss.detach())
        return summed / size

    return _training(model, sessions, batches, step, device, rate)


def _training(model: Any, sessions: Sessions, batches: Batches, step: Any, device: str, rate: float) -> Course:
    import torch

    optimizer = torch.optim.AdamW(_trained(model), lr=rate, weight_decay=0.0)
    losses, started = [], now(device)
    for number, some in enumerate(batches):
        if number == 1:  # the first makes the optimizer's moments, and on a GPU everything else
            started = now(device)
        losses.append(step(some))
        torch.nn.utils.clip_grad_norm_(_trained(model), NORM)
        optimizer.step()
        optimizer.zero_grad()
    seconds, timed = now(device) - started, [one for some in batches[1:] for one in some]
    titles = sum(len(sessions.titles[one]) for one in timed)
    return Course(seconds, losses, titles, titles + sum(len(sessions.prompts[one]) for one in timed))


def compared_losses(one: Course, other: Course) -> float:
    """Largest relative difference of two trainings' losses, step by step."""
    return float(np.max(np.abs(np.array(one.losses) / np.array(other.losses) - 1)))


def plain_titles(
    model: Any, tokenizer: Any, prompts: list[list[int]], *, device: str, batch: int, most: int
) -> tuple[float, list[str]]:
    """Seconds and greedy titles of `generate`, ``batch`` sessions at once in their order."""
    import torch

    titles, started = [], now(device)
    for start in range(0, len(prompts), batch):
        rows = prompts[start : start + batch]
        width = max(map(len, rows))
        left = not model.config.is_encoder_decoder
        fill = [[0] * (width - len(row)) for row in rows]
        ids = [[*blank, *row] if left else [*row, *blank] for row, blank in zip(rows, fill, strict=True)]
        mask = [
            [*blank, *[1] * len(row)] if left else [*[1] * len(row), *blank]
            for row, blank in zip(rows, fill, strict=True)
        ]
        with torch.inference_mode():
            written = model.generate(
                input_ids=torch.tensor(ids, device=device),
                attention_mask=torch.tensor(mask, device=device),
                max_new_tokens=most,
                do_sample=False,
                pad_token_id=tokenizer.pad_token_id,
            )
        texts = tokenizer.batch_decode(written[:, width:] if left else written, skip_special_tokens=True)
        titles += [" ".join(text.split()) for text in texts]
    return now(device) - started, titles


def own_titles(
    model: Any, tokenizer: Any, prompts: list[list[int]], *, device: str, batch: int, most: int, fast: bool = False
) -> tuple[float, list[str]]:
    """The same in batches sorted by length; ``fast`` by CTranslate2 in fp32, where the model has an encoder."""
    import tempfile
    from functools import partial
    from pathlib import Path

    from llmrec.titles.decoding import ctranslate
    from llmrec.titles.decoding.decode import decode_batch
    from llmrec.titles.training.batches import decoding_batches

    decode = partial(decode_batch, model, tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        if fast:
            model.save_pretrained(Path(folder) / "model")
            ctranslate.convert_model(str(Path(folder) / "model"), model, tokenizer, Path(folder) / "converted")
            kind = "cuda" if device.startswith("cuda") else "cpu"
            translator = ctranslate.load_translator(Path(folder) / "converted", kind, 0, "fp32", 1)
            decode = partial(ctranslate.decode_batch, translator, tokenizer)
        titles: dict[int, str] = {}
        started = now(device)
        for rows in decoding_batches(np.array([len(one) for one in prompts]), batch):
            titles.update(zip(rows.tolist(), decode([prompts[row] for row in rows], max_tokens=most), strict=True))
        return now(device) - started, [titles[row] for row in range(len(prompts))]
