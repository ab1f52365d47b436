"""Sequence-to-sequence models: by hub name, by folder, or a tiny mT5 built from a store's own titles."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, MT5Config, MT5ForConditionalGeneration
from transformers.utils import logging as transformers_logging

from llmrec.errors import ModelError, nearest
from llmrec.files import atomic_folder

__all__ = ["ModelCard", "build_tiny_mt5", "load_model", "read_model_card", "save_model"]

CARD = "llmrec.json"
EMBEDDING_STD = 0.08

transformers_logging.disable_progress_bar()  # its bars for one file of weights would tear ours apart


@dataclass(frozen=True)
class ModelCard:
    """What a model was trained to read, kept beside its weights so that ``--model DIR`` prompts it the same way.

    Attributes:
        prompt: Name of the prompt.
        prompt_hash: SHA-256 of the prompt's file.
        k: Number of most recent titles in a prompt.
        max_source_tokens: Prompt length.
        max_target_tokens: Title length.
    """

    prompt: str
    prompt_hash: str
    k: int
    max_source_tokens: int
    max_target_tokens: int


def build_tiny_mt5(vocab_size: int, width: int, layers: int, seed: int) -> Any:
    """Build a small mT5 with random weights: gated GELU and relative positions as the real one.

    Its head is tied to the embeddings, as transformers does for every mT5 that is not read from a checkpoint with a
    head of its own. Embeddings start at a standard deviation of .08, not 1: the optimizer moves every weight by about
    the learning rate a step, which unit-sized ones hardly feel in the minutes that this model has.
    """
    config = MT5Config(
        vocab_size=vocab_size,
        d_model=width,
        d_kv=32,
        d_ff=2 * width,
        num_layers=layers,
        num_decoder_layers=layers,
        num_heads=max(1, width // 32),
        dropout_rate=0.0,  # it sees each session a few times at most: nothing to overfit to
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
    )
    torch.manual_seed(seed)
    model = MT5ForConditionalGeneration(config)
    with torch.no_grad():
        model.shared.weight.mul_(EMBEDDING_STD)
    return model


def load_model(name: str) -> tuple[Any, Any]:
    """Load a sequence-to-sequence model and its tokenizer, by hub name or folder, as safetensors and without its code.

    Returns:
        The model in float32 and the tokenizer.

    Raises:
        ModelError: it is not there, not readable, or not a sequence-to-sequence model.
    """
    folder = Path(name)
    if folder.exists() and not (folder / "config.json").is_file():
        raise ModelError(f"{name}: no config.json in this folder, so it holds no model; train one with scripts/gen.py")
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        model = AutoModelForSeq2SeqLM.from_pretrained(
            name, dtype=torch.float32, trust_remote_code=False, use_safetensors=_has_safetensors(folder)
        )
    except Exception as error:  # the libraries below raise a dozen kinds for a bad file
        reason = " ".join(str(error).split())[:200]
        hint = "the folder may be cut short; train it again" if folder.exists() else "check the name and the network"
        raise ModelError(f"{name}: cannot be loaded as a sequence-to-sequence model ({reason}); {hint}") from error
    return model, tokenizer


def _has_safetensors(folder: Path) -> bool | None:
    """True for a folder, which must hold safetensors; None for the hub, where mT5 itself has only PyTorch weights.

    transformers loads those with ``weights_only=True``.
    """
    return True if folder.exists() else None


def save_model(
    folder: Path, model: Any, tokenizer: Any, card: ModelCard | None, weights: dict[str, Any] | None = None
) -> None:
    """Write model, tokenizer and card; the folder appears whole or not at all.

    Args:
        folder: Where to.
        model: A `transformers` model.
        tokenizer: Its tokenizer.
        card: What it was trained to read; None for a model that this package did not train.
        weights: The gathered state where a wrapper holds it in parts (ZeRO-3); the model's own if None.
    """
    with atomic_folder(folder) as temporary:
        model.save_pretrained(temporary, state_dict=weights)
        tokenizer.save_pretrained(temporary)
        if card is not None:
            (temporary / CARD).write_text(json.dumps(asdict(card), indent=2) + "\n", encoding="utf-8")


def read_model_card(name: str) -> ModelCard | None:
    """Card of a model that this package trained; None for any other model.

    Raises:
        ModelError: the card is not what this version writes.
    """
    file = Path(name) / CARD
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        unknown = set(content) - set(ModelCard.__dataclass_fields__)
        if unknown:
            raise ModelError(f"{file}: unknown key '{min(unknown)}'{nearest(min(unknown), content)}")
        return ModelCard(**content)
    except (ValueError, TypeError) as error:
        raise ModelError(f"{file}: not a model card of this version; train the model again") from error
