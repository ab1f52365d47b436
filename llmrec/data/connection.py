"""DuckDB through ibis: opened in one place, closed when the block ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import duckdb
import ibis
import ibis.expr.types as ir
from ibis.backends.duckdb import Backend
from ibis.util import gen_name

from llmrec.errors import ConfigError
from llmrec.memory import GIB, Free, free_memory, readable, require_memory
from llmrec.output import spill_folder

__all__ = ["SqlText", "carried", "connected", "dropped", "numbered", "stored"]

SHARE: Final = 0.5  # of the memory that is there; what a query gives goes to this process, which holds it beside
LEAST: Final = 1 << 26
THREADS: Final = 1 << 28
PLACE: Final = "place in the files"  # a column's name that hardly any file has, and none needs
"""Column of rows of a cluster's files, whose tasks keep no order: the place of each among all of them."""


@contextmanager
def connected(
    memory_limit_gb: float = 6, *, database: Path | None = None, spill: Path | None = None
) -> Iterator[Backend]:
    """Give a connection on as many threads as this process may use cores, and close it when the block ends.

    Args:
        memory_limit_gb: Memory that queries may hold before they spill to disk, in GiB; less where less is there.
        database: File to keep tables in; in memory where not given.
        spill: Folder that spilled data goes to; `llmrec.output.spill_folder` where not given.

    Raises:
        ConfigError: a query inside needs more memory than that, even spilling.
    """
    free = free_memory()
    if free.source == "ulimit -v":  # DuckDB's threads, begun without room for their stacks, would end the process
        require_memory("a query", THREADS, free, "raise that limit")
    limit = max(LEAST, round(min(memory_limit_gb * GIB, SHARE * free.size)))
    folder = spill or spill_folder()
    con = ibis.duckdb.connect(
        ":memory:" if database is None else database,
        memory_limit=f"{limit >> 20}MiB",
        temp_directory=str(folder),
        threads=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        autoinstall_known_extensions=False,
    )
    with suppress(duckdb.InvalidInputException):  # in a notebook without ipywidgets there is no bar to switch off
        con.raw_sql("SET enable_progress_bar = false")  # it goes to the standard output, and into pipes
    try:
        yield con
    except duckdb.OutOfMemoryException as error:
        raise _no_room(limit, free, folder) from error
    finally:
        con.disconnect()


def stored(con: Backend, kind: str, rows: ir.Table) -> ir.Table:
    """Rows as a table of ``con``, by a new name of some kind: ibis' ``create_table`` in less than half its 20 ms."""
    name = gen_name(kind)
    if con.name != "duckdb":
        return con.create_table(name, rows)
    con.raw_sql(f'CREATE TABLE "{name}" AS {con.compile(rows)}')
    return con.table(name)


def carried(raw: ir.Table) -> dict[str, ir.Value]:
    """What a selection of a file's columns must keep for `numbered`: nothing where an engine keeps rows in order."""
    return {PLACE: raw[PLACE]} if PLACE in raw.columns else {}


def numbered(con: Backend, kind: str, rows: ir.Table, name: str = "row") -> ir.Table:
    """`stored`, with the place of each row among the file's or, in ordered rows, among them, from 0."""
    if PLACE in rows.columns:
        return stored(con, kind, rows.rename({name: PLACE}))
    if con.name != "duckdb":
        return con.numbered(rows, name)
    made = stored(con, kind, rows)
    return made.mutate(**{name: made.rowid()})


def dropped(con: Backend, *names: str) -> None:
    """Remove tables that are no longer needed, to make room; a cluster keeps them until the end."""
    for name in names if con.name == "duckdb" else ():
        con.raw_sql(f'DROP TABLE "{name}"')  # what ibis writes for it, DuckDB 2 refuses


def _no_room(limit: int, free: Free, folder: Path) -> ConfigError:
    return ConfigError(
        f"a query needs more than {readable(limit)} of memory, though it may spill to {folder}; {readable(free.size)} "
        f"were free ({free.source}): free some, or give the command a smaller file"
    )


class SqlText(str):
    """A path, or other text, for ibis' ``to_parquet``, which writes its ``repr`` into SQL: quoted as SQL does it."""

    __slots__ = ()

    def __str__(self) -> str:
        return self

    def __repr__(self) -> str:
        return "'" + self.replace("'", "''") + "'"
