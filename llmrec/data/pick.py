"""The sessions of some locales of a file, as a file of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llmrec.data.connection import SqlText, connected
from llmrec.data.sessions import read_sessions_file
from llmrec.errors import ConfigError, DataError
from llmrec.output import atomic_file

__all__ = ["pick_locales"]


def pick_locales(file: Path, out: Path, locales: Sequence[str]) -> int:
    """Write the sessions of some locales, with their targets where the file has them, in the file's order.

    Task 1 is of UK, DE and JP, Task 2 of ES, FR and IT (paper §2.2); a store's training sessions are of all six.

    Args:
        file: Sessions, CSV or Parquet.
        out: Parquet file to write.
        locales: Locales to keep.

    Returns:
        Number of sessions written.

    Raises:
        ConfigError: no locale is named.
        DataError: the file is malformed, or has no session of one of the locales.
        DiskError: ``out`` cannot be written.
    """
    if not locales:
        raise ConfigError("no locale to pick; give --locale, for instance --locale ES")
    with connected() as con:
        sessions = read_sessions_file(con, file)
        found = set(sessions.locale.topk(1000).execute()["locale"])
        for name in locales:
            if name not in found:
                raise DataError(f"{file.name}: no session of locale '{name}'; it has {', '.join(sorted(found))}")
        picked = sessions.filter(sessions.locale.isin(list(locales))).order_by("session_id")
        with atomic_file(out) as temporary:
            con.to_parquet(picked, SqlText(temporary), compression="zstd")
        return int(picked.count().execute())
