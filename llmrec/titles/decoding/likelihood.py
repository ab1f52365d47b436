"""How likely a model finds some tokens, where many texts start alike: what they share is read once.

A causal model reads the texts of a group as one row: what they start with, then the rest of each. A mask keeps the
rests apart, and their positions go on from the start. So nothing is read twice, copied, or filled up.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import torch
from torch import Tensor

from llmrec.titles.decoding.decode import pad_prompts
from llmrec.titles.models.causal import is_causal
from llmrec.titles.prompting.prompt_tokens import encode_titles
from llmrec.titles.prompting.title_tokenizer import TitleTokenizer
from llmrec.titles.training.batches import pad
from llmrec.titles.training.losses import only_at

__all__ = ["Question", "length_alike", "log_probs", "takes_shared_rows", "title_questions"]

T = TypeVar("T")
TOKENS: Final = {"cpu": 1 << 10, "cuda": 1 << 14}  # of a batch: more make a processor no quicker
LOGITS_BYTES: Final = {"cpu": 1 << 30, "cuda": 1 << 33}  # of a batch, in float32
ROW: Final = 1 << 10  # tokens of a row: attention also computes what its mask hides
CLOSE: Final = 1e-3  # of log-probabilities in float32, added up in another order


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

    def __len__(self) -> int:
        return len(self.context) + len(self.follows)


Group = Sequence[Question]


def title_questions(
    encoder: TitleTokenizer, context: Sequence[int], titles: Sequence[str], max_tokens: int
) -> list[Question]:
    """How likely is each token of some titles after a text: all but the end, which a cut title has not.

    Args:
        encoder: Of the model's tokenizer.
        context: As `Question`.
        titles: The titles.
        max_tokens: Most tokens of a title that are read.
    """
    rows = [ids[:-1] or ids for ids in encode_titles(encoder, titles, max_tokens)]
    return [Question(context, ids, list(enumerate(ids))) for ids in rows]


@dataclass(frozen=True)
class _Row:
    """Questions that are read as one row.

    Attributes:
        ids: What their texts start with, then the rest of each.
        positions: Place of each id in its text.
        owners: 0 for what is shared, else the number of the rest.
        reads: Of each question the places in the row where its tokens are predicted, and the tokens.
    """

    ids: list[int]
    positions: list[int]
    owners: list[int]
    reads: list[list[tuple[int, int]]]

    def __len__(self) -> int:
        return len(self.ids)


def log_probs(
    model: Any, groups: Sequence[Group], tokens: int | None = None, *, shared: bool = True
) -> list[list[list[float]]]:
    """Log-probabilities of tokens, natural logarithm.

    Args:
        model: A `transformers` sequence-to-sequence or causal model.
        groups: Questions of ``S`` sessions, each with at least one read; those of a group start alike.
        tokens: Most tokens of a batch, of several rows or questions; what suits the model's device if not given.
        shared: Whether questions share rows, which not every causal model takes: see `takes_shared_rows`.

    Returns:
        For each group and question the values of its reads, in their order.
    """
    kind = model.device.type if model.device.type in TOKENS else "cpu"
    fitting = LOGITS_BYTES[kind] // (4 * model.config.get_text_config().vocab_size)
    most = tokens or max(1, min(TOKENS[kind], fitting))
    found: list[list[float]] = []
    with torch.inference_mode():
        if is_causal(model):
            alike = groups if shared else [[question] for group in groups for question in group]
            rows = [row for group in alike for row in _rows(group, min(most, ROW))]
            for batch in _batches(rows, most):
                found += _read_rows(model, batch)
        else:
            for some in _batches([question for group in groups for question in group], most):
                found += _read_encoded(model, some)
    rest = iter(found)
    return [[next(rest) for _ in group] for group in groups]


def takes_shared_rows(model: Any) -> bool:
    """Whether a causal model, in float32, reads texts in a row as each alone: a recurrent layer, for one, cannot."""
    if not is_causal(model):
        return True
    asked = [[Question([3, 4, 5], [6, last], [(0, 6), (1, last), (2, 3)]) for last in (4, 7, 8)]]
    try:
        together = log_probs(model, asked)
    except (RuntimeError, ValueError, TypeError, AttributeError):  # it takes no such mask
        return False
    alone = log_probs(model, asked, shared=False)
    pairs = zip(itertools.chain(*together[0]), itertools.chain(*alone[0]), strict=True)
    return all(abs(one - other) <= CLOSE for one, other in pairs)


def length_alike(rows: Sequence[Sequence[int]]) -> int:
    """How many ids all of some rows start with alike."""
    low, high = min(map(list, rows)), max(map(list, rows))
    return next((at for at, (one, other) in enumerate(zip(low, high, strict=False)) if one != other), len(low))


def _batches(items: Sequence[T], most: int) -> Iterator[list[T]]:
    """Things one after another, as many at once as have ``most`` tokens with what fills them up; at least one."""
    size: Callable[[Any], int] = len
    batch: list[T] = []
    for item in items:
        if batch and (len(batch) + 1) * max(map(size, [*batch, item])) > most:
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def _rows(group: Group, most: int) -> Iterator[_Row]:
    """A group as rows: one, or as many as keep below ``most`` tokens and twice what they share."""
    texts = [[*one.context, *one.follows] for one in group]
    shared = texts[0][: length_alike(texts)]
    start, row = len(shared), _Row([], [], [], [])
    for text, question in zip(texts, group, strict=True):
        rest = text[start:]
        if row.reads and len(row) + len(rest) > max(most, 2 * start):
            yield row
            row = _Row([], [], [], [])
        if not row.reads:
            row = _Row([*shared], [*range(start)], [0] * start, [])
        behind = len(row) - start  # how much farther back a place of the rest is in the row
        row.ids.extend(rest)
        row.positions.extend(range(start, len(text)))
        row.owners.extend([len(row.reads) + 1] * len(rest))
        before = len(question.context) - 1
        places = [(before + place, token) for place, token in question.reads]
        row.reads.append([(place if place < start else place + behind, token) for place, token in places])
    yield row


def _read_rows(model: Any, batch: Sequence[_Row]) -> list[list[float]]:
    device = model.device
    ids, positions = (
        torch.from_numpy(pad(rows, 0)).to(device)
        for rows in ([row.ids for row in batch], [row.positions for row in batch])
    )
    owners = torch.from_numpy(pad([row.owners for row in batch], -1)).to(device)
    tokens = {"input_ids": ids, "position_ids": positions, "attention_mask": _mask(model, owners, positions)}
    width = ids.shape[1]
    reads = [
        [(line * width + place, token) for place, token in some] for line, row in enumerate(batch) for some in row.reads
    ]
    return _values(model, tokens, reads)


def _mask(model: Any, owners: Tensor, positions: Tensor) -> Any:
    """What each place sees, as the model adds it: what is before it and shared or of its own rest, in its window."""
    width = owners.shape[1]
    earlier = torch.ones((width, width), dtype=torch.bool, device=owners.device).tril()
    sees = earlier & ((owners[:, None, :] == 0) | (owners[:, None, :] == owners[:, :, None]))
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    near = sees if not window else sees & (positions[:, :, None] - positions[:, None, :] < window)
    whole, within = (
        torch.zeros(one.shape, dtype=model.dtype, device=one.device).masked_fill(~one, torch.finfo(model.dtype).min)[
            :, None
        ]
        for one in (sees, near)
    )
    if "sliding_attention" in (getattr(config, "layer_types", None) or ()):
        return {"full_attention": whole, "sliding_attention": within}
    return within if window and not getattr(config, "layer_types", None) else whole


def _read_encoded(model: Any, batch: Sequence[Question]) -> list[list[float]]:
    contexts = list(dict.fromkeys(tuple(one.context) for one in batch))
    number = {context: place for place, context in enumerate(contexts)}
    ids, mask = pad_prompts(contexts, model.device)
    read = model.get_encoder()(input_ids=ids, attention_mask=mask)
    own = torch.tensor([number[tuple(one.context)] for one in batch], device=model.device)
    asked = torch.from_numpy(pad([[model.config.decoder_start_token_id, *one.follows] for one in batch], 0))
    tokens = {
        "encoder_outputs": type(read)(last_hidden_state=read.last_hidden_state[own]),
        "attention_mask": mask[own],
        "decoder_input_ids": asked.to(model.device),
    }
    width = asked.shape[1]
    reads = [[(line * width + place, token) for place, token in one.reads] for line, one in enumerate(batch)]
    return _values(model, tokens, reads)


def _values(model: Any, tokens: dict[str, Any], reads: Sequence[Sequence[tuple[int, int]]]) -> list[list[float]]:
    """Log-probabilities of the reads of some questions: places in the flat rows, and tokens."""
    where = sorted({place for some in reads for place, _ in some})
    line = {place: at for at, place in enumerate(where)}
    with only_at(model.get_output_embeddings(), torch.tensor(where, device=model.device)):
        logits = model(**tokens, use_cache=False).logits
    logits = logits.reshape(len(where), -1).float()
    lines, wanted = (
        torch.tensor([*column], device=model.device)
        for column in zip(*((line[place], token) for some in reads for place, token in some), strict=True)
    )
    values = iter((logits[lines, wanted] - logits.logsumexp(dim=-1)[lines]).tolist())
    return [list(itertools.islice(values, len(some))) for some in reads]
