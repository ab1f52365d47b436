"""``llmrec embed``: products to vectors; ``llmrec embed train``: an encoder that learns from sessions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmrec.errors import require
from llmrec.settings import option
from llmrec.text.encoders.settings import EmbedJob, TrainEncoderJob

__all__ = ["Embed", "TrainEncoderJob", "embed", "train"]


@dataclass(frozen=True, kw_only=True)
class Embed(EmbedJob):
    """What to encode, and whether to build the index of it.

    An interrupted run continues: give the same command again.

    Example: llmrec embed products.parquet --out runs/titles --encoder intfloat/multilingual-e5-small
    """

    index: bool = option(True, "Build the index too. `llmrec index` builds other kinds.", flag="--index/--no-index")


def embed(job: Embed) -> None:
    """Encode and index; errors are those of `llmrec.text.encoders.embed.run_embed_job`."""
    if job.engine == "spark":
        from llmrec.cluster.embed_on_executors import embed_on_executors

        embed_on_executors(job)
        return
    from llmrec.text.encoders.embed import run_embed_job

    if not job.index:
        run_embed_job(job)
        return
    require("faiss", "search")  # before hours of encoding, not after
    from llmrec.text.search.build import build_for_folder

    run_embed_job(job, lambda folder: build_for_folder(folder, called=job.out))


def train(job: TrainEncoderJob) -> None:
    """Train; errors are those of `llmrec.text.encoders.learning.train_encoder.run_train_encoder_job`."""
    from llmrec.text.encoders.learning.train_encoder import run_train_encoder_job

    run_train_encoder_job(job, _finder)


def _finder(vectors: Any) -> Any:
    """An index of vectors, loaded when a training asks for one."""
    require("faiss", "search")
    from llmrec.text.search.index import nearest_rows

    return nearest_rows(vectors)
