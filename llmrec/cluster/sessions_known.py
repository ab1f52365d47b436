"""What the sessions of a run are known by, counted where these lie: executors read them, one puts it together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import pyarrow as pa

import llmrec
from llmrec.cluster.on_executor import same_version, sessions_of_batch
from llmrec.console import stderr
from llmrec.data.digests import session_streams, streams_fingerprint

__all__ = ["MOST_KNOWN", "fingerprint_at"]

MOST_KNOWN: Final = 100_000_000  # sessions that a run is known by: 7 GB on the disk of the node whose task reads them
_STREAMS: Final = "file string, row bigint, streams array<binary>"


def fingerprint_at(rows: Any) -> str:
    """`llmrec.data.digests.sessions_fingerprint` of sessions, with the same value as on one machine.

    It is a digest of all rows in their order, so one task reads them last: bytes of ids and lengths, made by all.

    Args:
        rows: From `llmrec.cluster.ordered_rows.ordered_rows`.

    Raises:
        DataError: a session is malformed; names file and row.
    """
    version = llmrec.__version__

    def streams(batches: Iterator[Any]) -> Iterator[Any]:
        same_version(version)
        return map(_streams, batches)

    ordered = rows.mapInArrow(streams, _STREAMS).repartition(1).sortWithinPartitions("file", "row")
    # rows of a megabyte each: as pickles they come one by one, as an Arrow batch by the ten thousand
    found = ordered.select("streams").rdd.mapPartitions(_put_together).collect()
    return str(found[0]) if found else streams_fingerprint([])


def _streams(batch: Any) -> Any:
    stderr.quiet = True
    table = pa.Table.from_batches([batch])
    read = sessions_of_batch(table)
    columns = [table["file"].slice(0, 1), table["row"].slice(0, 1)]
    pieces = pa.array([session_streams(read.prev_items, read.locales)], pa.list_(pa.binary()))
    return pa.RecordBatch.from_arrays([*(one.combine_chunks() for one in columns), pieces], ["file", "row", "streams"])


def _put_together(rows: Iterable[Any]) -> Iterator[str]:
    yield streams_fingerprint(row.streams for row in rows)
