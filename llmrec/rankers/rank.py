"""One command: learn or load a ranker, rank a file of sessions, write the run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import msgspec

from llmrec.console import notice
from llmrec.data.products import load_products
from llmrec.data.store import time_split_of
from llmrec.errors import ConfigError
from llmrec.evaluation.metrics import MAX_RANKED
from llmrec.evaluation.provenance import collect_provenance
from llmrec.files import sha256_of_all
from llmrec.hub.pull import local_folder, stamp_of
from llmrec.output import check
from llmrec.processes import is_first_process
from llmrec.rankers.atomic import export_atomic
from llmrec.rankers.fitting import AnyRanker, Learning, fitted, learning, product_table
from llmrec.rankers.per_locale import PerLocale
from llmrec.rankers.ranker_record import RANKER
from llmrec.rankers.recipes import ranker_settings
from llmrec.rankers.registry import ranker_class
from llmrec.rankers.sessions import Sessions, read_session_files, read_training_files
from llmrec.rankers.settings import RankJob
from llmrec.schema import PRODUCT_COLUMNS
from llmrec.settings import claiming, recipe_names
from llmrec.training.trackers import tracker_names

__all__ = [
    "RankJob",
    "export_job",
    "learning_material",
    "ranker_settings",
    "run_rank_job",
    "saved_ranker",
    "tracker_settings",
]


@claiming
def run_rank_job(job: RankJob) -> AnyRanker:
    """Learn or load, rank, write; returns the ranker.

    Raises:
        ConfigError: the settings do not fit together.
        DataError: a file is missing or malformed.
        ModelError: the saved ranker cannot be used.
    """
    started = time.monotonic()
    job = job if job.load is None else replace(job, load=local_folder(job.load))
    _check(job)
    sessions = read_session_files(job.sessions) if job.sessions else None
    fingerprint = None if sessions is None else sessions.fingerprint
    if sessions is not None and job.limit is not None:
        sessions = sessions.slice(0, job.limit)
    cut = time_split_of(job.sessions, *job.train)
    if cut is not None and job.train and is_first_process():
        notice(cut.told())
    ranker = _learn(job, sessions)
    if not is_first_process():  # under `accelerate launch` one process writes for all
        return ranker
    if job.save is not None:
        ranker.save(job.save)
        notice(f"saved; rank other sessions: llmrec rank {job.ranker} --load {job.save} --sessions FILE --out RUN")
    if sessions is not None and job.out is not None:
        lists = ranker.rank(sessions, job.k, job.seen)
        record = {**lists.provenance, **_provenance(job, ranker, started, fingerprint)}
        record |= {} if cut is None else {"time_split": msgspec.to_builtins(cut)}
        replace(lists, provenance=record).save(job.out, partial=job.limit is not None)
        notice(f"{len(sessions):,} lists in {job.out}; score them: llmrec evaluate {job.out} --targets FILE")
    return ranker


def export_job(job: RankJob, folder: Path) -> None:
    """Write the job's sessions as RecBole's atomic files for somebody who wants to run stock RecBole on them.

    Raises:
        ConfigError: there is nothing to learn from.
        DataError: a file is missing or malformed.
    """
    if not job.train:
        raise ConfigError("nothing to export: give --train FILE")
    check(folder, "folder")
    sessions = read_session_files(job.sessions) if job.sessions else None
    products = None if job.products is None else load_products(job.products, PRODUCT_COLUMNS)
    training = read_training_files(job.train)
    if job.transductive and sessions is not None:
        training = training.joined(sessions.bare())
    export_atomic(training, sessions, folder, products)
    notice(f"atomic files in {folder}; RecBole reads them with data_path: {folder.parent} and dataset: {folder.name}")


def _check(job: RankJob) -> None:
    if job.resume and job.checkpoints is None:
        raise ConfigError("--resume needs --checkpoints, the folder of the training that was killed")
    if (job.sessions is None) != (job.out is None):
        raise ConfigError("--sessions and --out go together: a file to rank for and the run to write")
    if job.sessions is None and job.save is None:
        raise ConfigError("nothing to do: give --sessions FILE --out RUN, or --save DIR to keep the ranker")
    if not job.train and job.load is None:
        raise ConfigError("nothing to learn from: give --train FILE, or --load DIR for a saved ranker")
    if job.k > MAX_RANKED and job.out is not None:
        raise ConfigError(f"a run holds at most {MAX_RANKED} ids a session; got --k {job.k}")
    if job.k < 1:
        raise ConfigError(f"k must be at least 1; got {job.k}")
    if job.load is not None and job.pretrain:
        raise ConfigError("--load and --pretrain exclude each other: a saved ranker is already trained")
    if job.load is not None and not job.train:
        for given, flag in (
            (job.transductive, "--transductive"),
            (job.recipe, "--recipe"),
            (job.settings, "--set"),
            (job.engine, "--engine"),
            (job.log_to, "--log-to"),
            (job.products, "--products"),
        ):
            if given:
                raise ConfigError(f"{flag} cannot change a saved ranker; leave it out, or give --train FILE to go on")
    if job.transductive and job.sessions is None:
        raise ConfigError("--transductive learns from the sessions to rank for; give --sessions FILE")
    if job.save is not None:
        by_locale = job.per_locale or (job.load is not None and PerLocale.is_at(job.load))
        (PerLocale if by_locale else RANKER).refuse_foreign(job.save)


def _learn(job: RankJob, sessions: Sessions | None) -> AnyRanker:
    """Load the ranker, or fit one, or go on with one."""
    cls = ranker_class(job.ranker)
    start = saved_ranker(job.load, job.ranker) if job.load is not None else None
    if start is not None and not job.train:
        return start
    goes_on = start is not None or bool(job.pretrain)
    told, folder = learning_material(job, sessions, finetune=goes_on), job.checkpoints
    if job.pretrain:
        earlier = _read_learning(job, job.pretrain, sessions, told.products)
        before = None if folder is None else folder / "pretrain"
        start = fitted(cls, earlier, folder=before, resume=job.resume)
        told = replace(told, overlap=told.overlap or earlier.overlap)
    if goes_on and folder is not None:
        folder = folder / "finetune"
    return fitted(cls, told, start=start, per_locale=job.per_locale, folder=folder, resume=job.resume)


def learning_material(job: RankJob, sessions: Sessions | None, *, finetune: bool = False) -> Learning:
    """Read what a ranker is fitted on, with the prefixes of the sessions to rank for in transductive use.

    Args:
        job: What to read.
        sessions: Those to rank for.
        finetune: Whether a fitted ranker goes on.

    Raises:
        ConfigError: the settings do not fit together.
        DataError: a file is missing or malformed, or its rows repeat the sessions to rank with their labels.
    """
    if job.transductive and sessions is None:
        raise ConfigError("--transductive learns from the sessions to rank for; give --sessions FILE")
    products = product_table(job.products, ranker_class(job.ranker).product_columns)
    told = _read_learning(job, job.train, sessions, products, finetune)
    return told.with_prefixes(sessions) if job.transductive and sessions is not None else told


def _read_learning(
    job: RankJob, files: Sequence[Path], sessions: Sessions | None, products: Any, finetune: bool = False
) -> Learning:
    changes = dict(job.settings) | ({"engine": job.engine} if job.engine else {})
    if job.seen and "seen" in {one.name for one in fields(ranker_class(job.ranker).settings_class)}:
        changes = {"seen": job.seen} | changes
    return learning(
        ranker_class(job.ranker),
        read_training_files(files),
        products,
        sessions,
        transductive=job.transductive,
        allow_overlap=job.allow_overlap,
        recipe=job.recipe,
        seed=job.seed,
        finetune=finetune,
        changes=changes | tracker_settings(job.ranker, job.log_to, job.checkpoints),
        files=(files, job.sessions.name if job.sessions else ""),
    )


def tracker_settings(ranker: str, log_to: str | None, folder: Path | None = None) -> dict[str, str]:
    """The setting that ``--log-to`` is, checked before anything slow starts; none where it was not given.

    Raises:
        ConfigError: the ranker does not train, or a tracker is unknown or has no folder.
        MissingExtraError: a tracker is not installed.
    """
    if log_to is None:
        return {}
    if "log_to" not in {one.name for one in fields(ranker_class(ranker).settings_class)}:
        raise ConfigError(f"--log-to: {ranker} has no training to log; leave it out")
    tracker_names(log_to, folder)
    return {"log_to": log_to}


def saved_ranker(folder: Path, name: str) -> AnyRanker:
    """The ranker of a name that ``--save`` kept, joint or one for each locale; errors as `Ranker.load`."""
    by_locale = PerLocale.is_at(folder)
    loaded: AnyRanker = PerLocale.load(folder, name) if by_locale else ranker_class(name).load(folder)
    loaded.learnt |= stamp_of(folder)
    return loaded


def _provenance(job: RankJob, ranker: AnyRanker, started: float, sessions: str | None) -> dict[str, Any]:
    files = [file for file in (*job.pretrain, *job.train, job.products) if file is not None]
    if job.load is not None:
        files += sorted(job.load.rglob("*.safetensors"))
    digest = sha256_of_all(files)
    recipe = job.recipe or (job.ranker if job.load is None and job.ranker in recipe_names() else None)
    record = collect_provenance(recipe, getattr(ranker.settings, "seed", None), digest, started, sessions)
    return record | {
        "transductive": job.transductive,
        "per_locale": job.per_locale,
        "train": [file.name for file in job.train],
        "pretrain": [file.name for file in job.pretrain],
    }
