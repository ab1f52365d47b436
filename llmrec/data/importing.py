"""Raw files to a store: read, checked, split and written as zstd Parquet by DuckDB, through ibis."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

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
from llmrec.data.sources import Source, TestSource, find_source, is_store, none_found, source_of
from llmrec.data.spark.open_cluster import Engine, check_places, opened_on_cluster
from llmrec.data.splits import in_validation, validation_limits
from llmrec.data.staged_targets import attach_targets, targets_table
from llmrec.errors import ConfigError
from llmrec.files import sha256_of, uri_of
from llmrec.output import atomic_folder
from llmrec.records import record_text
from llmrec.schema import PRODUCT_COLUMNS, STORE_VERSION

__all__ = [
    "StoreWork",
    "import_dataset",
    "opened_store",
    "source_on_cluster",
    "write_manifest",
    "write_table",
    "write_targets",
]

STORE_NAMES: Final = r"manifest\.json|(?:products|(?:sessions|targets)_\w+)\.parquet"

_MEMORY_GB = 4
_SCRATCH = "scratch"
_SESSION_COLUMNS = ("session_id", "prev_items", "locale")
_LABELLED_COLUMNS = ("session_id", "prev_items", "next_item", "locale")


@dataclass
class StoreWork:
    """A store under way: where it is written, and what was written and found so far."""

    con: Backend
    folder: Path | str
    bar: Progress
    digests: dict[str, str] = field(default_factory=dict)
    tables: list[TableSummary] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def import_dataset(
    source: Path,
    out: Path,
    *,
    seed: int = 0,
    validation_share: float = 0.1,
    engine: Engine | None = None,
    master: str | None = None,
) -> ImportSummary:
    """Read the raw files of ``source`` into a checked store at ``out`` (its form: `llmrec.data.store`).

    Args:
        source: Folder with the official CSVs, the same as Parquet, or the authors' repository.
        out: The store's folder; a store there is replaced once the new one is complete.
        seed: Draws the validation sessions.
        validation_share: Fraction of each locale's training sessions that goes to validation (paper App. A: 0.1).
        engine: Where to compute; for ``spark``, ``source`` and ``out`` are URIs.
        master: Of Spark.

    Raises:
        ConfigError: a setting is wrong, ``source`` is no folder, or ``out`` holds something else than a store.
        DataError: the files cannot be read; names file and data row, counted from 1 without the header.
        DiskError: the disk is full or ``out`` cannot be written. What was at ``out`` is then untouched.
    """
    if not 0 < validation_share < 1:
        raise ConfigError(f"the validation share must be above 0 and below 1; got {validation_share:g}")
    started = time.monotonic()
    check_places(engine, {"SOURCE": [source], "OUT": [out]})
    here = None if engine == "spark" else find_source(source)
    with opened_store(out, engine=engine, master=master) as work:
        found = here or source_on_cluster(work.con, source)
        _write_tables(work, found, seed, validation_share)
        summary = ImportSummary(
            store=out,
            fingerprint=fingerprint_of(work.digests),
            tables=tuple(work.tables),
            findings=tuple(work.findings),
            unused=tuple(str(file.relative_to(found.folder)) for file in found.unused),
            seconds=time.monotonic() - started,
        )
        settings = {"synthetic": found.synthetic, "seed": seed, "validation_share": validation_share}
        write_manifest(work, summary, found.folder.resolve().name, settings)
    return summary


def source_on_cluster(con: Backend, folder: Path) -> Source:
    """`llmrec.data.sources.find_source` of a URI: the files right there, and those of ``targets``.

    Raises:
        ConfigError: it is a store already.
        DataError: no sessions are there.
    """
    uri = uri_of(folder) or ""
    names = con.names(uri)
    if "manifest.json" in names:
        raise ConfigError(f"{uri}: this is a store already; give it to the other commands as it is")
    found = source_of(folder, names, con.names(f"{uri}/targets") if "targets" in names else ())
    if found.train is None and not found.tests:
        raise none_found(uri)
    return found


@contextmanager
def opened_store(
    out: Path, *, on_disk: bool = False, engine: Engine | None = None, master: str | None = None
) -> Iterator[StoreWork]:
    """Give a store to write; it takes its place when the block ends without an error.

    Args:
        out: Its folder; a URI for Spark.
        on_disk: Whether tables under way are kept in a file, since they may be larger than memory.
        engine: Where to compute.
        master: Of Spark.

    Raises:
        ConfigError: ``out`` holds something else than a store.
        DiskError: the disk is full or ``out`` cannot be written. What was at ``out`` is then untouched.
    """
    if engine == "spark":
        uri = uri_of(out) or ""
        with opened_on_cluster(uri, master, "a store", STORE_NAMES) as (spread, place), progress_bar() as bar:
            yield StoreWork(spread, place, bar)
        return
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
    if isinstance(work.folder, str):
        ordered = table.order_by("session_id") if "session_id" in table.columns else table
        work.con.write(ordered, f"{work.folder}/{name}.parquet")
        written = work.con.read(f"{work.folder}/{name}.parquet")
    else:
        path = work.folder / f"{name}.parquet"
        options |= {"compression": "zstd", "compression_level": 1}  # 3, the default, saves 5 % of the bytes
        work.con.to_parquet(table, SqlText(path), **options)
        written = from_parquet(work.con, path)
    work.digests[name], locales = content_digest(work.con, written)
    work.tables.append(TableSummary(name, sum(locales.values()), locales))
    return sum(locales.values())


def write_targets(work: StoreWork, table: ir.Table, split: str) -> None:
    """`write_table` of a test split's targets, which name its sessions: those are written already.

    Not on a cluster, where that name would take all sessions into this process.
    """
    if isinstance(work.folder, str):
        write_table(work, table, f"targets_{split}")
        return
    file = from_parquet(work.con, work.folder / f"sessions_{split}.parquet")
    written = work.con.to_pyarrow(file.select("prev_items", "locale"))
    fingerprint = sessions_fingerprint(written["prev_items"], written["locale"])
    targets = stored(work.con, "targets", table)
    mark = mark_of(work.con.to_pyarrow(targets), fingerprint)
    # Arrow's own writer, or reader into DuckDB, would load 20 MB more
    write_table(work, targets, f"targets_{split}", kv_metadata={SqlText(MARK.decode()): SqlText(mark)})


def write_manifest(work: StoreWork, summary: ImportSummary, source: str, settings: Mapping[str, Any]) -> None:
    """Write ``manifest.json`` of a store whose tables are written; ``settings`` are further keys of it."""
    manifest = {
        "version": STORE_VERSION,
        "llmrec": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "source": source,
        **settings,
        "tables": {one.name: {"rows": one.rows, **_file_record(work.folder, one.name)} for one in summary.tables},
        "locales": {one.name: dict(one.locales) for one in summary.tables},
        "summary": summary.manifest_part(),
        "fingerprint": summary.fingerprint,
    }
    if isinstance(work.folder, str):
        work.con.put_text(f"{work.folder}/manifest.json", record_text(manifest))
    else:
        (work.folder / "manifest.json").write_text(record_text(manifest), encoding="utf-8")


def _file_record(folder: Path | str, name: str) -> dict[str, Any]:
    """Size and checksum of a table's file; a cluster's table has no one file."""
    if isinstance(folder, str):
        return {}
    file = folder / f"{name}.parquet"
    return {"bytes": file.stat().st_size, "sha256": sha256_of(file)}
