"""Static models of model2vec, by folder or hub name; the only file that knows that package."""

from __future__ import annotations

import numpy as np
from model2vec import StaticModel

from llmrec.text.encoders.static import StaticEncoder

__all__ = ["load_model2vec"]


def load_model2vec(source: str, name: str) -> StaticEncoder:
    """Read a model2vec model as a `StaticEncoder`, which gives the same directions.

    Args:
        source: Folder or hub name.
        name: What ``--encoder`` called it.

    Raises:
        OSError: it cannot be read or fetched.
        ValueError: its files do not belong together.
    """
    model = StaticModel.from_pretrained(source, force_download=False)
    num_tokens = len(model.tokens)
    rows = np.arange(num_tokens) if model.token_mapping is None else np.asarray(model.token_mapping)[:num_tokens]
    table = model.embedding[rows].astype(np.float32)
    if model.weights is not None:
        table *= np.asarray(model.weights, dtype=np.float32)[:num_tokens, None]
    if model.unk_token_id is not None:
        table[model.unk_token_id] = 0
    return StaticEncoder(name, model.tokenizer.to_str(), table, model.max_length)
