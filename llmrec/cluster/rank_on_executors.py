"""``llmrec rank --engine spark --load``: a saved ranker, and sessions that never pass through this process."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from llmrec.cluster.on_executor import Work
from llmrec.cluster.ordered_rows import SESSIONS, ordered_rows
from llmrec.cluster.parts_run import check_run, cluster_of, told_by, write_run_parts
from llmrec.console import progress_bar
from llmrec.data.spark.session import spark_session
from llmrec.data.spark.storage import needed_uri, ship
from llmrec.errors import ConfigError
from llmrec.evaluation.metrics import MAX_RANKED
from llmrec.evaluation.provenance import collect_provenance
from llmrec.files import uri_of
from llmrec.hub.pull import local_folder
from llmrec.rankers.settings import RankJob, check_k

__all__ = ["rank_on_executors"]

_WITHOUT: Final = (  # settings that would change the saved ranker, or need all sessions here
    *("pretrain", "per_locale", "recipe", "settings", "transductive", "products", "save", "checkpoints", "resume"),
    *("log_to", "limit", "seed"),
)


def rank_on_executors(job: RankJob, stamp: Mapping[str, Any] | None = None) -> None:
    """Rank sessions at a URI on a cluster's executors, and write the run at another; both are folders or files.

    The run is a folder of Parquet parts: in the order of their names they are in the order of the sessions, which is
    that of their files' names and rows. Nothing of either passes through this process.

    Args:
        job: What to rank, and with which ranker.
        stamp: What the run is to say besides.

    Raises:
        ConfigError: the settings do not fit together, or the cluster lacks something.
        DataError: sessions are missing or malformed.
        MissingExtraError: pyspark is not installed.
    """
    started = time.monotonic()
    model = _checked(job)
    source, target = needed_uri(job.sessions, "--sessions"), needed_uri(job.out, "--out")
    check_run(target)
    with spark_session(job.master) as session, progress_bar() as bar:
        bar.add_task("rank", total=None, note=f"{source} on {session.sparkContext.master}")
        work = Work(ship(session, model), job.ranker, job.k, job.seen)
        told = told_by(session, work.told, "--load")
        rows, parts = ordered_rows(session, source, SESSIONS)
        record = told | collect_provenance(None, told["settings"].get("seed"), None, started)
        record |= {"sessions": source, "cluster": cluster_of(session, parts), **(stamp or {})}
        write_run_parts(session, target, "ranking", rows, partial(rows.mapInArrow, work.ranked), record)


def _checked(job: RankJob) -> Path:
    """The saved ranker's place; refuses what cannot be done on executors."""
    check_k(job.k)
    if job.k > MAX_RANKED:
        raise ConfigError(f"a run holds at most {MAX_RANKED} ids a session; got --k {job.k}")
    if given := [name for name in _WITHOUT if getattr(job, name)]:
        raise ConfigError(f"--engine spark --load ranks with a saved ranker; leave --{given[0].replace('_', '-')} out")
    if job.load is None or job.sessions is None or job.out is None:
        raise ConfigError("--engine spark --load needs --sessions URI and --out URI")
    return job.load if uri_of(job.load) and not str(job.load).startswith("hf:/") else local_folder(job.load)
