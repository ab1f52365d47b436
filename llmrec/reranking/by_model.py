"""A model on this machine: the probabilities of titles and answers, read once for all candidates of a session."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from llmrec.errors import ConfigError, DataError
from llmrec.reranking.methods import LETTERS, Ask
from llmrec.reranking.settings import RerankSettings
from llmrec.text.prompts import Prompt
from llmrec.titles.decoding.likelihood import (
    Question,
    length_alike,
    log_probs,
    takes_shared_rows,
    title_questions,
)
from llmrec.titles.lab.answers import Answer
from llmrec.titles.lab.cache import AnswerCache, cache_key
from llmrec.titles.lab.local import LocalModel, load_local
from llmrec.titles.models.precision import in_precision
from llmrec.titles.prompting.prompt_tokens import encode_prompts
from llmrec.titles.prompting.title_tokenizer import TitleTokenizer

__all__ = ["Reader", "answer_all", "open_reader"]

_DECIMALS: Final = 5  # a batch adds up in another order than a text alone


@dataclass(frozen=True)
class Reader:
    """A loaded model, and how it is asked.

    Attributes:
        loaded: The model.
        encoder: Of its tokenizer.
        prompt: What is rendered.
        max_source_tokens: Longest prompt.
        max_target_tokens: Longest title.
        at_once: Sessions after which answers are kept.
        shared: Whether texts that start alike are read as one row.
    """

    loaded: LocalModel
    encoder: TitleTokenizer
    prompt: Prompt
    max_source_tokens: int
    max_target_tokens: int
    at_once: int
    shared: bool


@dataclass(frozen=True)
class _Piece:
    """One question, what it is known by, and what counts of its reads: their mean, the first less the second, each."""

    key: str
    question: Question
    form: Literal["mean", "odds", "each"]


def open_reader(settings: RerankSettings, prompt: Prompt, max_source_tokens: int | None) -> Reader:
    """Load a model.

    Args:
        settings: Its name and lengths.
        prompt: What it is asked with.
        max_source_tokens: Longest prompt; what the model has positions for, at most 2,048, if None.

    Raises:
        ConfigError: the model has no positions for such prompts, or labels cannot be told apart.
        ModelError: the model cannot be loaded.
    """
    loaded = load_local(settings.model)
    shared = takes_shared_rows(loaded.model)
    if settings.precision == "bf16":
        loaded = replace(loaded, model=in_precision(loaded.model, "bf16"), fingerprint=f"{loaded.fingerprint} in bf16")
    encoder = TitleTokenizer(loaded.tokenizer, loaded.affixes)
    target = settings.max_target_tokens or loaded.max_target_tokens
    positions = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
    if loaded.affixes is None or positions is None:  # relative positions have no end
        positions = 1 << 30
    source = max_source_tokens or min(2_048, positions - target)
    if source < 4 or source + target > positions:
        raise ConfigError(
            f"{settings.model} has {positions} positions, fewer than a prompt of {source} and a title of {target} "
            "tokens; give less --max-source-tokens or --max-target-tokens"
        )
    if settings.method == "list":
        _label_tokens(encoder, settings.top)
    at_once = 4 if loaded.model.device.type == "cpu" else 64
    return Reader(loaded, encoder, prompt, source, target, at_once, shared)


def answer_all(
    reader: Reader, groups: Sequence[Sequence[Ask]], cache: AnswerCache
) -> tuple[list[list[float]], dict[str, Answer]]:
    """Have a model answer; its answers are in the cache when this returns, all of them together.

    Args:
        reader: The model.
        groups: Asks; those of a group start alike.
        cache: Answers that were given before.

    Returns:
        What came of each ask, see `llmrec.reranking.methods.scores_of`, and the answers that say it.

    Raises:
        ConfigError: the prompt's wording and its candidates fill the model's length.
        DataError: the cache is damaged.
    """
    asks = [ask for group in groups for ask in group]
    texts, contexts = _encoded(reader, asks)
    pieces = [_pieces(reader, *one) for one in zip(asks, texts, contexts, strict=True)]
    known = cache.read(piece.key for some in pieces for piece in some)
    missing: list[dict[str, _Piece]] = []
    asked = {*known}
    rest = iter(pieces)
    for group in groups:
        some = {piece.key: piece for _ in group for piece in next(rest) if piece.key not in asked}
        asked |= some.keys()
        missing += [some] if some else []
    if missing:
        known |= _answered(reader, missing)
        cache.add({key: known[key] for some in missing for key in some})
    found = [[_read(known[piece.key].text) for piece in some] for some in pieces]
    return [[value for values in some for value in values] for some in found], known


def _encoded(reader: Reader, asks: Sequence[Ask]) -> tuple[list[str], list[list[int]]]:
    sessions = [(ask.locale, ask.products) for ask in asks]
    try:
        return encode_prompts(
            reader.prompt, reader.encoder, sessions, reader.max_source_tokens, [ask.shown for ask in asks]
        )
    except ConfigError as error:
        more = ", or a smaller --top" if any(len(ask.shown) > 1 for ask in asks) else ""
        raise ConfigError(f"{error}{more}") from error


def _pieces(reader: Reader, ask: Ask, text: str, context: Sequence[int]) -> list[_Piece]:
    told = {"weights": reader.loaded.fingerprint, "prompt": text, "context": len(context)}
    if ask.titles:
        limit = reader.max_target_tokens
        questions = title_questions(reader.encoder, context, ask.titles, limit)
        keys = [cache_key(told | {"title": title, "tokens": limit}) for title in ask.titles]
        return [_Piece(key, question, "mean") for key, question in zip(keys, questions, strict=True)]
    if len(ask.shown) > 1:
        tokens = _label_tokens(reader.encoder, len(ask.shown))
        question = Question(context, (), [(0, token) for token in tokens])
        return [_Piece(cache_key(told | {"answers": "labels"}), question, "each")]
    words = reader.prompt.words(ask.locale)
    yes, no = words.get("yes", "Yes"), words.get("no", "No")
    start, tokens = _apart(reader, yes, no)
    question = Question(context, start, [(len(start), token) for token in tokens])
    return [_Piece(cache_key(told | {"answers": [yes, no]}), question, "odds")]


def _label_tokens(encoder: TitleTokenizer, count: int) -> list[int]:
    tokens = [ids[0] for ids in encoder.encode(LETTERS[:count])]
    if len({*tokens}) < count or encoder.end in tokens:
        raise ConfigError(
            f"--method list: this model's tokenizer does not tell {count} letters apart; give a smaller --top, or "
            "another --method"
        )
    return tokens


def _apart(reader: Reader, yes: str, no: str) -> tuple[list[int], list[int]]:
    """What two words start with alike, as ids, and the first id of each behind that; an end counts as one."""
    rows = reader.encoder.encode([yes, no])
    start = rows[0][: length_alike(rows)]
    if rows[0] == rows[1]:
        raise ConfigError(f"prompt {reader.prompt.name}: words.yes and words.no are the same to this model; change one")
    return start, [row[len(start)] for row in rows]


def _answered(reader: Reader, missing: Sequence[dict[str, _Piece]]) -> dict[str, Answer]:
    started = time.monotonic()
    asked = [[piece.question for piece in some.values()] for some in missing]
    values = log_probs(reader.loaded.model, asked, shared=reader.shared)
    seconds = (time.monotonic() - started) / sum(map(len, missing))
    found = {}
    for some, answers in zip(missing, values, strict=True):
        for (key, piece), reads in zip(some.items(), answers, strict=True):
            text = json.dumps([round(one, _DECIMALS) for one in _counted(piece, reads)])
            question = piece.question
            found[key] = Answer(text, len(question.context) + len(question.follows), None, seconds)
    return found


def _counted(piece: _Piece, reads: Sequence[float]) -> list[float]:
    if piece.form == "mean":
        return [sum(reads) / len(reads)]
    return [reads[0] - reads[1]] if piece.form == "odds" else list(reads)


def _read(text: str) -> list[float]:
    try:
        values = json.loads(text)
        return [float(value) for value in values]
    except (ValueError, TypeError) as error:
        raise DataError(
            "the file of answers holds one that is no list of numbers; delete it or name another"
        ) from error
