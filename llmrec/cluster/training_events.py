"""Training sessions at URIs as what counting reads: events with codes, beside the items that the codes stand for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import ibis
import ibis.expr.types as ir
import pyarrow as pa

import llmrec
from llmrec.cluster.on_executor import same_version, sessions_of_batch
from llmrec.cluster.ordered_rows import SESSIONS, refuse_other_columns
from llmrec.console import stderr
from llmrec.data.lists import stripped_array
from llmrec.data.spark.storage import explained
from llmrec.errors import DataError

__all__ = ["TrainingEvents", "cleaned_sequences", "numbered", "sessions_at", "training_events"]

_SEQUENCES: Final = "session bigint, locale string, items array<string>, labelled boolean"
_MOST: Final = (1 << 31) - 1  # a ranker's arrays of codes are of 32 bits


@dataclass(frozen=True)
class TrainingEvents:
    """Events of training sessions, as `llmrec.rankers.counting.counts.events_of` has them, on a cluster's storage.

    Attributes:
        session: Of Spark.
        folder: URI of a folder for what is read again while the work lasts.
        sessions: Their number; they are numbered from 0 in the order of their files' names and rows.
        items: Their number; an item's code is its place among the ids in ascending order.
        locales: Ascending.
        views: Names under which Spark knows what is there, until `forget`.
    """

    session: Any
    folder: str
    sessions: int
    items: int
    locales: tuple[str, ...]
    views: list[str] = field(default_factory=list)

    def keep(self, name: str, frame: Any) -> ir.Table:
        """Write a data frame, so that nothing computes it twice; give it for an expression."""
        frame.write.parquet(f"{self.folder}/{name}")
        return self.table(name)

    def table(self, name: str) -> ir.Table:
        """What `keep` wrote; ``events``: ``session``, ``position``, ``item``, ``length``, ``labelled``, ``locale``."""
        view = f"llmrec_{name}_{abs(hash(self.folder)):x}"
        if view not in self.views:
            self.session.read.parquet(f"{self.folder}/{name}").createOrReplaceTempView(view)
            self.views.append(view)
        return ibis.pyspark.connect(self.session).table(view)

    def forget(self) -> None:
        """Take the names back that Spark was given."""
        for view in self.views:
            self.session.catalog.dropTempView(view)

    def run(self, expression: ir.Table) -> Any:
        """An expression as a data frame of Spark."""
        return self.session.sql(ibis.pyspark.connect(self.session).compile(expression))

    @property
    def vocabulary(self) -> Any:
        """``id`` and ``item``, its code, as a data frame."""
        return _vocabulary(self.session, self.folder)


def training_events(session: Any, uris: Sequence[str], folder: str) -> TrainingEvents:
    """Read sessions of Parquet files at some URIs, check them as everywhere, and give items codes.

    Args:
        session: Of Spark.
        uris: A file or a folder of files each, in the order in which their sessions follow each other.
        folder: URI of a folder for what is read again.

    Raises:
        ConfigError: the cluster lacks something.
        DataError: sessions are missing or malformed, or hold no item.
    """
    where, found = ", ".join(uris), sessions_at(session, uris)
    number = found.count()
    names, _ = stripped_array(
        pa.array([row.locale for row in found.select("locale").distinct().collect()], pa.string())
    )
    events = cleaned_sequences(found).selectExpr(
        "session", "locale", "labelled", "size(items) AS length", "posexplode(items) AS (position, id)"
    )
    events.select("id").distinct().orderBy("id").write.parquet(f"{folder}/vocabulary")
    vocabulary = _vocabulary(session, folder)
    if not (items := vocabulary.count()):
        raise DataError(f"{where}: no session to learn from; give sessions that hold items to --train")
    if max(items, number) > _MOST:
        raise DataError(f"{where}: {number:,} sessions of {items:,} items; a ranker holds at most {_MOST:,} of each")
    events.join(vocabulary, "id").drop("id").write.parquet(f"{folder}/events")
    return TrainingEvents(session, folder, number, items, tuple(sorted(set(names.drop_null().to_pylist()))))


def sessions_at(session: Any, uris: Sequence[str]) -> Any:
    """Sessions of Parquet files: ``prev_items``, ``next_item``, ``locale``, ``file``, ``row`` and ``session``, their
    number from 0 in the order of the URIs, of their files' names, and of their rows.

    Raises:
        ConfigError: the cluster lacks something.
        DataError: they are missing, or have other columns.
    """
    parts = []
    for uri in uris:
        with explained(uri):
            part = session.read.option("mergeSchema", True).parquet(uri)  # else one file decides of labels
        labelled = "next_item" in part.columns
        refuse_other_columns(part, uri, {**SESSIONS, "next_item": "string"} if labelled else SESSIONS)
        label = "next_item" if labelled else "CAST(NULL AS STRING) AS next_item"
        parts.append(part.selectExpr("prev_items", label, "locale", "_metadata"))
    return numbered(session, parts, "session")


def numbered(session: Any, parts: Sequence[Any], name: str) -> Any:
    """Rows of data frames that hold ``_metadata``, with ``file`` and ``row`` instead, and a number from 0 in the order
    of the data frames, their files' names, and their rows.
    """
    placed = [
        part.selectExpr("*", f"{place} AS part", "_metadata.file_path AS file", "_metadata.row_index AS row").drop(
            "_metadata"
        )
        for place, part in enumerate(parts)
    ]
    together = placed[0]
    for other in placed[1:]:
        together = together.unionByName(other)
    counts = sorted(tuple(row) for row in together.groupBy("part", "file").count().collect())
    firsts, start = [], 0
    for part, file, count in counts:
        firsts.append((part, file, start))
        start += count
    starts = session.createDataFrame(firsts, "part int, file string, start bigint").hint("broadcast")
    return together.join(starts, ["part", "file"]).selectExpr("*", f"start + row AS {name}").drop("part", "start")


def cleaned_sequences(sessions: Any) -> Any:
    """What `sessions_at` gave, checked and without blanks around ids, ``next_item`` last in ``items``: ``session``,
    ``locale``, ``items``, ``labelled``.
    """
    version = llmrec.__version__

    def cleaned(batches: Iterator[Any]) -> Iterator[Any]:
        same_version(version)
        return map(_cleaned, batches)

    return sessions.mapInArrow(cleaned, _SEQUENCES)


def _vocabulary(session: Any, folder: str) -> Any:
    ids = session.read.parquet(f"{folder}/vocabulary").selectExpr("id", "_metadata")
    return numbered(session, [ids], "code").selectExpr("id", "CAST(code AS INT) AS item")


def _cleaned(batch: Any) -> Any:
    """`cleaned_sequences` on an executor."""
    stderr.quiet = True
    table = pa.Table.from_batches([batch])
    training = sessions_of_batch(table, ("prev_items", "locale", "next_item")).training()
    numbers = table["session"].combine_chunks()
    columns = [numbers, training.locales, training.sequences, pa.array(training.labelled)]
    return pa.RecordBatch.from_arrays(columns, names=["session", "locale", "items", "labelled"])
