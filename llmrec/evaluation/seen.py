"""Which items the training files hold: a target that they lack is cold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from llmrec.data.sessions import connect, read_sessions_file

__all__ = ["items_of_sessions"]


def items_of_sessions(files: Sequence[Path]) -> Any:
    """Distinct items of sessions files, labelled or bare, ``next_item`` included, as Arrow strings.

    Raises:
        DataError: a file is missing or malformed.
    """
    found = []
    con = connect()
    try:
        for file in files:
            sessions = read_sessions_file(con, file)
            names = [name for name in ("prev_items", "next_item") if name in sessions.columns]
            columns = con.to_pyarrow(sessions.select(*names))
            found.append(pc.unique(pc.list_flatten(columns["prev_items"].cast(pa.list_(pa.string())))))
            if "next_item" in names:
                found.append(pc.unique(columns["next_item"].cast(pa.string())))
    finally:
        con.disconnect()
    return pc.drop_null(pc.unique(pa.chunked_array(found, pa.string())))
