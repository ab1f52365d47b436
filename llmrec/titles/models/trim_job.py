"""``llmrec trim``: a model folder with a smaller vocabulary, and one put back into the whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmrec.console import notice
from llmrec.data.store import Store
from llmrec.output import check
from llmrec.text.prompts import load_prompt
from llmrec.titles.models.model import load_model, read_model_card, save_model
from llmrec.titles.models.trim import restore, trim

__all__ = ["restore_folder", "trim_folder"]


def trim_folder(name: str, store: Store, out: Path, prompts: Sequence[str], frequent: int) -> None:
    """Write a model with the vocabulary of a store.

    Args:
        name: Folder or hub name of the model.
        store: Whose products are read.
        out: Folder to write.
        prompts: Names of the prompts that it is going to read; the model's own, or ``plain``, where there are none.
        frequent: Number of frequent pieces to keep whether used or not.

    Raises:
        ConfigError: there is no such prompt.
        ModelError: the model cannot be loaded or trimmed.
        DiskError: ``out`` cannot be written.
    """
    check(out, "folder")
    card = read_model_card(name)
    texts = [load_prompt(one) for one in prompts or [card.prompt if card else "plain"]]
    model, tokenizer = load_model(name)
    before = _size(model)
    model, tokenizer = trim(model, tokenizer, store, texts, frequent)
    save_model(out, model, tokenizer, card)
    notice(f"{before} -> {_size(model)}")
    notice(f"wrote {out}; fine-tune it: llmrec generate --data {store.path} --base-model {out}")


def restore_folder(name: str, full: str, out: Path) -> None:
    """Write a trimmed model with the vocabulary of the model that it was trimmed from.

    Args:
        name: Folder of the trimmed model, fine-tuned or not.
        full: Folder or hub name of the model that it was trimmed from.
        out: Folder to write.

    Raises:
        ModelError: a model cannot be loaded, or ``name`` was not trimmed from ``full``.
        DiskError: ``out`` cannot be written.
    """
    check(out, "folder")
    full_model, full_tokenizer = load_model(full)
    restored = restore(*load_model(name), full_model, full_tokenizer)
    save_model(out, restored, full_tokenizer, read_model_card(name))
    notice(f"wrote {out} with {restored.config.vocab_size:,} tokens")


def _size(model: Any) -> str:
    parameters = sum(weight.numel() for weight in model.parameters())
    return f"{model.config.vocab_size:,} tokens, {parameters:,} parameters"
