"""``llmrec embed --engine spark``: vectors of products that never pass through this process."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

import llmrec
from llmrec.cluster.on_executor import said, same_version
from llmrec.cluster.ordered_rows import ordered_rows
from llmrec.cluster.parts_run import cluster_of, told_by
from llmrec.console import notice, progress_bar, stderr
from llmrec.data.spark.session import spark_session
from llmrec.data.spark.storage import needed_uri, put_text, put_whole, shared_folder, ship
from llmrec.errors import ConfigError
from llmrec.evaluation.provenance import collect_provenance
from llmrec.files import uri_of
from llmrec.records import record_text
from llmrec.text.encoders.embeddings_folder import refuse_odd_vectors
from llmrec.text.encoders.registry import load_encoder
from llmrec.text.encoders.settings import EmbedJob
from llmrec.text.encoders.texts import load_template, render_texts, template_columns
from llmrec.text.encoders.tfidf import NAME as TFIDF

__all__ = ["embed_on_executors"]

_TYPES: Final = {"price": "double"}  # of a product's columns; the others are text


def embed_on_executors(job: EmbedJob) -> None:
    """Encode products at a URI on a cluster's executors, and write their vectors at another.

    What is written is a folder of Parquet parts with ``locale``, ``id`` and ``vector`` (float32, of length 1 where the
    encoder makes them so), in the order of the products' files and rows, and a ``.json`` beside it that says of what.

    Raises:
        ConfigError: the settings do not fit together, or the cluster lacks something.
        DataError: products are missing or malformed, or a vector is not finite.
        MissingExtraError: pyspark is not installed.
    """
    started = time.monotonic()
    source, target = needed_uri(job.products, "--products"), needed_uri(job.out, "--out")
    if job.encoder == TFIDF:
        raise ConfigError(
            f"--engine spark: {TFIDF} learns from all texts first; learn it from some here (llmrec embed SOME.parquet "
            "--out DIR), and give that folder as --encoder"
        )
    template = load_template(job.template)
    columns = {name: _TYPES.get(name, "string") for name in template_columns(template)}
    with spark_session(job.master) as session, progress_bar() as bar:
        bar.add_task("products → vectors", total=None, note=f"{source} on {session.sparkContext.master}")
        options = {name: getattr(job, name) for name in ("dim", "precision", "batch_size", "concurrency")}
        work = _Encoding(_shipped(session, job.encoder), job.template, json.dumps(options))
        told = told_by(session, work.told, "--encoder")
        rows, parts = ordered_rows(session, source, columns)
        with put_whole(session, target) as folder:
            vectors = rows.mapInArrow(work.encoded, "locale string, id string, vector array<float>")
            vectors.write.option("compression", "zstd").parquet(folder)
            number = session.read.parquet(folder).count()
        record = collect_provenance(None, job.seed, None, started) | {"products": source, "template": template.name}
        put_text(session, f"{target}.json", record_text(told | record | {"cluster": cluster_of(session, parts)}))
    notice(f"{number:,} vectors in {target}")


@dataclass(frozen=True)
class _Encoding:
    """What an executor is told; it travels with the work."""

    encoder: str
    template: str
    options: str
    version: str = llmrec.__version__

    def told(self, batches: Iterator[Any]) -> Iterator[Any]:
        """What the vectors' record says of the encoder."""
        for _ in batches:
            encoder = self._loaded()
            told = {"encoder": encoder.name, "fingerprint": encoder.fingerprint(), "dim": encoder.dim}
            yield said(told)

    def encoded(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Vectors of batches of products, in their order; a text that several have is encoded once a batch."""
        encoder, template = self._loaded(), load_template(self.template)
        for batch in batches:
            texts = render_texts(template, batch)
            distinct = list(dict.fromkeys(texts))
            place = {text: number for number, text in enumerate(distinct)}
            vectors = encoder.encode_documents(distinct)
            refuse_odd_vectors(vectors, encoder.name)
            flat = np.ascontiguousarray(vectors[[place[text] for text in texts]], dtype=np.float32)
            offsets = pa.array(np.arange(len(texts) + 1, dtype=np.int32) * flat.shape[1])
            lists = pa.ListArray.from_arrays(offsets, pa.array(flat.ravel()))
            ids = [batch.column(name) for name in ("locale", "id")]
            yield pa.RecordBatch.from_arrays([*ids, lists], names=["locale", "id", "vector"])

    def _loaded(self) -> Any:
        same_version(self.version)
        return _opened(self.encoder, self.options)


@cache
def _opened(encoder: str, options: str) -> Any:
    """The encoder, once for a worker process."""
    stderr.quiet = True
    here = encoder.startswith(("file:", "shipped:"))
    return load_encoder(str(shared_folder(encoder)) if here else encoder, **json.loads(options))


def _shipped(session: Any, encoder: str) -> str:
    if uri_of(encoder) and not encoder.startswith(("hf:/", "openai:")):
        return ship(session, Path(encoder))
    return ship(session, Path(encoder)) if Path(encoder).is_dir() else encoder
