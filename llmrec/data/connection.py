"""DuckDB through ibis: opened in one place, closed when the block ends."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ibis
from ibis.backends.duckdb import Backend

__all__ = ["connected"]


@contextmanager
def connected(
    memory_limit_gb: float = 6, *, database: Path | None = None, spill: Path | None = None
) -> Iterator[Backend]:
    """Give a connection on as many threads as this process may use cores, and close it when the block ends.

    Args:
        memory_limit_gb: Memory that queries may hold before they spill to disk, in GiB.
        database: File to keep tables in; in memory where not given.
        spill: Folder that spilled data goes to; one under the system's temporary folder where not given.
    """
    folder = spill or Path(tempfile.gettempdir()) / f"llmrec-{os.getpid()}"
    con = ibis.duckdb.connect(
        ":memory:" if database is None else database,
        memory_limit=f"{memory_limit_gb * 1024:.0f}MiB",
        temp_directory=str(folder),
        threads=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        autoinstall_known_extensions=False,
    )
    try:
        yield con
    finally:
        con.disconnect()
