"""Which items the training files hold, and how often: a target that they lack is cold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from llmrec.data.connection import connected
from llmrec.data.sessions import read_sessions_file

__all__ = ["counts_of_items", "items_of_sessions"]


def items_of_sessions(files: Sequence[Path]) -> Any:
    """Distinct items of sessions files, labelled or bare, ``next_item`` included, as Arrow strings.

    Raises:
        DataError: a file is missing or malformed.
    """
    return counts_of_items(files)[0]


def counts_of_items(files: Sequence[Path]) -> tuple[Any, Any]:
    """Distinct items of sessions files, as `items_of_sessions`, and how often each stands there, shape ``(N,)``.

    Raises:
        DataError: a file is missing or malformed.
    """
    found = []
    with connected() as con:
        for file in files:
            sessions = read_sessions_file(con, file)
            names = [name for name in ("prev_items", "next_item") if name in sessions.columns]
            columns = con.to_pyarrow(sessions.select(*names))
            found.append(pc.list_flatten(columns["prev_items"].cast(pa.list_(pa.string()))))
            if "next_item" in names:
                found.append(columns["next_item"].cast(pa.string()))
    items = pa.chunked_array([chunk for column in found for chunk in column.chunks], pa.string())
    counted = pc.value_counts(pc.drop_null(items))
    return counted.field("values"), counted.field("counts").to_numpy()
