"""Where data is computed: DuckDB in this process, or Spark, whose tables are opened and closed here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from llmrec.data.spark.session import spark_session
from llmrec.data.spark.storage import put_whole, scratch_of
from llmrec.errors import ConfigError
from llmrec.files import uri_of

__all__ = ["Engine", "check_places", "opened_on_cluster", "spread_tables"]

Engine = Literal["duckdb", "spark"]


def check_places(engine: Engine | None, places: Mapping[str, Sequence[Path | None]]) -> None:
    """Refuse URIs without Spark, and Spark with places that its nodes cannot reach; by the flag of each.

    Raises:
        ConfigError: one is of the wrong kind.
    """
    for flag, path in ((flag, path) for flag, paths in places.items() for path in paths if path is not None):
        if engine == "spark" and uri_of(path) is None:
            raise ConfigError(
                f"--engine spark runs on a cluster, so {flag} names what all its nodes reach; got {path}: give a URI, "
                f"for instance s3a://BUCKET/{path.name} or file:///shared/{path.name}"
            )
        if engine != "spark" and uri_of(path) is not None:
            raise ConfigError(f"{flag} {path}: a URI is read and written by Spark; add --engine spark")


@contextmanager
def opened_on_cluster(uri: str, master: str | None, what: str, names: str) -> Iterator[tuple[Any, str]]:
    """Give a cluster's tables, and the URI of a folder that takes the place of ``uri`` when the block ends.

    Args:
        uri: Of the output.
        master: As `llmrec.data.spark.session.spark_session`.
        what: What may be there already, and is replaced.
        names: Pattern of the names in such a thing.

    Returns:
        An `llmrec.data.spark.spark_tables.SparkTables`, and the folder.

    Raises:
        ConfigError: the cluster lacks something.
        DataError: something else is at ``uri``.
        MissingExtraError: pyspark is not installed.
    """
    with (
        spark_session(master) as session,
        put_whole(session, uri, what, lambda held: all(re.fullmatch(names, one) for one in held)) as folder,
        scratch_of(session, uri) as scratch,
    ):
        yield _tables(session, scratch), folder


@contextmanager
def spread_tables(master: str | None) -> Iterator[Any]:
    """Give a cluster's tables for what is read and counted there and not written; errors as `opened_on_cluster`."""
    with spark_session(master) as session:
        con = _tables(session, None)
        try:
            yield con
        finally:
            con.close()


def _tables(session: Any, scratch: str | None) -> Any:
    from llmrec.data.spark.spark_tables import SparkTables

    return SparkTables().open(session, scratch)
