"""What a title model learns by: cross-entropy where a title is predicted, and logits nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from llmrec.errors import ConfigError
from llmrec.titles.decoding.decode import pad_prompts
from llmrec.titles.models.causal import IGNORED, check_packing, is_causal, pad_left
from llmrec.titles.training.batches import pad

__all__ = [
    "CHUNK_BYTES",
    "PACKED_ON_CPU",
    "PACKED_TOKENS",
    "TitleLoss",
    "causal_title_loss",
    "only_at",
    "packed_rows",
    "title_loss",
    "title_loss_of",
    "unchecked_loss",
]

TitleLoss = Callable[[Any, Mapping[str, list[list[int]]], Any], Tensor]
PACKED_TOKENS: Final = 4096  # of a packed row: its mask, and on many machines its attention, grow with their square
PACKED_ON_CPU: Final = 512  # where attention also computes what its mask hides
CHUNK_BYTES: Final = 1 << 28  # of float32 logits at once, where they are computed in pieces
AFTER_HEAD: Final = ("final_logit_softcapping", "logit_scale", "logits_scaling")  # done to logits behind the head


def title_loss(
    model: Any, rows: Mapping[str, list[list[int]]], device: Any, *, in_pieces: bool = False
) -> torch.Tensor:
    """Summed cross-entropy of the titles' tokens; 0 for rows without any.

    Args:
        model: Sequence-to-sequence model whose decoder starts with token 0, as all of T5's family.
        rows: ``input_ids`` and ``labels`` of ``B`` sessions.
        device: Where the model is.
        in_pieces: See `title_loss_of`.
    """
    inputs, mask = pad_prompts(rows["input_ids"], device)
    labels = torch.from_numpy(pad(rows["labels"], IGNORED)).to(device)
    read = torch.zeros_like(labels)
    read[:, 1:] = labels[:, :-1].masked_fill(labels[:, :-1] == IGNORED, 0)
    width = labels.shape[1]
    places = [start * width + at for start, title in enumerate(rows["labels"]) for at in range(len(title))]
    targets = [token for title in rows["labels"] for token in title]
    tokens = {"input_ids": inputs, "attention_mask": mask, "decoder_input_ids": read}
    return _summed_loss(model, tokens, places, targets, in_pieces)


def causal_title_loss(
    model: Any,
    rows: Mapping[str, list[list[int]]],
    device: Any,
    *,
    pack: bool = False,
    in_pieces: bool = False,
    row_tokens: int | None = None,
) -> torch.Tensor:
    """Summed cross-entropy of the titles' tokens; 0 for rows without any.

    Args:
        model: Causal model of `transformers`.
        rows: ``input_ids`` (the framed prompts) and ``labels`` of ``B`` sessions.
        device: Where the model is.
        pack: Put the sessions one behind the other into rows of ``row_tokens``, without padding between them.
            Positions start anew with each, from which `transformers` builds the block mask of its eager and SDPA
            attention; `llmrec.titles.models.causal.check_packing` finds models that do not.
        in_pieces: See `title_loss_of`.
        row_tokens: Most tokens of a packed row, unless one session has more; `PACKED_TOKENS` if not given.
    """
    prompts, titles = rows["input_ids"], rows["labels"]
    wholes = [[*prompt, *map(_readable, title)] for prompt, title in zip(prompts, titles, strict=True)]
    if pack:
        groups = packed_rows([len(whole) for whole in wholes], row_tokens or PACKED_TOKENS)
        ids = torch.from_numpy(pad([[token for row in group for token in wholes[row]] for group in groups], 0))
        # what fills a row up is a session of its own
        positions = [[at for row in group for at in range(len(wholes[row]))] for group in groups]
        positions = [[*row, *range(ids.shape[1] - len(row))] for row in positions]
        tokens = {"input_ids": ids.to(device), "position_ids": torch.tensor(positions, device=device)}
        starts = {
            row: line * ids.shape[1] + sum(len(wholes[one]) for one in group[:place])
            for line, group in enumerate(groups)
            for place, row in enumerate(group)
        }
    else:
        ids, mask = pad_left(wholes, 0, device)
        tokens = {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(-1) - 1).clamp(min=0)}
        starts = {row: (row + 1) * ids.shape[1] - len(whole) for row, whole in enumerate(wholes)}
    places = [
        starts[row] + len(prompt) - 1 + at
        for row, (prompt, title) in enumerate(zip(prompts, titles, strict=True))
        for at in range(len(title))
    ]
    return _summed_loss(model, tokens, places, [token for title in titles for token in title], in_pieces)


def _readable(label: int) -> int:
    return 0 if label == IGNORED else label


def packed_rows(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Which sessions share a row: one row if it holds all, else first fit, the longest first.

    Args:
        lengths: Tokens of each session; one above ``most`` has a row of its own.
        most: Tokens of a row.
    """
    if sum(lengths) <= most:
        return [[*range(len(lengths))]]
    groups: list[list[int]] = []
    room: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        place = next((place for place, left in enumerate(room) if lengths[row] <= left), len(room))
        if place == len(room):
            groups.append([])
            room.append(max(most, lengths[row]))
        groups[place].append(row)
        room[place] -= lengths[row]
    return groups


def title_loss_of(
    model: Any, *, pack: bool = False, in_pieces: bool = False, row_tokens: int | None = None
) -> TitleLoss:
    """The loss of a model's kind: `title_loss` or `causal_title_loss`.

    Args:
        model: A `transformers` model.
        pack: Of `causal_title_loss`.
        in_pieces: Compute the logits in pieces of `CHUNK_BYTES`, and once more in the backward pass: the same loss, in
            less memory where the vocabulary is large. Where nothing is learnt they always come in pieces.
        row_tokens: Of `causal_title_loss`.

    Raises:
        ConfigError: ``pack`` with a model that reads its prompt with an encoder.
        ModelError: ``pack`` with a model in which packed sessions read each other.
    """
    if pack and not is_causal(model):
        raise ConfigError("--pack is for causal models; leave it out: T5's batches are of similar lengths already")
    if pack:
        check_packing(model)
    return unchecked_loss(model, pack=pack, in_pieces=in_pieces, row_tokens=row_tokens)


def unchecked_loss(model: Any, *, pack: bool, in_pieces: bool, row_tokens: int | None = None) -> TitleLoss:
    """`title_loss_of` without a look at what the model does with packed sessions."""
    if is_causal(model):
        return partial(causal_title_loss, pack=pack, in_pieces=in_pieces, row_tokens=row_tokens)
    return partial(title_loss, in_pieces=in_pieces)


def _summed_loss(
    model: Any, tokens: Mapping[str, Tensor], places: list[int], targets: list[int], in_pieces: bool
) -> Tensor:
    """Cross-entropy of ``targets``, predicted at ``places`` of the flat rows.

    Logits are computed there and nowhere else: with a vocabulary of 150,000 tokens those of the prompts would take more
    memory than the model.
    """
    plain = getattr(model, "module", model)  # inside what shares it between processes
    head, device = plain.get_output_embeddings(), tokens["input_ids"].device
    where, wanted = torch.tensor(places, device=device), torch.tensor(targets, device=device)
    size = max(1, CHUNK_BYTES // (4 * plain.config.get_text_config().vocab_size))
    if len(places) <= size or not (in_pieces or not torch.is_grad_enabled()) or not _ends_with_head(plain):
        with only_at(head, where):
            return _cross_entropy(model(**tokens, use_cache=False).logits, wanted)
    with only_at(head, where[:0]) as kept:
        model(**tokens, use_cache=False)
    hidden = kept.pop().flatten(0, 1)[where]
    losses = [
        checkpoint(_head_loss, head, some, one, use_reentrant=False)
        for some, one in zip(torch.split(hidden, size), torch.split(wanted, size), strict=True)
    ]
    return torch.stack(losses).sum()


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(logits.float(), targets, ignore_index=IGNORED, reduction="sum")


def _head_loss(head: Any, hidden: Tensor, targets: Tensor) -> Tensor:
    return _cross_entropy(head(hidden), targets)


def _ends_with_head(model: Any) -> bool:
    """Whether the head's output is the logits, as they are, and its weights are there (ZeRO-3 has them in parts)."""
    if hasattr(model.get_output_embeddings().weight, "ds_id"):
        return False
    settings = model.config.get_text_config()
    return not any(getattr(settings, name, None) for name in AFTER_HEAD) and not hasattr(model, "final_logits_bias")


@contextmanager
def only_at(head: Any, places: Tensor) -> Iterator[list[Tensor]]:
    """Inside, a model's head reads the hidden states at some flat places, shape ``(n, H)``; gives all it was handed."""
    kept: list[Tensor] = []

    def select(_: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        kept.append(inputs[0])
        return (inputs[0].flatten(0, 1)[places], *inputs[1:])

    handle = head.register_forward_pre_hook(select)
    try:
        yield kept
    finally:
        handle.remove()
