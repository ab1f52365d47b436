"""Titles of a store, embedded and indexed."""

from __future__ import annotations

from pathlib import Path

from llmrec.data.store import Store
from llmrec.text.encoders.embed import EmbedJob, run_embed_job
from llmrec.text.search.build import build_for_folder


def indexed_titles(store: Store, out: Path) -> Path:
    """An embeddings folder with an index of a store's titles."""
    run_embed_job(EmbedJob(products=store.path / "products.parquet", out=out, dim=16))
    build_for_folder(out)
    return out
