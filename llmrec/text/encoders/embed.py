"""One command: the vectors of a product file, on disk with all that is needed to search them.

The work is done in a hidden folder beside the target. A killed run leaves it there, and the same command goes on from
the last rows that reached the disk; the target appears, or is replaced, when everything is complete, its index too.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llmrec.arrays import Floats
from llmrec.console import notice, progress_bar
from llmrec.data.connection import SqlText, connected
from llmrec.data.digests import content_digest
from llmrec.data.products import read_products_file
from llmrec.data.raw import arrow_explained, parquet_file
from llmrec.errors import DataError, ModelError, StoreError
from llmrec.evaluation.provenance import collect_provenance
from llmrec.files import known_sha256, sha256_of
from llmrec.output import atomic_file, check, disk_errors, put_in_place
from llmrec.records import Count, Digest, read_record, write_record
from llmrec.settings import claiming
from llmrec.text.encoders.base import Encoder
from llmrec.text.encoders.embeddings_folder import (
    COLUMNS,
    EMBEDDINGS,
    ENCODER,
    PRODUCTS,
    VECTORS,
    Embeddings,
    open_embeddings,
    refuse_odd_vectors,
)
from llmrec.text.encoders.process_group import ProcessGroup
from llmrec.text.encoders.registry import load_encoder, load_saved_encoder
from llmrec.text.encoders.settings import EmbedJob
from llmrec.text.encoders.texts import load_template, render_texts, template_columns
from llmrec.text.encoders.tfidf import FIT_TITLES
from llmrec.text.encoders.tfidf import NAME as TFIDF
from llmrec.text.prompts import Prompt

__all__ = ["EmbedJob", "run_embed_job"]

SOURCE: Final = "source.parquet"
SETTINGS: Final = "settings.json"
PROGRESS: Final = "progress.json"
CHUNK: Final = 4_096  # products encoded between two looks at the clock
SAVE_EVERY_S: Final = 5.0
R = TypeVar("R")


@dataclass(frozen=True)
class _Settings:
    """What decides the vectors."""

    encoder: str
    dim: int | None
    precision: str
    seed: int
    template: str
    products: str
    num: Count


@dataclass(frozen=True)
class _Begun:
    """What an unfinished run is of, and the checksum of the products that it reads."""

    settings: _Settings
    source_sha256: Digest


@dataclass(frozen=True)
class _Progress:
    """Rows that are on the disk, and the checksum of the vectors' file up to there."""

    rows: Count
    vectors_sha256: Digest


_SCHEMA: Final = pa.schema([(name, pa.string()) for name in COLUMNS])


@claiming
def run_embed_job(job: EmbedJob, finish: Callable[[Path], Any] | None = None) -> Embeddings:
    """Encode all products of a file; a run that was killed goes on where it was.

    Args:
        job: What to encode, and where to.
        finish: Called with the folder in the main process when all else is complete, before it takes its place.

    Raises:
        ConfigError: a setting is wrong, or ``out`` holds something else.
        DataError: the file is missing or malformed, holds no product, or a vector is not finite.
        DiskError: the disk is full or the place cannot be written.
        ModelError: the encoder cannot be read.
    """
    started = time.monotonic()
    EMBEDDINGS.refuse_foreign(job.out)
    template, shares = load_template(job.template), ProcessGroup.here()
    given = None if job.encoder == TFIDF else _load(job)
    out = check(job.out, "folder")
    work = out.with_name(f".{out.name}.partial")
    with disk_errors(job.out):
        shares.require_shared(out.parent)
        if shares.is_main:
            _prepare(job, work, template, given)
        shares.wait()
        if not work.is_dir():  # all was there already
            if finish is not None and shares.is_main:
                finish(job.out)
            return open_embeddings(job.out)
        encoder = given or _fitted(job, work, template, shares)
        _encode(work, encoder, template, shares)
        if shares.is_main:
            _finish(job, work, encoder, template, started, finish or (lambda _: None))
        shares.wait()
    return open_embeddings(job.out)


def _load(job: EmbedJob, texts: Any = None) -> Encoder:
    return load_encoder(
        job.encoder,
        texts=texts,
        dim=job.dim,
        precision=job.precision,
        batch_size=job.batch_size,
        concurrency=job.concurrency,
        seed=job.seed,
    )


def _prepare(job: EmbedJob, work: Path, template: Prompt, encoder: Encoder | None) -> None:
    """Leave ``work`` ready, with the rows a killed run wrote; no ``work`` where ``out`` is what was asked for."""
    with connected() as con:
        products = read_products_file(con, job.products)
        fingerprint, locales = content_digest(con, products)
        num = sum(locales.values())
        if not num:
            raise DataError(f"{job.products.name}: no product with an id and a locale; there is nothing to encode")
        settings = _Settings(
            encoder=job.encoder if encoder is None else encoder.fingerprint(),
            dim=job.dim,
            precision=job.precision,
            seed=job.seed,
            template=template.hash,
            products=fingerprint,
            num=num,
        )
        if job.out.exists() and _same(job.out, settings):
            shutil.rmtree(work, ignore_errors=True)
            notice(f"{job.out} holds these embeddings already")
            return
        if work.is_dir():
            if _is_whole(work, settings):
                notice(f"going on at product {_rows_done(work):,} of {num:,}")
                return
            notice("an unfinished run with other settings, encoder or products, or a damaged one, is thrown away")
            shutil.rmtree(work)
        work.mkdir(parents=True)
        try:
            columns = dict.fromkeys((*COLUMNS, *template_columns(template)))
            con.to_parquet(products.select(*columns), SqlText(work / SOURCE))
            write_record(work / SETTINGS, _Begun(settings, sha256_of(work / SOURCE)))
        except BaseException:  # nothing yet that a run could go on with
            shutil.rmtree(work, ignore_errors=True)
            raise


def _same(out: Path, settings: _Settings) -> bool:
    try:
        return bool(open_embeddings(out).manifest.settings == asdict(settings))
    except StoreError:
        return False


def _read(file: Path, cls: type[R]) -> R | None:
    """A record of an unfinished run; None where there is none that can be read."""
    try:
        return read_record(file, cls, "")
    except DataError:
        return None


def _is_whole(work: Path, settings: _Settings) -> bool:
    """Whether an unfinished run is of these settings and can be gone on with."""
    begun, source = _read(work / SETTINGS, _Begun), work / SOURCE
    if begun is None or begun.settings != settings or not source.is_file():
        return False
    try:
        _ = load_saved_encoder(work / ENCODER) if (work / ENCODER).exists() else None
    except ModelError:
        return False
    return begun.source_sha256 == sha256_of(source) and _holds_text(source, settings.num)


def _holds_text(source: Path, num: int) -> bool:
    """Whether the products of an unfinished run have their keys and titles, as text."""
    try:
        parts = parquet_file(source)
        kinds = [parts.schema_arrow.field(name).type for name in COLUMNS]
    except (DataError, KeyError):
        return False
    return parts.metadata.num_rows == num and all(pa.types.is_string(one) for one in kinds)


def _settings(work: Path) -> _Settings:
    return read_record(work / SETTINGS, _Begun, "give the same command again").settings


def _rows_done(work: Path) -> int:
    done, file, num = _read(work / PROGRESS, _Progress), work / VECTORS, _settings(work).num
    if done is None or not file.is_file() or done.rows > num:
        return 0
    return done.rows if _digest(file, done.rows, num).hexdigest() == done.vectors_sha256 else 0


def _digest(file: Path, rows: int, num: int) -> Any:
    """SHA-256 of the first bytes of a file of ``num`` vectors: its head and some rows."""
    digest = hashlib.sha256()
    with file.open("rb") as handle:
        head = 10 + int.from_bytes(handle.read(10)[8:], "little")  # NPY 1.0: its length is in the last two of ten bytes
        left = head + (file.stat().st_size - head) // num * rows
        handle.seek(0)
        while part := handle.read(min(left, 1 << 20)):
            digest.update(part)
            left -= len(part)
    return digest


def _fitted(job: EmbedJob, work: Path, template: Prompt, shares: ProcessGroup) -> Encoder:
    """The built-in encoder, fitted on the products by one process; the one of a killed run if there is one."""
    folder = work / ENCODER
    if shares.is_main and not folder.is_dir():
        notice("fitting the encoder on the products' texts")
        _load(job, lambda: _sample(work, template, job.seed)).save(folder)
    shares.wait()
    return load_saved_encoder(folder)


def _sample(work: Path, template: Prompt, seed: int) -> list[str]:
    """Texts of products drawn at random, as many as the fit reads, without holding all of them."""
    num = _settings(work).num
    drawn = np.random.default_rng(seed).permutation(num)[:FIT_TITLES] if num > FIT_TITLES else np.arange(num)
    wanted = np.zeros(num, dtype=np.bool_)
    wanted[drawn] = True
    texts: list[str] = []
    for start, batch in _batches(work, 0, 1 << 16):
        texts += render_texts(template, batch.filter(pa.array(wanted[start : start + len(batch)])))
    return texts


def _batches(work: Path, first: int, size: int) -> Iterator[tuple[int, Any]]:
    """Products from row ``first`` on, ``size`` or fewer at once, with the row of the first of them."""
    start, file = 0, work / SOURCE
    with arrow_explained(file):
        parts = parquet_file(file)
        if missing := {*COLUMNS} - {*parts.schema_arrow.names}:
            raise DataError(f"{file}: no column {', '.join(sorted(missing))}; start over with --overwrite")
        for batch in parts.iter_batches(size):
            skipped = min(max(0, first - start), len(batch))
            if skipped < len(batch):
                yield start + skipped, batch.slice(skipped)
            start += len(batch)


def _encode(work: Path, encoder: Encoder, template: Prompt, shares: ProcessGroup) -> None:
    """Write the vectors of all rows that are not on the disk yet."""
    num = _settings(work).num
    first = _rows_done(work)
    file, at_once = work / VECTORS, getattr(encoder, "chunk", CHUNK) * shares.num_processes
    if shares.is_main and not first:
        _make_vectors(file, num, encoder.dim)
    shares.wait()
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(progress_bar())
        task = bar.add_task("products → vectors", total=num, completed=first, note="", visible=shares.is_main)
        handle = stack.enter_context(file.open("r+b")) if shares.is_main else None
        saved, digest = time.monotonic(), _digest(file, first, num)
        done = _Progress(first, digest.hexdigest())
        try:
            for start, batch in _batches(work, first, at_once):
                texts = render_texts(template, batch)
                distinct = list(dict.fromkeys(texts))  # a title that several products have is encoded once
                place = {text: number for number, text in enumerate(distinct)}
                vectors = shares.encode(encoder, distinct)
                refuse_odd_vectors(vectors, encoder.name)
                if handle is not None:
                    _write_rows(handle, vectors[[place[text] for text in texts]], start, num, digest)
                    done = _Progress(start + len(batch), digest.hexdigest())
                    if time.monotonic() - saved > SAVE_EVERY_S:
                        _save_progress(work, handle, done)
                        saved = time.monotonic()
                bar.update(task, completed=start + len(batch))
        finally:  # whatever ended it: a server that broke off, or the user
            if handle is not None:
                _save_progress(work, handle, done)


def _make_vectors(file: Path, num: int, dim: int) -> None:
    with atomic_file(file) as temporary, temporary.open("wb") as handle:
        header = {"descr": "<f4", "fortran_order": False, "shape": (num, dim)}
        np.lib.format.write_array_header_1_0(handle, header)
        handle.truncate(handle.tell() + num * dim * 4)


def _write_rows(handle: IO[bytes], vectors: Floats, start: int, num: int, digest: Any) -> None:
    """Write rows at their place: a memory map would count as memory of this process."""
    width = vectors.shape[1] * 4
    handle.seek(-(num - start) * width, os.SEEK_END)
    content = np.ascontiguousarray(vectors, dtype="<f4").data
    handle.write(content)
    digest.update(content)


def _save_progress(work: Path, handle: IO[bytes], done: _Progress) -> None:
    handle.flush()
    os.fsync(handle.fileno())
    write_record(work / PROGRESS, done)


def _finish(
    job: EmbedJob, work: Path, encoder: Encoder, template: Prompt, started: float, finish: Callable[[Path], Any]
) -> None:
    settings = _settings(work)
    with pq.ParquetWriter(work / PRODUCTS, _SCHEMA, compression="zstd") as writer:
        for _, batch in _batches(work, 0, 1 << 16):
            writer.write_table(pa.Table.from_batches([batch]).select(list(COLUMNS)).cast(_SCHEMA))
    if not (work / ENCODER).is_dir():
        encoder.save(work / ENCODER)
    manifest = {
        "encoder": {"name": encoder.name, "dim": encoder.dim, "fingerprint": encoder.fingerprint()},
        "template": {"name": template.name, "sha256": template.hash},
        "products": {"num": settings.num, "fingerprint": settings.products},
        "settings": asdict(settings),
        "files": {name: known_sha256(work / name) for name in (VECTORS, PRODUCTS)},
        **collect_provenance(None, job.seed, settings.products, started),
    }
    write_record(work / EMBEDDINGS.record, EMBEDDINGS.stamped(manifest))
    finish(work)
    for name in (SOURCE, SETTINGS, PROGRESS):
        (work / name).unlink()
    put_in_place(work, job.out)
    notice(f"{settings.num:,} vectors of {encoder.dim} numbers in {job.out}")
