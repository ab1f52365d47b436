"""Raw files to a store: read, checked, split and written as zstd Parquet by DuckDB, through ibis."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ibis.expr.types as ir
from ibis.backends.duckdb import Backend

from llmrec import __version__
from llmrec.console import Progress, progress_bar
from llmrec.data.connection import SqlText, connected, stored
from llmrec.data.digests import MARK, content_digest, fingerprint_of, mark_of, sessions_fingerprint
from llmrec.data.findings import (
    Finding,
    ImportSummary,
    TableSummary,
    coverage_findings,
    file_findings,
    product_findings,
    session_findings,
    usable_sessions,
)
from llmrec.data.products import no_products, stage_products, unique_products
from llmrec.data.raw import explained, from_parquet
from llmrec.data.sessions import stage_sessions
from llmrec.data.sources import SYNTHETIC, Source, TestSource, find_source, is_store
from llmrec.data.splits import in_validation, validation_limits
from llmrec.data.staged_targets import attach_targets, targets_table
from llmrec.errors import ConfigError
from llmrec.files import sha256_of
from llmrec.output import atomic_folder
from llmrec.records import record_text
from llmrec.schema import PRODUCT_COLUMNS, STORE_VERSION

__all__ = ["StoreWork", "import_dataset", "opened_store", "write_manifest", "write_table", "write_targets"]

_MEMORY_GB = 4
_SCRATCH = "scratch"
_SESSION_COLUMNS = ("session_id", "prev_items", "locale")
_LABELLED_COLUMNS = ("session_id", "prev_items", "next_item", "locale")


@dataclass
class StoreWork:
    """A store under way: where it is written, and what was written and found so far."""

    con: Backend
    folder: Path
    bar: Progress
    digests: dict[str, str] = field(default_factory=dict)
    tables: list[TableSummary] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def import_dataset(source: Path, out: Path, *, seed: int = 0, validation_share: float = 0.1) -> ImportSummary:
    """Read the raw files of ``source`` into a checked store at ``out`` (its form: `llmrec.data.store`).

    Args:
        source: Folder with the official CSVs, the same as Parquet, or the authors' repository.
        out: The store's folder; a store there is replaced once the new one is complete.
        seed: Draws the validation sessions.
        validation_share: Fraction of each locale's training sessions that goes to validation (paper App. A: 0.1).

    Raises:
        ConfigError: a setting is wrong, ``source`` is no folder, or ``out`` holds something else than a store.
        DataError: the files cannot be read; names file and data row, counted from 1 without the header.
        DiskError: the disk is full or ``out`` cannot be written. What was at ``out`` is then untouched.
    """
    if not 0 < validation_share < 1:
        raise ConfigError(f"the validation share must be above 0 and below 1; got {validation_share:g}")
    started = time.monotonic()
    found = find_source(source)
    with opened_store(out) as work:
        _write_tables(work, found, seed, validation_share)
        summary = ImportSummary(
            store=out,
            fingerprint=fingerprint_of(work.digests),
            tables=tuple(work.tables),
            findings=tuple(work.findings),
            unused=tuple(str(file.relative_to(found.folder)) for file in found.unused),
            seconds=time.monotonic() - started,
        )
        synthetic = (found.folder / SYNTHETIC).is_file()
        settings = {"synthetic": synthetic, "seed": seed, "validation_share": validation_share}
        write_manifest(work.folder, summary, found.folder.resolve().name, settings)
    return summary


@contextmanager
def opened_store(out: Path, *, on_disk: bool = False) -> Iterator[StoreWork]:
    """Give a store to write; it takes its place when the block ends without an error.

    Args:
        out: Its folder.
        on_disk: Whether tables under way are kept in a file, since they may be larger than memory.

    Raises:
        ConfigError: ``out`` holds something else than a store.
        DiskError: the disk is full or ``out`` cannot be written. What was at ``out`` is then untouched.
    """
    _check_out(out)
    with atomic_folder(out) as folder, progress_bar() as bar:
        scratch = folder / _SCRATCH
        scratch.mkdir()
        tables = scratch / "tables.duckdb" if on_disk else None
        with explained(out), connected(_MEMORY_GB, spill=scratch, database=tables) as con:
            yield StoreWork(con, folder, bar)
        shutil.rmtree(scratch)


def _check_out(out: Path) -> None:
    if out.is_dir() and not any(out.iterdir()):
        return
    if out.exists() and not is_store(out):
        raise ConfigError(f"{out}: exists and is no store; choose another place or remove it")


def _write_tables(work: StoreWork, found: Source, seed: int, share: float) -> None:
    total = len(found.tests) + (found.train is not None) + 1
    task = work.bar.add_task("import", total=total, note=found.products.name if found.products else "")
    products = _write_products(work, found.products)
    work.bar.advance(task)
    if found.train is not None:
        work.bar.update(task, note=found.train.name)
        _write_training(work, found.train, products, seed, share)
        work.bar.advance(task)
    for test in found.tests:
        work.bar.update(task, note=test.sessions.name)
        _write_test(work, test, products)
        work.bar.advance(task)
    if products is None:
        work.findings.append(Finding("noted", found.folder.name, "no products file: titles are not known", 1))


def _write_products(work: StoreWork, path: Path | None) -> ir.Table | None:
    """Write products.parquet, empty where there is no file; give the table to join with, or None."""
    if path is None:
        write_table(work, no_products(), "products")
        return None
    staged = stage_products(work.con, path)
    products = unique_products(work.con, staged)
    num_kept = write_table(work, products.select(*PRODUCT_COLUMNS), "products")
    work.findings += file_findings(path) + product_findings(work.con, staged, path.name, num_kept)
    return products.select("locale", "id", "title")


def _write_training(work: StoreWork, path: Path, products: ir.Table | None, seed: int, share: float) -> None:
    staged = stage_sessions(work.con, path, ("next_item",))
    sessions = usable_sessions(staged, training=True).mutate(session_id=staged.row)
    limits = validation_limits(work.con, sessions, seed=seed, share=share)
    chosen = in_validation(sessions, limits, seed=seed)
    for name, rows in (("development", sessions.filter(~chosen)), ("validation", sessions.filter(chosen))):
        write_table(work, rows.select(*_LABELLED_COLUMNS), f"sessions_{name}")
    work.findings += file_findings(path) + session_findings(work.con, staged, path.name, training=True)
    if products is not None:
        work.findings += coverage_findings(work.con, sessions, products, path.name, training=True)


def _write_test(work: StoreWork, test: TestSource, products: ir.Table | None) -> None:
    staged = stage_sessions(work.con, test.sessions)
    staged = attach_targets(work.con, test, staged.mutate(session_id=staged.row))
    sessions = usable_sessions(staged, training=False)
    write_table(work, sessions.select(*_SESSION_COLUMNS).order_by("session_id"), f"sessions_{test.split}")
    targets = targets_table(sessions, products)
    if targets is not None:
        write_targets(work, targets, test.split)
    name = test.sessions.name
    work.findings += file_findings(test.sessions) + session_findings(work.con, staged, name, training=False)
    if products is not None:
        work.findings += coverage_findings(work.con, sessions, products, name, training=False)


def write_table(work: StoreWork, table: ir.Table, name: str, **options: Any) -> int:
    """Write one Parquet file in the table's order, note its rows by locale and return how many they are."""
    path = work.folder / f"{name}.parquet"
    options |= {"compression": "zstd", "compression_level": 1}  # 3, the default, saves 5 % of the bytes
    work.con.to_parquet(table, SqlText(path), **options)
    written = from_parquet(work.con, path)
    work.digests[name], locales = content_digest(work.con, written)
    work.tables.append(TableSummary(name, sum(locales.values()), locales))
    return sum(locales.values())


def write_targets(work: StoreWork, table: ir.Table, split: str) -> None:
    """`write_table` of a test split's targets, which name its sessions: those are written already."""
    file = from_parquet(work.con, work.folder / f"sessions_{split}.parquet")
    written = work.con.to_pyarrow(file.select("prev_items", "locale"))
    fingerprint = sessions_fingerprint(written["prev_items"], written["locale"])
    targets = stored(work.con, "targets", table)
    mark = mark_of(work.con.to_pyarrow(targets), fingerprint)
    # Arrow's own writer, or reader into DuckDB, would load 20 MB more
    write_table(work, targets, f"targets_{split}", kv_metadata={SqlText(MARK.decode()): SqlText(mark)})


def write_manifest(folder: Path, summary: ImportSummary, source: str, settings: Mapping[str, Any]) -> None:
    """Write ``manifest.json`` of a store whose tables are written; ``settings`` are further keys of it."""
    files = {one.name: folder / f"{one.name}.parquet" for one in summary.tables}
    manifest = {
        "version": STORE_VERSION,
        "llmrec": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "source": source,
        **settings,
        "tables": {
            one.name: {
                "rows": one.rows,
                "bytes": files[one.name].stat().st_size,
                "sha256": sha256_of(files[one.name]),
            }
            for one in summary.tables
        },
        "locales": {one.name: dict(one.locales) for one in summary.tables},
        "summary": summary.manifest_part(),
        "fingerprint": summary.fingerprint,
    }
    (folder / "manifest.json").write_text(record_text(manifest), encoding="utf-8")
