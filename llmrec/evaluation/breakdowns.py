"""Sessions in groups that the paper talks about: by locale, length, repeats, and by how well the target is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmrec.data.connection import connected
from llmrec.data.raw import read_raw
from llmrec.data.sessions import read_sessions_file
from llmrec.errors import ConfigError, DataError
from llmrec.evaluation.targets import Targets, columns_of

__all__ = ["GROUPINGS", "check_groupings", "group_sessions"]

GROUPINGS: Final = ("locale", "length", "repeats", "popularity", "novelty", "time")
_NEEDS_SESSIONS: Final = ("length", "repeats")
_NEEDS_TRAINING: Final = ("popularity", "novelty")

Rows = NDArray[np.int64]
_DAYS: Final = 31
_DAYS_OF_WEEKS: Final = 183

# upper ends, both counted in; None is open. Bounds are few and round: a group must hold sessions enough to tell.
_LENGTHS: Final = (
    (1, "1 item"),
    (2, "2 items"),
    (3, "3"),
    (4, "4"),
    (6, "5-6"),
    (10, "7-10"),
    (20, "11-20"),
    (None, "21 and more"),
)
_REPEATS: Final = ((0, "no repeat"), (1, "1 visit again"), (2, "2"), (None, "3 and more"))
_POPULARITY: Final = (
    (0, "never in training"),
    (1, "once"),
    (5, "2-5 times"),
    (20, "6-20"),
    (100, "21-100"),
    (None, "101 and more"),
)


def check_groupings(by: Sequence[str], has_training: bool) -> None:
    """Refuse groupings that are not known or lack their data.

    Raises:
        ConfigError: an unknown name, or one that needs training files.
    """
    for name in by:
        if name not in GROUPINGS:
            raise ConfigError(f"--by must be one of {', '.join(GROUPINGS)}; got '{name}'")
        if name in _NEEDS_TRAINING and not has_training:
            raise ConfigError(f"--by {name} counts targets in what the run learnt from; add --train FILE")


def group_sessions(
    by: Sequence[str],
    targets: Targets,
    num_rows: int,
    locales: Sequence[str],
    sessions: Path | None = None,
    train: Sequence[Path] = (),
) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """Sort sessions into groups.

    * ``locale``: its name.
    * ``length``: items of ``prev_items`` (paper §3, Session length).
    * ``repeats``: visits of an item that the session holds already: length less different items (§3, Repeat pattern).
    * ``popularity``: times that training sessions hold the target (§3, Long tail).
    * ``novelty``: ``warm`` where training holds the target, ``cold`` where not (App. B.4).
    * ``time``: day, week or month of the session, by how long the split lasts; where its file has a column ``time``.

    Args:
        by: Names of `GROUPINGS`.
        targets: Targets of the split.
        num_rows: Sessions of the run, ``S``: the first of the split.
        locales: ``S`` locales.
        sessions: Where ``prev_items`` are read; the targets file itself, or the store's sessions beside it, if not
            given.
        train: Files that the run's model learnt from.

    Returns:
        Grouping to its groups in order, each a mask of shape ``(S,)``; groups without a session are left out.

    Raises:
        ConfigError: as `check_groupings`, or no file holds the sessions.
        DataError: a file cannot be read, holds another number of sessions, or targets are no ids.
    """
    check_groupings(by, bool(train))
    found: dict[str, dict[str, NDArray[np.bool_]]] = {}
    shapes = _shapes(targets, num_rows, sessions) if {*by} & {*_NEEDS_SESSIONS} else {}
    counts = _target_counts(targets, num_rows, train) if {*by} & {*_NEEDS_TRAINING} else np.zeros(0, dtype=np.int64)
    for name in by:
        if name == "locale":
            names = np.asarray(locales)
            masks = {str(one): names == one for one in dict.fromkeys(locales)}
        elif name == "time":
            masks = _periods(targets, num_rows, sessions)
        elif name == "novelty":
            masks = {"warm": counts > 0, "cold": counts == 0}
        elif name == "popularity":
            masks = _buckets(counts, _POPULARITY)
        else:
            masks = _buckets(shapes[name], _LENGTHS if name == "length" else _REPEATS)
        found[name] = {group: mask for group, mask in masks.items() if mask.any()}
    return found


def _periods(targets: Targets, num_rows: int, sessions: Path | None) -> dict[str, NDArray[np.bool_]]:
    """Sessions of each day of up to a month, of each week of up to half a year, else of each month."""
    file = sessions or _sessions_beside(targets.path)
    if "time" not in columns_of(file):
        raise ConfigError(f"{file}: holds no column 'time' to sort sessions by; `llmrec data events` writes one")
    with connected() as con:
        time: Any = read_raw(con, file, ()).time
        if time.type().is_numeric():
            time = time.cast("int64").as_timestamp("s")
        read = con.to_pyarrow(time.try_cast("timestamp").cast("timestamp(6)").name("time").as_table())["time"]
    if len(read) != targets.num_rows:
        raise DataError(f"{file}: {len(read)} sessions for the {targets.num_rows} targets of {targets.path.name}")
    times = read.slice(0, num_rows).to_numpy().astype("datetime64[D]")
    known = times[~np.isnat(times)]
    days = int((known.max() - known.min()).astype(np.int64)) if len(known) else 0
    if days < _DAYS:
        names = times.astype(str)
    elif days < _DAYS_OF_WEEKS:  # 1970 began on a Thursday
        mondays = times - (times.astype(np.int64) + 3) % 7 * np.timedelta64(1, "D")
        names = np.char.add("week of ", mondays.astype(str))
    else:
        names = times.astype("datetime64[M]").astype(str)
    names = np.where(np.isnat(times), "no time", names)
    return {str(name): names == name for name in np.unique(names)}


def _buckets(values: Rows, bounds: Sequence[tuple[int | None, str]]) -> dict[str, NDArray[np.bool_]]:
    masks, below = {}, -1
    for end, name in bounds:
        masks[name] = (values > below) & (values <= end) if end is not None else values > below
        below = end if end is not None else below
    return masks


def _shapes(targets: Targets, num_rows: int, sessions: Path | None) -> dict[str, Rows]:
    """Length and repeated visits of each session, shape ``(S,)``."""
    file = sessions or _sessions_beside(targets.path)
    with connected() as con:
        table = read_sessions_file(con, file)
        lengths = table.prev_items.length()
        columns = con.to_pyarrow(table.select(length=lengths, repeats=lengths - table.prev_items.unique().length()))
    if len(columns) != targets.num_rows:
        raise DataError(f"{file}: {len(columns)} sessions for the {targets.num_rows} targets of {targets.path.name}")
    return {name: columns[name].to_numpy().astype(np.int64)[:num_rows] for name in ("length", "repeats")}


def _sessions_beside(path: Path) -> Path:
    """The targets file where it holds the sessions, else ``sessions…`` beside ``targets…``."""
    if "prev_items" in columns_of(path):
        return path
    beside = path.with_name(path.name.replace("targets", "sessions", 1))
    if beside != path and beside.exists():
        return beside
    raise ConfigError(f"{path}: holds no prev_items to sort sessions by; add --sessions FILE")


def _target_counts(targets: Targets, num_rows: int, train: Sequence[Path]) -> Rows:
    if targets.items is None:
        raise DataError(f"{targets.path}: no column 'next_item', which is counted in the training files")
    items, counts = _counts_of_items(train)
    places = pc.index_in(targets.items.slice(0, num_rows), value_set=items)
    found: Any = pc.fill_null(pa.array(counts).take(places.combine_chunks()), 0)
    kept: Rows = found.to_numpy(zero_copy_only=False).astype(np.int64)
    return kept


def _counts_of_items(files: Sequence[Path]) -> tuple[Any, Any]:
    """Distinct items of sessions files, labelled or bare, ``next_item`` included, and how often each is in them."""
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
