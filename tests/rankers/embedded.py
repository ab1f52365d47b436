"""A real embeddings folder for tests: products' titles through the built-in encoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from llmrec.text.encoders.embeddings_folder import ENCODER, FORMAT, MANIFEST, PRODUCTS, VECTORS, VERSION
from llmrec.text.encoders.tfidf import TfidfEncoder


def embed(products: Any, folder: Path, dim: int = 12) -> Path:
    """Write the folder that `llmrec embed` would write for these products."""
    titles = [title or "" for title in products["title"].to_pylist()]
    encoder = TfidfEncoder.fit(titles, dim)
    folder.mkdir()
    np.save(folder / VECTORS, encoder.encode_documents(titles))
    pq.write_table(products.select(["locale", "id", "title"]), folder / PRODUCTS)
    (folder / ENCODER).mkdir()
    encoder.save(folder / ENCODER)
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "encoder": {"name": encoder.name, "dim": dim, "fingerprint": encoder.fingerprint()},
        "template": {"name": "title", "sha256": ""},
        "products": {"num": len(titles), "fingerprint": ""},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    return folder
