"""A run written by executors: a folder of Parquet parts, its sidecar beside it, and what executors tell for that."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from llmrec.cluster.sessions_known import MOST_KNOWN, fingerprint_at
from llmrec.console import notice
from llmrec.data.spark.storage import explained, put_text, put_whole
from llmrec.errors import ConfigError
from llmrec.evaluation.runs import PREDICTION, Kind, run_record, sidecar_of
from llmrec.records import record_text

__all__ = ["check_run", "cluster_of", "told_by", "write_run_parts"]

_TYPES: Final[Mapping[Kind, str]] = {"ranking": "array<string>", "titles": "string"}


def told_by(session: Any, told: Callable[..., Any], what: str) -> dict[str, Any]:
    """What a work says of itself on an executor: also whether one can load it, before all of them try.

    Args:
        session: Spark's.
        told: Gives a batch with one JSON text ``told``, of any batches.
        what: What errors call it.
    """
    with explained(what):
        (row,) = session.range(1).coalesce(1).mapInArrow(told, "told string").collect()
    found: dict[str, Any] = json.loads(row.told)
    return found


def check_run(target: str) -> None:
    """Refuse a run that is called what its sidecar is.

    Raises:
        ConfigError: it ends in ``.json``.
    """
    if target.endswith(".json"):
        raise ConfigError(f"{target}: a run is Parquet and .json is its sidecar; name it .parquet")


def write_run_parts(session: Any, target: str, kind: Kind, rows: Any, made: Any, record: Mapping[str, Any]) -> int:
    """Write a run as a folder of Parquet parts with its sidecar beside it, and say what to do next.

    Args:
        session: Spark's.
        target: URI of the run; what is there stays until the new one is complete.
        kind: ``ranking`` or ``titles``.
        rows: Its sessions, from `llmrec.cluster.ordered_rows.ordered_rows`.
        made: Function of a frame's ``mapInArrow``, as ``made(schema)``, which gives ``locale`` and predictions.
        record: What the sidecar tells of its making.

    Returns:
        Number of its rows.
    """
    with put_whole(session, target) as folder:
        made(f"locale string, {PREDICTION} {_TYPES[kind]}").write.option("compression", "zstd").parquet(folder)
        number = int(session.read.parquet(folder).count())
        known = {"sessions_fingerprint": fingerprint_at(rows)} if number <= MOST_KNOWN else {}
    if not known:
        notice(
            f"{number:,} sessions, more than {MOST_KNOWN:,}: the run does not say which ones; evaluate cannot check it"
        )
    head, _, name = target.rpartition("/")
    sidecar = f"{head}/{sidecar_of(Path(PurePosixPath(name)))}"
    put_text(session, sidecar, record_text(run_record(kind, number, None, False, {**record, **known})))
    here = target.removeprefix("file://") if target.startswith("file:") else "RUN"
    what = "lists" if kind == "ranking" else "titles"
    notice(f"{number:,} {what} in {target}; score them: llmrec evaluate {here} --targets FILE")
    return number


def cluster_of(session: Any, parts: int) -> dict[str, Any]:
    """What a record tells of the cluster."""
    context = session.sparkContext
    return {"spark": session.version, "master": context.master, "cores": context.defaultParallelism, "parts": parts}
