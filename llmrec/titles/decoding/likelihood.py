"""How likely a model finds some tokens, where many texts start alike: what they share is read once."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from llmrec.titles.decoding.decode import pad_prompts
from llmrec.titles.models.causal import is_causal, pad_left
from llmrec.titles.training.batches import pad
from llmrec.titles.training.losses import CHUNK_BYTES, only_at

__all__ = ["Question", "length_alike", "log_probs"]

CELLS: Final = {"cpu": 1 << 14, "cuda": 1 << 17}  # rows × tokens whose keys and values are held at once


@dataclass(frozen=True)
class Question:
    """Tokens, and after which text a model is asked for their probability.

    Attributes:
        context: Ids that are read first: the framed prompt of a causal model, or what an encoder reads.
        given: Ids that follow: those of a title.
        reads: Pairs of a place and a token: how likely is the token after the context and ``given[:place]``?
    """

    context: Sequence[int]
    given: Sequence[int]
    reads: Sequence[tuple[int, int]]

    @property
    def follows(self) -> Sequence[int]:
        """The ids of ``given`` that are read at all."""
        return self.given[: max(place for place, _ in self.reads)]


Group = Sequence[Question]


@dataclass(frozen=True)
class _Start:
    """What the rows of a group share, and the rest of each row."""

    shared: list[int]
    rests: list[list[int]]


def log_probs(model: Any, groups: Sequence[Group], cells: int | None = None) -> list[list[list[float]]]:
    """Log-probabilities of tokens, natural logarithm.

    A causal model reads what the questions of a group start with once, and its keys and values are then used by all of
    them; a model with an encoder reads equal contexts once. Groups share batches as far as ``cells`` allows.

    Args:
        model: A `transformers` sequence-to-sequence or causal model.
        groups: Questions of ``S`` sessions, each with at least one read.
        cells: Most rows × tokens of a batch; that of the model's kind of device where not given.

    Returns:
        For each group and question the values of its reads, in their order.
    """
    most = cells or CELLS.get(model.device.type, CELLS["cpu"])
    answer = _causal_batch if is_causal(model) else _encoded_batch
    found: list[list[list[float]]] = []
    with torch.inference_mode():
        for batch in _batches(groups, most):
            values = iter(answer(model, batch, most))
            found += [[next(values) for _ in group] for group in batch]
    return found


def _batches(groups: Sequence[Group], cells: int) -> Iterator[list[Group]]:
    """Groups one after another, as many at once as the cells allow; at least one."""
    batch: list[Group] = []
    rows = width = 0
    for group in groups:
        longest = max(len(one.context) + len(one.follows) for one in group)
        if batch and (rows + len(group)) * max(width, longest) > cells:
            yield batch
            batch, rows, width = [], 0, 0
        batch.append(group)
        rows, width = rows + len(group), max(width, longest)
    if batch:
        yield batch


def _causal_batch(model: Any, batch: Sequence[Group], cells: int) -> list[list[float]]:
    starts = [_start(group) for group in batch]
    if not all(start.shared for start in starts):  # nothing to keep for a row that has no token before its first read
        starts = [_Start([], [[*start.shared, *rest] for rest in start.rests]) for start in starts]
    cache, mask = _read_shared(model, [start.shared for start in starts])
    questions = [question for group in batch for question in group]
    rests = [rest for start in starts for rest in start.rests]
    owner = [place for place, start in enumerate(starts) for _ in start.rests]
    found: list[list[float]] = []
    for rows in _parts(model, questions, rests, mask.shape[1], cells):
        own = torch.tensor([owner[row] for row in rows], device=model.device)
        held = mask[own]
        ids = torch.from_numpy(pad([rests[row] for row in rows], 0)).to(model.device)
        width = ids.shape[1]
        whole = torch.cat([held, torch.ones_like(ids)], dim=1)  # what fills a row up stands behind all that is read
        positions = held.sum(dim=1, keepdim=True) + torch.arange(width, device=model.device)
        tokens: dict[str, Any] = {"input_ids": ids, "attention_mask": whole, "position_ids": positions}
        if cache is not None:
            tokens["past_key_values"] = copy.deepcopy(cache)
            tokens["past_key_values"].batch_select_indices(own)
        before = [len(questions[row].context) - len(starts[owner[row]].shared) - 1 for row in rows]
        found += _values(model, tokens, [questions[row] for row in rows], before, width)
    return found


def _start(group: Group) -> _Start:
    """Rows parted where they differ, or where one is first asked for a token."""
    rows = [[*one.context, *one.follows] for one in group]
    first = min(len(one.context) + min(place for place, _ in one.reads) for one in group) - 1
    shared = rows[0][: min(length_alike(rows), first)]
    return _Start(shared, [row[len(shared) :] for row in rows])


def length_alike(rows: Sequence[Sequence[int]]) -> int:
    """How many ids all of some rows start with alike."""
    low, high = min(map(list, rows)), max(map(list, rows))
    return next((at for at, (one, other) in enumerate(zip(low, high, strict=False)) if one != other), len(low))


def _read_shared(model: Any, rows: Sequence[Sequence[int]]) -> tuple[Any, Tensor]:
    """Keys and values of what groups share, and which of its places are theirs, shape ``(G, longest)``."""
    if not any(rows):
        return None, torch.zeros((len(rows), 0), dtype=torch.int64, device=model.device)
    ids, mask = pad_left(rows, 0, model.device)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    nowhere = torch.zeros(0, dtype=torch.int64, device=model.device)
    with only_at(model.get_output_embeddings(), nowhere):
        read = model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True)
    return read.past_key_values, mask


def _encoded_batch(model: Any, batch: Sequence[Group], cells: int) -> list[list[float]]:
    questions = [question for group in batch for question in group]
    contexts = list(dict.fromkeys(tuple(one.context) for one in questions))
    number = {context: place for place, context in enumerate(contexts)}
    ids, mask = pad_prompts(contexts, model.device)
    read = model.get_encoder()(input_ids=ids, attention_mask=mask)
    rests = [[model.config.decoder_start_token_id, *one.follows] for one in questions]
    found: list[list[float]] = []
    for rows in _parts(model, questions, rests, ids.shape[1], cells):
        own = torch.tensor([number[tuple(questions[row].context)] for row in rows], device=model.device)
        asked = torch.from_numpy(pad([rests[row] for row in rows], 0)).to(model.device)
        kept = type(read)(last_hidden_state=read.last_hidden_state[own])
        tokens = {"encoder_outputs": kept, "attention_mask": mask[own], "decoder_input_ids": asked}
        found += _values(model, tokens, [questions[row] for row in rows], [0] * len(rows), asked.shape[1])
    return found


def _parts(
    model: Any, questions: Sequence[Question], rests: Sequence[Sequence[int]], shared: int, cells: int
) -> Iterator[list[int]]:
    """Rows that are read at once: within the cells, and with logits of at most `CHUNK_BYTES`."""
    reads = max(1, CHUNK_BYTES // (4 * model.config.get_text_config().vocab_size))
    part: list[int] = []
    width = asked = 0
    for row, (question, rest) in enumerate(zip(questions, rests, strict=True)):
        more, wider = len({place for place, _ in question.reads}), max(width, len(rest))
        if part and ((len(part) + 1) * (shared + wider) > cells or asked + more > reads):
            yield part
            part, asked, wider = [], 0, len(rest)
        part.append(row)
        width, asked = wider, asked + more
    if part:
        yield part


def _values(
    model: Any, tokens: dict[str, Any], questions: Sequence[Question], before: Sequence[int], width: int
) -> list[list[float]]:
    """The reads of some rows; ``before`` says where in each the token at place 0 is predicted."""
    distinct = [sorted({place for place, _ in one.reads}) for one in questions]
    where = [row * width + before[row] + place for row, places in enumerate(distinct) for place in places]
    with only_at(model.get_output_embeddings(), torch.tensor(where, device=model.device)):
        logits = model(**tokens, use_cache="past_key_values" in tokens).logits
    logits = logits.reshape(len(where), -1).float()
    line = {(row, place): at for at, (row, place) in enumerate(_pairs(distinct))}
    asked = [(line[row, place], token) for row, one in enumerate(questions) for place, token in one.reads]
    lines, wanted = (torch.tensor(column, device=model.device) for column in zip(*asked, strict=True))
    values = iter((logits[lines, wanted] - logits.logsumexp(dim=-1)[lines]).tolist())
    return [list(itertools.islice(values, len(one.reads))) for one in questions]


def _pairs(distinct: Sequence[Sequence[int]]) -> Iterator[tuple[int, int]]:
    return ((row, place) for row, places in enumerate(distinct) for place in places)
