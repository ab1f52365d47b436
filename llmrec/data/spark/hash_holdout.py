"""A share of sessions at a URI held out by their hash: as `llmrec.data.holdout`, with nothing of them in the driver."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import ibis
import ibis.expr.types as ir

from llmrec.data.sessions import read_sessions_file
from llmrec.data.spark.open_cluster import opened_on_cluster
from llmrec.data.splits import in_validation, validation_limits
from llmrec.errors import DataError
from llmrec.files import uri_of

__all__ = ["drawn_parts", "hold_out_on_cluster"]

_MIN_ITEMS: Final = 3  # of a bare session whose last item is held out
_NAMES: Final = r"(?:train|sessions|targets)\.parquet"


def hold_out_on_cluster(
    file: Path, out: Path, *, share: float, seed: int, locales: Sequence[str] | None, master: str | None
) -> dict[str, int]:
    """Write ``train.parquet``, ``sessions.parquet`` and ``targets.parquet``, each a folder of parts, below a URI.

    Args:
        file: URI of sessions.
        out: URI of the folder.
        share: Share of each locale's sessions with a target.
        seed: Another one draws others.
        locales: Only sessions of these; all if not given.
        master: Of Spark.

    Returns:
        Rows by name.

    Raises:
        ConfigError: the cluster lacks something.
        DataError: sessions are malformed, of no such locale, or none of them can be held out.
    """
    with opened_on_cluster(uri_of(out) or "", master, "a holdout", _NAMES) as (con, folder):
        parts = drawn_parts(con, _chosen(con, file, locales), share, seed)
        rows = {}
        for name, table in parts.items():
            con.write(table, f"{folder}/{name}.parquet")
            rows[name] = con.to_pyarrow(con.read(f"{folder}/{name}.parquet").count()).as_py()
        if not all(rows.values()):
            raise DataError(
                f"{file.name}: no session with a target to hold out; give more sessions or a larger --share"
            )
        return rows


def drawn_parts(con: Any, sessions: ir.Table, share: float, seed: int) -> dict[str, ir.Table]:
    """Expressions of the three tables; on every engine the same rows.

    Args:
        con: An engine.
        sessions: From `llmrec.data.sessions.read_sessions_file`.
        share: Share of each locale's sessions with a target.
        seed: Another one draws others.
    """
    if "next_item" not in sessions.columns:
        sessions = sessions.mutate(next_item=ibis.null("string"))
    items, labelled = sessions.prev_items, sessions.next_item.notnull()
    length = items.length()
    rows = sessions.select(
        "session_id",
        "prev_items",
        "next_item",
        own=sessions.locale,
        locale=ibis.coalesce(sessions.locale, ""),
        labelled=labelled,
        usable=(labelled & (length > 0)) | (length >= _MIN_ITEMS),
    )
    limits = validation_limits(con, rows.filter(rows.usable), seed=seed, share=share)
    chosen = rows.usable & in_validation(rows, limits, seed=seed)
    learnt, held = (rows.filter(some).order_by("session_id") for some in (~chosen, chosen))
    whole = held.prev_items
    prefixes = ibis.cases((held.labelled, whole), else_=whole[:-1])
    targets = ibis.cases((held.labelled, held.next_item), else_=whole[whole.length() - 1])
    return {
        "train": learnt.select("prev_items", "next_item", locale=learnt.own),
        "sessions": held.select(prev_items=prefixes, locale=held.own),
        "targets": held.select(next_item=targets, locale=held.own),
    }


def _chosen(con: Any, file: Path, locales: Sequence[str] | None) -> ir.Table:
    sessions = read_sessions_file(con, file)
    if not locales:
        return sessions
    found = con.to_pyarrow(sessions.select("locale").distinct()).column("locale").to_pylist()
    for name in locales:
        if name not in found:
            known = ", ".join(sorted(one for one in found if one))
            raise DataError(f"{file.name}: no session of locale '{name}'; it has {known}")
    return sessions.filter(sessions.locale.isin(list(locales)))
