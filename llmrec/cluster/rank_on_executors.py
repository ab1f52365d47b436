"""``llmrec rank --engine spark --load``: a saved ranker, and sessions that never pass through this process."""

from __future__ import annotations

import json
import time
from pathlib import Path, PurePosixPath
from typing import Any, Final

from llmrec.cluster.on_executor import Work
from llmrec.console import notice, progress_bar
from llmrec.data.spark.session import spark_session
from llmrec.data.spark.storage import explained, needed_uri, put_text, put_whole, ship
from llmrec.errors import ConfigError, DataError
from llmrec.evaluation.metrics import MAX_RANKED
from llmrec.evaluation.provenance import collect_provenance
from llmrec.evaluation.runs import PREDICTION, run_record, sidecar_of
from llmrec.files import uri_of
from llmrec.hub.pull import local_folder
from llmrec.rankers.settings import RankJob, check_k
from llmrec.records import record_text

__all__ = ["rank_on_executors"]

_PART: Final = 20_000  # sessions of a partition: a task of seconds, whose loss costs no more
_WITHOUT: Final = (  # settings that would change the saved ranker, or need all sessions here
    *("pretrain", "per_locale", "recipe", "settings", "transductive", "products", "save", "checkpoints", "resume"),
    *("log_to", "limit", "seed"),
)


def rank_on_executors(job: RankJob) -> None:
    """Rank sessions at a URI on a cluster's executors, and write the run at another; both are folders or files.

    The run is a folder of Parquet parts: in the order of their names they are in the order of the sessions, which is
    that of their files' names and rows. Nothing of either passes through this process.

    Raises:
        ConfigError: the settings do not fit together, or the cluster lacks something.
        DataError: sessions are missing or malformed.
        MissingExtraError: pyspark is not installed.
    """
    started = time.monotonic()
    model = _checked(job)
    source, target = needed_uri(job.sessions, "--sessions"), needed_uri(job.out, "--out")
    if target.endswith(".json"):
        raise ConfigError(f"{target}: a run is Parquet and .json is its sidecar; name it .parquet")
    with spark_session(job.master) as session, progress_bar() as bar:
        bar.add_task("rank", total=None, note=f"{source} on {session.sparkContext.master}")
        work = Work(ship(session, model), job.ranker, job.k, job.seen)
        told = _told(session, work)
        with explained(source):
            rows, parts = _sessions(session, source)
        with put_whole(session, target) as folder:
            ranked = rows.mapInArrow(work.ranked, f"locale string, {PREDICTION} array<string>")
            ranked.write.option("compression", "zstd").parquet(folder)
            number = session.read.parquet(folder).count()
        record = told | collect_provenance(None, told["settings"].get("seed"), None, started)
        record |= {"sessions": source, "cluster": _cluster(session, parts)}
        put_text(session, _sidecar(target), record_text(run_record("ranking", number, None, False, record)))
    here = target.removeprefix("file://") if target.startswith("file:") else "RUN"
    notice(f"{number:,} lists in {target}; score them: llmrec evaluate {here} --targets FILE")


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


def _told(session: Any, work: Work) -> dict[str, Any]:
    """What the ranker says of itself on an executor: also whether one can load it, before all of them try."""
    with explained("--load"):
        (row,) = session.range(1).coalesce(1).mapInArrow(work.told, "told string").collect()
    found: dict[str, Any] = json.loads(row.told)
    return found


def _sessions(session: Any, source: str) -> tuple[Any, int]:
    """Sessions with the file and row that each was, in that order over the partitions; and how many partitions."""
    found = session.read.parquet(source)
    kinds = dict(found.dtypes)
    for name, kind in (("prev_items", "array<string>"), ("locale", "string")):
        if kinds.get(name) != kind:
            held = f"column '{name}' is {kinds[name]}" if name in kinds else f"no column '{name}'"
            raise DataError(f"{source}: {held}; sessions have 'prev_items' ({kind} of ids) and 'locale', as Parquet")
    parts = max(session.sparkContext.defaultParallelism, -(-found.count() // _PART))
    keyed = found.selectExpr("prev_items", "locale", "_metadata.file_path AS file", "_metadata.row_index AS row")
    return keyed.repartitionByRange(parts, "file", "row").sortWithinPartitions("file", "row"), parts


def _cluster(session: Any, parts: int) -> dict[str, Any]:
    context = session.sparkContext
    return {"spark": session.version, "master": context.master, "cores": context.defaultParallelism, "parts": parts}


def _sidecar(target: str) -> str:
    head, _, name = target.rpartition("/")
    return f"{head}/{sidecar_of(Path(PurePosixPath(name)))}"
