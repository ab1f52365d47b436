"""A tokenizer cut to some of its pieces; what it spells with those alone, it goes on spelling the same way."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from llmrec.errors import ModelError
from llmrec.titles.prompting.title_tokenizer import TitleTokenizer

__all__ = ["kept_tokens", "trim_tokenizer", "used_tokens"]

Mask = NDArray[np.bool_]
Indices = NDArray[np.int64]
BYTES: Final = tuple(f"<0x{number:02X}>" for number in range(256))
SPACE: Final = "▁"  # stands for a blank in SentencePiece
ROW_MULTIPLE: Final = 64  # matrices of such a height are quick to multiply with on every device
NAMED: Final = ("pad", "eos", "unk", "bos")
LATIN: Final = 0x180  # below it are the 256 characters that byte-level vocabularies spell bytes with
PLACEHOLDER: Final = re.compile("unused|reserved")  # in the names of special tokens that no training has given a sense


def used_tokens(tokenizer: Any, texts: Iterable[Sequence[str]]) -> Mask:
    """Which tokens some texts are spelled with.

    Args:
        tokenizer: A fast tokenizer with ``V`` tokens.
        texts: Batches of texts.

    Returns:
        Shape ``(V,)``.
    """
    encoder, used = TitleTokenizer(tokenizer), np.zeros(len(tokenizer), dtype=np.bool_)
    for batch in texts:
        for ids in encoder.encode(batch):
            used[ids] = True
    return used


def kept_tokens(tokenizer: Any, used: Mask, frequent: int) -> Indices:
    """The tokens to keep: the used ones and a safety set, in their old order.

    The safety set holds the special tokens but for placeholders, the bytes, and the ``frequent`` first pieces. Of a
    Unigram model these are those with the best scores; it also keeps every single character with and without a blank
    before it, and the piece with the worst score, which says what an unknown character costs. Of a BPE model they are
    those merged first; it also keeps Latin characters, and whatever a kept piece is merged from. Further frequent
    pieces make the number a multiple of 64.

    Args:
        tokenizer: A fast Unigram or BPE tokenizer with ``V`` tokens.
        used: Shape ``(V,)``, from `used_tokens`.
        frequent: Number of frequent pieces to keep whether used or not.

    Raises:
        ModelError: the tokenizer is of another kind.
    """
    state = _state(tokenizer)
    model, pieces, keep = state["model"], _pieces(state["model"]), used.copy()
    added = {token["content"]: token["id"] for token in state["added_tokens"]}
    needed = {getattr(tokenizer, f"{name}_token") for name in NAMED}
    spare = [added[name] for name in added if PLACEHOLDER.search(name) and name not in needed]
    keep[[*added.values(), *tokenizer.all_special_ids]] = True
    keep[spare] = used[spare]
    known_bytes, unigram = set(BYTES), model["type"] == "Unigram"
    safe = [piece in known_bytes or _is_safe(piece.removeprefix(SPACE), unigram) for piece in pieces]
    keep[: len(pieces)] |= np.array(safe, dtype=np.bool_)
    order = np.arange(len(pieces))
    if unigram:
        scores = np.array([score for _, score in model["vocab"]])
        keep[np.argmin(scores)] = True
        order = np.argsort(-scores, kind="stable")
    order = order[~np.isin(order, spare)]
    keep[order[:frequent]] = True
    if not unigram:
        whole = [pieces[token] for token in np.flatnonzero(keep[: len(pieces)]) if pieces[token] not in added]
        keep[[model["vocab"][part] for part in _merged_from(model, whole)]] = True
    missing = -int(keep.sum()) % ROW_MULTIPLE
    keep[order[~keep[order]][:missing]] = True
    return np.flatnonzero(keep)


def _is_safe(bare: str, unigram: bool) -> bool:
    return len(bare) < 2 and (unigram or not bare or ord(bare) < LATIN)


def _merged_from(model: dict[str, Any], pieces: Iterable[str]) -> Iterator[str]:
    """All that a BPE model makes on its way to some pieces.

    Merges inside a piece come in the same order whatever stands around it, so each is looked at by itself.
    """
    rank = {(left, right): place for place, (left, right) in enumerate(model["merges"])}
    for piece in pieces:
        parts = [part for part in piece if part in model["vocab"]]
        yield from parts
        while len(parts) > 1:
            least, place = min(
                (rank.get(pair, len(rank)), place) for place, pair in enumerate(itertools.pairwise(parts))
            )
            if least == len(rank):  # no merge makes this piece
                break
            parts[place : place + 2] = ["".join(parts[place : place + 2])]
            yield parts[place]


def trim_tokenizer(tokenizer: Any, kept: Indices) -> Any:
    """The tokenizer with some of its tokens, numbered from 0 in their old order.

    Scores and the order of merges stay, so a text that was spelled with kept pieces alone is spelled as before. Bytes
    spell what no piece can, as in mT5 itself, where the vocabulary has all of them (`transformers.T5Tokenizer` 5.23
    leaves that off). The chat template stays.

    Args:
        tokenizer: A fast Unigram or BPE tokenizer.
        kept: Rising token ids, from `kept_tokens`.

    Raises:
        ModelError: the tokenizer is of another kind.
    """
    state = _state(tokenizer)
    model, pieces = state["model"], _pieces(state["model"])
    number = {int(before): after for after, before in enumerate(kept)}
    inside = [token for token in kept.tolist() if token < len(pieces)]
    if model["type"] == "Unigram":
        model["vocab"], model["unk_id"] = [model["vocab"][token] for token in inside], number[model["unk_id"]]
    else:
        vocabulary = model["vocab"] = {pieces[token]: number[token] for token in inside}
        model["merges"] = [pair for pair in model["merges"] if {*pair, "".join(pair)} <= vocabulary.keys()]
    state["added_tokens"] = [token for token in state["added_tokens"] if token["id"] in number]
    for token in state["added_tokens"]:
        token["id"] = number[token["id"]]
    processor = state.get("post_processor") or {}
    for part in (processor, *processor.get("processors", ())):
        for special in (part.get("special_tokens") or {}).values():
            special["ids"] = [number[token] for token in special["ids"]]
    if model["type"] == "Unigram" and not model["byte_fallback"] and set(pieces).issuperset(BYTES):
        model["byte_fallback"] = True
        state["decoder"] = {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, state["decoder"]]}
    state["truncation"] = state["padding"] = None
    names = {f"{name}_token": getattr(tokenizer, f"{name}_token") for name in NAMED}
    smaller = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
        **{name: token for name, token in names.items() if token is not None},
    )
    smaller.chat_template = getattr(tokenizer, "chat_template", None)
    return smaller


def _pieces(model: dict[str, Any]) -> list[str]:
    """Pieces of a tokenizer's model, in the order of their ids."""
    if model["type"] == "Unigram":
        return [piece for piece, _ in model["vocab"]]
    return sorted(model["vocab"], key=model["vocab"].__getitem__)


def _state(tokenizer: Any) -> dict[str, Any]:
    """Everything that makes a fast tokenizer.

    Raises:
        ModelError: it is neither a Unigram nor a BPE model, or not a fast tokenizer.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    state: dict[str, Any] = json.loads(backend.to_str()) if backend is not None else {}
    model = state.get("model", {})
    marked = model.get("continuing_subword_prefix") or model.get("end_of_word_suffix")  # merges are no plain joins
    if model.get("type") not in ("Unigram", "BPE") or marked:
        raise ModelError(
            f"{type(tokenizer).__name__}: only a Unigram or BPE tokenizer, as mT5's or Llama's, can be trimmed"
        )
    return state
