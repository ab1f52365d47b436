"""Part of a sessions file held out: what to learn from, what to rank for, and the targets, as three files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from llmrec.data.sessions import connect, read_sessions_file
from llmrec.errors import ConfigError, DataError
from llmrec.files import atomic_folder

__all__ = ["Holdout", "hold_out"]

FILES: Final = ("train.parquet", "sessions.parquet", "targets.parquet")
_MIN_ITEMS: Final = 3  # of a bare session whose last item is held out: two stay, as in the released test files


@dataclass(frozen=True)
class Holdout:
    """The three files, and how many sessions are in them.

    Attributes:
        train: Sessions to learn from: ``prev_items``, ``next_item`` (null where the source had none), ``locale``.
        sessions: The held-out sessions: ``prev_items``, ``locale``.
        targets: Their targets: ``next_item``, ``locale``.
        num_train: Sessions in ``train``.
        num_held_out: Sessions in the other two.
    """

    train: Path
    sessions: Path
    targets: Path
    num_train: int
    num_held_out: int


def hold_out(
    file: Path, out: Path, *, share: float = 0.1, seed: int = 0, locales: Sequence[str] | None = None
) -> Holdout:
    """Draw a share of each locale's sessions and part them from their targets.

    A labelled session's target is its ``next_item``. A session without one gives its last item, if it has three or
    more: the stand-in for Task 1, whose labelled sessions are not in the public repository.

    Args:
        file: Sessions, labelled or bare, CSV or Parquet.
        out: Folder for ``train.parquet``, ``sessions.parquet`` and ``targets.parquet``.
        share: Share of the sessions to hold out, between 0 and 1.
        seed: Draws them.
        locales: Only sessions of these; all if not given.

    Raises:
        ConfigError: ``share`` is not between 0 and 1, ``seed`` is negative, or ``out`` holds something else.
        DataError: the file is malformed, or no session can be held out.
    """
    if not 0 < share < 1:
        raise ConfigError(f"--share must lie between 0 and 1; got {share:g}")
    if seed < 0:
        raise ConfigError(f"--seed must be at least 0; got {seed}")
    if out.exists() and not (out.is_dir() and {path.name for path in out.iterdir()} <= set(FILES)):
        raise ConfigError(f"{out}: exists and holds something else; choose another folder")
    table = _read(file, locales)
    held = _draw(table, share, seed)
    if not len(held):
        raise DataError(f"{file.name}: no session with a target to hold out; give more sessions or a larger --share")
    kept = np.setdiff1d(np.arange(len(table)), held)
    prefixes, targets = _parted(table.take(pa.array(held)))
    with atomic_folder(out) as folder:
        pq.write_table(table.take(pa.array(kept)), folder / FILES[0], compression="zstd")
        pq.write_table(prefixes, folder / FILES[1], compression="zstd")
        pq.write_table(targets, folder / FILES[2], compression="zstd")
    train, sessions, goals = (out / name for name in FILES)
    return Holdout(train, sessions, goals, len(kept), len(held))


def _read(file: Path, locales: Sequence[str] | None) -> Any:
    con = connect()
    try:
        sessions = read_sessions_file(con, file)
        if "next_item" not in sessions.columns:
            sessions = sessions.mutate(next_item=None)
        table = con.to_pyarrow(sessions.select("prev_items", "next_item", "locale"))
    finally:
        con.disconnect()
    kinds = [("prev_items", pa.list_(pa.string())), ("next_item", pa.string()), ("locale", pa.string())]
    table = table.cast(pa.schema(kinds)).combine_chunks()
    if locales:
        found = set(table["locale"].unique().to_pylist())
        for name in locales:
            if name not in found:
                raise DataError(f"{file.name}: no session of locale '{name}'; it has {', '.join(sorted(found))}")
        table = table.filter(pc.is_in(table["locale"], pa.array(locales)))
    return table


def _draw(table: Any, share: float, seed: int) -> Any:
    """Rows to hold out, ascending: the same share of each locale's sessions that have a target."""
    lengths = pc.list_value_length(table["prev_items"]).to_numpy()
    labelled = table["next_item"].is_valid().to_numpy()
    usable = (labelled & (lengths > 0)) | (lengths >= _MIN_ITEMS)
    names = np.array(table["locale"].to_pylist(), dtype=object)
    chance = np.random.default_rng(seed)
    held = [
        chance.permutation(rows)[: round(share * len(rows))]
        for name in sorted(set(names))
        for rows in (np.flatnonzero(usable & (names == name)),)
    ]
    return np.sort(np.concatenate([np.zeros(0, dtype=np.int64), *held]))


def _parted(table: Any) -> tuple[Any, Any]:
    """Prefixes and targets of the held-out sessions."""
    rows = table.to_pylist()
    labelled = [row["next_item"] is not None for row in rows]
    prefixes = [
        row["prev_items"] if given else row["prev_items"][:-1] for row, given in zip(rows, labelled, strict=True)
    ]
    targets = [row["next_item"] if given else row["prev_items"][-1] for row, given in zip(rows, labelled, strict=True)]
    lists, goals = pa.array(prefixes, pa.list_(pa.string())), pa.array(targets, pa.string())
    return pa.table({"prev_items": lists, "locale": table["locale"]}), pa.table(
        {"next_item": goals, "locale": table["locale"]}
    )
