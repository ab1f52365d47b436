"""Encoders by name or folder."""

from __future__ import annotations

from pathlib import Path

from llmrec.embeddings.base import Encoder
from llmrec.embeddings.storage import read_record
from llmrec.embeddings.tfidf import TfidfEncoder
from llmrec.errors import ModelError, nearest

__all__ = ["load_saved_encoder"]

_SAVED = {"tfidf-svd": TfidfEncoder.load}


def load_saved_encoder(folder: Path) -> Encoder:
    """Load an encoder that `Encoder.save` wrote.

    Raises:
        ModelError: there is none, or it is damaged or of another version.
    """
    kind = read_record(folder)["kind"]
    if kind not in _SAVED:
        raise ModelError(f"{folder}: an encoder of the unknown kind '{kind}'{nearest(kind, _SAVED)}")
    return _SAVED[kind](folder)
