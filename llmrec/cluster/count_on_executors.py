"""``llmrec rank --engine spark --train URI --save URI``: a ranker counted where the sessions lie."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from llmrec.artefact import ARRAYS
from llmrec.cluster.counted_arrays import COUNTED, counted_parts
from llmrec.cluster.model_pieces import write_arrays
from llmrec.cluster.overlap_on_executors import overlap_at
from llmrec.cluster.rank_on_executors import rank_on_executors
from llmrec.cluster.training_events import training_events
from llmrec.console import notice, progress_bar
from llmrec.data.overlap import refuse_overlap, stamped
from llmrec.data.spark.session import spark_session
from llmrec.data.spark.storage import explained, made_folder, needed_uri, put_text, put_whole, remove
from llmrec.errors import ConfigError
from llmrec.rankers.counting.covisit import CovisitSettings, refuse_no_weight
from llmrec.rankers.ranker_record import RANKER, current_name
from llmrec.rankers.recipes import ranker_settings
from llmrec.rankers.registry import ranker_class
from llmrec.rankers.settings import RankJob
from llmrec.records import record_text

__all__ = ["count_on_executors"]

_WITHOUT: Final = (  # what would need the sessions here, or is of rankers that train
    *("load", "pretrain", "per_locale", "transductive", "products", "checkpoints", "resume", "log_to", "limit", "seed"),
)


def count_on_executors(job: RankJob) -> None:
    """Count a ranker in sessions at URIs and save it at another; then rank sessions at a URI with it, if asked for.

    What is saved is what ``--save`` writes on one machine, to the last bit of its lists, without the sessions that it
    learnt from: ``llmrec update`` cannot add to it. Nothing of the sessions passes through this process but the most
    frequent items.

    Raises:
        ConfigError: the settings do not fit together, or the cluster lacks something.
        DataError: sessions are missing or malformed.
        MissingExtraError: pyspark is not installed.
    """
    uris, target, settings = _checked(job)
    with spark_session(job.master) as session:
        stamp: dict[str, Any] = {"train": uris, "transductive": False}
        if job.sessions is not None:
            asked = needed_uri(job.sessions, "--sessions")
            with explained(", ".join((*uris, asked))):
                found = overlap_at(session, uris, asked)
            stamp |= stamped(refuse_overlap(found, [Path(uri) for uri in uris], asked, job.allow_overlap))
        with progress_bar() as bar:
            bar.add_task("count", total=None, note=f"{job.ranker}, {', '.join(uris)}")
            number = _count(session, current_name(job.ranker), settings, uris, target)
        notice(f"counted {number:,} sessions; saved in {target}; rank: llmrec rank {job.ranker} --load {target}")
        if job.sessions is not None:
            rank_on_executors(replace(job, load=job.save, train=(), save=None, recipe=None, settings={}), stamp)


def _count(session: Any, ranker: str, settings: Any, uris: list[str], target: str) -> int:
    cls = ranker_class(ranker)
    with put_whole(session, target, "a ranker", lambda names: not names or RANKER.record in names) as folder:
        work = made_folder(session, f"{folder}/_work")
        with explained(", ".join(uris)):
            training = training_events(session, uris, work)
            try:
                parts, small = counted_parts(cls, settings, training)
                digest = write_arrays(session, parts, small, work, f"{folder}/{ARRAYS}")
            finally:
                training.forget()
        fields = {"ranker": cls.name, "settings": cls(settings).plain_settings, "locales": list(training.locales)}
        put_text(session, f"{folder}/{RANKER.record}", record_text(RANKER.stamped(fields | {"arrays_sha256": digest})))
        remove(session, work)
    return training.sessions


def _checked(job: RankJob) -> tuple[list[str], str, Any]:
    """Where sessions are, where the ranker goes, and its settings; refuses what cannot be done on executors."""
    cls = ranker_class(job.ranker)
    if cls.name not in COUNTED:
        raise ConfigError(
            f"{job.ranker} is not counted on a cluster; --engine spark --train URI is for {', '.join(COUNTED)}"
        )
    if given := [name for name in _WITHOUT if getattr(job, name)]:
        raise ConfigError(f"--engine spark --train URI counts on the cluster; leave --{given[0].replace('_', '-')} out")
    if (job.sessions is None) != (job.out is None):
        raise ConfigError("--sessions and --out go together: sessions to rank for and the run to write")
    uris = [needed_uri(Path(path), "--train") for path in job.train]
    for path, flag in ((job.sessions, "--sessions"), (job.out, "--out")):
        if path is not None:
            needed_uri(path, flag)
    settings = ranker_settings(cls, job.recipe, dict(job.settings) | ({"engine": "spark"} if _has_engine(cls) else {}))
    if isinstance(settings, CovisitSettings):
        refuse_no_weight(settings, cls.name)
    return uris, needed_uri(job.save, "--save"), settings


def _has_engine(cls: Any) -> bool:
    return "engine" in cls.settings_class.__dataclass_fields__
