"""A tokenizer cut to some of its pieces; what it spells with those alone, it goes on spelling the same way."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
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

    The safety set holds the special tokens, the bytes, every single character with and without a blank before it, the
    ``frequent`` pieces with the best scores, and the piece with the worst one, from which a Unigram model takes what an
    unknown character costs. Further frequent pieces make the number a multiple of 64.

    Args:
        tokenizer: A fast Unigram tokenizer with ``V`` tokens.
        used: Shape ``(V,)``, from `used_tokens`.
        frequent: Number of frequent pieces to keep whether used or not.

    Raises:
        ModelError: the tokenizer is no Unigram model.
    """
    vocabulary = _state(tokenizer)["model"]["vocab"]
    pieces, scores = [piece for piece, _ in vocabulary], np.array([score for _, score in vocabulary])
    known_bytes = set(BYTES)
    safe = [piece in known_bytes or len(piece.removeprefix(SPACE)) <= 1 for piece in pieces]
    keep = used.copy()
    keep[tokenizer.all_special_ids] = True
    keep[len(pieces) :] = True  # tokens that were added to the pieces
    keep[: len(pieces)] |= np.array(safe, dtype=np.bool_)
    keep[np.argmin(scores)] = True
    by_score = np.argsort(-scores, kind="stable")
    keep[by_score[:frequent]] = True
    missing = -int(keep.sum()) % ROW_MULTIPLE
    keep[by_score[~keep[by_score]][:missing]] = True
    return np.flatnonzero(keep)


def trim_tokenizer(tokenizer: Any, kept: Indices) -> Any:
    """The tokenizer with some of its tokens, numbered from 0 in their old order.

    Scores stay, so a text whose best spelling uses kept pieces alone is spelled as before. Bytes spell what no piece
    can, as in mT5 itself, where the vocabulary has all of them (`transformers.T5Tokenizer` 5.23 leaves that off).

    Args:
        tokenizer: A fast Unigram tokenizer.
        kept: Rising token ids, from `kept_tokens`.

    Raises:
        ModelError: the tokenizer is no Unigram model.
    """
    state = _state(tokenizer)
    old = state["model"]["vocab"]
    number = {int(before): after for after, before in enumerate(kept)}
    state["model"]["vocab"] = [old[token] for token in kept.tolist() if token < len(old)]
    state["model"]["unk_id"] = number[state["model"]["unk_id"]]
    for token in state["added_tokens"]:
        token["id"] = number[token["id"]]
    for special in ((state.get("post_processor") or {}).get("special_tokens") or {}).values():
        special["ids"] = [number[token] for token in special["ids"]]
    if not state["model"]["byte_fallback"] and {piece for piece, _ in old}.issuperset(BYTES):
        state["model"]["byte_fallback"] = True
        state["decoder"] = {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, state["decoder"]]}
    state["truncation"] = state["padding"] = None
    names = {f"{name}_token": getattr(tokenizer, f"{name}_token") for name in ("pad", "eos", "unk")}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
        **names,
    )


def _state(tokenizer: Any) -> dict[str, Any]:
    """Everything that makes a fast tokenizer.

    Raises:
        ModelError: it is no Unigram model, or not a fast tokenizer.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    state: dict[str, Any] = json.loads(backend.to_str()) if backend is not None else {}
    if state.get("model", {}).get("type") != "Unigram":
        raise ModelError(f"{type(tokenizer).__name__}: only a Unigram tokenizer, as mT5's, can be trimmed")
    return state
