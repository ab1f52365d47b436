"""What runs on an executor: a ranker that is there, and the sessions of a partition."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pyarrow as pa

import llmrec
from llmrec.console import stderr
from llmrec.data.spark.storage import shared_folder
from llmrec.errors import ConfigError, DataError
from llmrec.evaluation.runs import PREDICTION
from llmrec.rankers.fitting import AnyRanker
from llmrec.rankers.rank import saved_ranker
from llmrec.rankers.session_data import sessions
from llmrec.rankers.sessions import Sessions
from llmrec.rankers.settings import Seen

__all__ = ["Work", "said", "same_version", "sessions_of_batch"]


@dataclass(frozen=True)
class Work:
    """What an executor is told; it travels with the work.

    Attributes:
        shipped: Where the ranker is, from `llmrec.data.spark.storage.ship`.
        ranker: What it is to be.
        k: Most items of a list.
        seen: Whether a session's own items stay in its list; None: as the ranker was fitted.
        version: The driver's version of this package.
    """

    shipped: str
    ranker: str
    k: int
    seen: Seen | None
    version: str = llmrec.__version__

    def told(self, batches: Iterator[Any]) -> Iterator[Any]:
        """What a run says of the ranker, as JSON: one row, from the first executor that looks."""
        for _ in batches:
            told = dict(_loaded(self).rank(Sessions.of([], []), self.k, self.seen).provenance)
            del told["sessions_fingerprint"]  # of none
            yield said(told)

    def ranked(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Ranked lists of batches with ``prev_items``, ``locale``, ``file`` and ``row``, in their order.

        Raises:
            DataError: a session is malformed; names file and row.
        """
        ranker = _loaded(self)
        for batch in batches:
            table = pa.Table.from_batches([batch])
            lists = ranker.rank(sessions_of_batch(table), self.k, self.seen)
            yield pa.RecordBatch.from_arrays([lists.locales, lists.ids], names=["locale", PREDICTION])


def sessions_of_batch(table: Any, columns: Sequence[str] = ("prev_items", "locale")) -> Sessions:
    """Sessions of some columns of a table that holds ``file`` and ``row`` beside them.

    Raises:
        DataError: a session is malformed; names file and row.
    """
    wanted = list(columns)
    try:
        return sessions(table.select(wanted), argument="sessions")
    except DataError:
        for place in range(len(table)):  # which of them: the batch's rows are not the file's
            row = table.slice(place, 1)
            where = f"{row['file'][0].as_py()}, row {row['row'][0].as_py() + 1}"
            try:
                sessions(row.select(wanted), argument="sessions")
            except DataError as error:
                raise DataError(f"{where}: {str(error).removeprefix('sessions, row 1: ')}") from error
        raise


def said(what: Mapping[str, Any]) -> Any:
    """What `llmrec.cluster.parts_run.told_by` hears: a batch of one JSON text."""
    return pa.RecordBatch.from_arrays([pa.array([json.dumps(what)])], names=["told"])


def same_version(version: str) -> None:
    """Refuse to work for a driver of another version.

    Raises:
        ConfigError: names both.
    """
    if version != llmrec.__version__:
        raise ConfigError(f"the executors have llmrec {llmrec.__version__}, the driver {version}; ship the same")


def _loaded(work: Work) -> AnyRanker:
    same_version(work.version)
    return _read(work.shipped, work.ranker)


@cache
def _read(shipped: str, name: str) -> AnyRanker:
    """The ranker, once for a worker process, however many partitions it ranks."""
    stderr.quiet = True
    return saved_ranker(shared_folder(shipped), name)
