"""A real embeddings folder for tests: products' titles through the built-in encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from llmrec.records import write_record
from llmrec.text.encoders.embeddings_folder import EMBEDDINGS, ENCODER, PRODUCTS, VECTORS
from llmrec.text.encoders.tfidf import TfidfEncoder


def embed(products: Any, folder: Path, dim: int = 12) -> Path:
    """Write the folder that `llmrec embed` would write for these products."""
    titles = [title or "" for title in products["title"].to_pylist()]
    encoder = TfidfEncoder.fit(titles, dim)
    folder.mkdir()
    np.save(folder / VECTORS, encoder.encode_documents(titles))
    pq.write_table(products.select(["locale", "id", "title"]), folder / PRODUCTS)
    encoder.save(folder / ENCODER)
    manifest = {
        "encoder": {"name": encoder.name, "dim": dim, "fingerprint": encoder.fingerprint()},
        "template": {"name": "title", "sha256": ""},
        "products": {"num": len(titles), "fingerprint": ""},
    }
    write_record(folder / EMBEDDINGS.record, EMBEDDINGS.stamped(manifest))
    return folder
