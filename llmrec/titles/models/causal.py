"""Causal language models: a prompt is read and the title follows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from llmrec.errors import ModelError

__all__ = [
    "IGNORED",
    "check_packing",
    "continue_prompts",
    "generate_tokens",
    "is_causal",
    "pad_left",
]

IGNORED: Final = -100
LEAK: Final = 1e-3  # of the largest logit: a masked token changes nothing at all, one that is read changes tenths


def is_causal(model: Any) -> bool:
    """Whether a model continues its prompt, rather than reading it with an encoder."""
    return not model.config.is_encoder_decoder


def pad_left(rows: Sequence[Sequence[int]], value: int, device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows as one array of shape ``(B, longest)``, filled with ``value`` to the left, and the mask of their own."""
    width = max(1, *map(len, rows)) if rows else 1
    ids = np.full((len(rows), width), value, dtype=np.int64)
    mask = np.zeros((len(rows), width), dtype=np.int64)
    for place, row in enumerate(rows):
        ids[place, width - len(row) :] = row
        mask[place, width - len(row) :] = 1
    return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)


def check_packing(model: Any) -> None:
    """Refuse a model in which a packed session reads the one before it.

    Raises:
        ModelError: what is predicted in the second of two packed sessions depends on the first.
    """
    positions = torch.arange(4, device=model.device).repeat(2, 2)  # two rows, as flash attention is another with one
    training = model.training
    model.eval()
    with torch.no_grad():
        a, b = (
            model(
                input_ids=torch.tensor([[*first, 5, 6, 7, 8]] * 2, device=model.device),
                position_ids=positions,
                use_cache=False,
            ).logits[0, 4:]
            for first in ([5, 6, 7, 8], [9, 10, 11, 12])
        )
    model.train(training)
    if (a - b).abs().max() > LEAK * a.abs().max():
        raise ModelError(f"{type(model).__name__} lets packed sessions read each other; leave out --pack")


def generate_tokens(
    model: Any, inputs: Tensor, mask: Tensor, *, max_tokens: int, num_beams: int = 1, synced: bool = False, **more: Any
) -> Tensor:
    """Tokens that a model writes without drawing, shape ``(B, longest)``; a causal model's hold its prompt before them.

    Args:
        model: A `transformers` sequence-to-sequence or causal model.
        inputs: Token ids, shape ``(B, L)``.
        mask: Which of them are a prompt's.
        max_tokens: Most tokens to write.
        num_beams: Beams; 1 is greedy.
        synced: Whether every process must take every decoding step (ZeRO-3).
        more: What else ``generate`` is to know.
    """
    with torch.inference_mode():
        tokens: Tensor = model.generate(
            input_ids=inputs,
            attention_mask=mask,
            max_new_tokens=max_tokens,
            num_beams=num_beams,
            do_sample=False,
            synced_gpus=synced,
            **more,
        )
    return tokens


def continue_prompts(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    enough: Callable[[str], bool] | None = None,
    **settings: Any,
) -> list[str]:
    """Texts that follow some prompts, as they were written; settings as of `generate_tokens`.

    Prompts are padded to the left, so that each ends where its title starts and is read as it would be alone. What a
    chat model brings along for conversation (sampling, a penalty for repeated words) is off: a title repeats words.

    Args:
        model: A causal `transformers` model.
        tokenizer: Its tokenizer.
        prompts: Token ids of each prompt.
        enough: Whether a text, asked at the end of its lines, needs no more: an untrained model may never stop.
        settings: As of `generate_tokens`.
    """
    ids, mask = pad_left(prompts, tokenizer.pad_token_id, model.device)
    if enough is not None:
        from transformers import StoppingCriteriaList

        settings["stopping_criteria"] = StoppingCriteriaList([_line_end(tokenizer, ids.shape[1], enough)])
    plain: dict[str, Any] = {"temperature": None, "top_p": None, "top_k": None, "repetition_penalty": 1.0}
    tokens = generate_tokens(model, ids, mask, pad_token_id=tokenizer.pad_token_id, **plain, **settings)
    written: list[str] = tokenizer.batch_decode(tokens[:, ids.shape[1] :], skip_special_tokens=True)
    return written


def _line_end(tokenizer: Any, start: int, enough: Callable[[str], bool]) -> Callable[..., Tensor]:
    """What stops a row whose last token ends a line, where its text is enough."""

    def ended(row: Tensor) -> bool:
        if "\n" not in tokenizer.decode(row[-1:]):
            return False
        return enough(tokenizer.decode(row[start:], skip_special_tokens=True))

    def stop(tokens: Tensor, _: Any, **__: Any) -> Tensor:
        return torch.tensor([ended(row) for row in tokens], device=tokens.device)

    return stop
