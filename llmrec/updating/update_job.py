"""``llmrec update``: later sessions into a ranker, products into an index, versions of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Final

from llmrec.console import notice, table
from llmrec.console import out as out_console
from llmrec.errors import ConfigError, ModelError, require
from llmrec.files import held_in
from llmrec.output import claimed
from llmrec.settings import flag_of, option
from llmrec.updating.versions import (
    current_of,
    drop_old,
    holds_versions,
    new_version,
    note_made,
    previous_of,
    use,
    versions_in,
)

__all__ = ["UpdateJob", "run_update_job"]


@dataclass(frozen=True, kw_only=True)
class UpdateJob:
    """What to bring up to date, and with what.

    A saved ranker takes later sessions in: one that counts becomes what a fit on all sessions would be, a neural one
    goes on training, fusion updates its sources and keeps its trees. An index takes products in and out, and a
    title model trains on. In a folder of versions a new version is written, and the link `current` leads to it when it
    is whole.

    Example: llmrec update models/covisit --train sessions_today.parquet --half-life 30

    Example: llmrec update runs/titles --products new.parquet --remove B0001 B0002

    Example: llmrec update models/shop --rollback
    """

    HELP_PANELS: ClassVar[Mapping[str, str]] = {
        "Input": "train data products remove date again",
        "Output": "out keep",
        "Learning": "half_life refit settings checkpoints resume",
        "Versions": "rollback list_versions",
    }

    model: Path = option(..., "Saved ranker, index or title model, or its versions.", argument=True, metavar="MODEL")
    version: str | None = option(None, "Version to go back to, with --rollback.", argument=True, metavar="VERSION")
    train: Sequence[Path] = option((), "Later sessions: CSV or Parquet. Several files can follow.", several=True)
    data: Path | None = option(None, "Store that a title model goes on training with.", metavar="STORE")
    products: Path | None = option(None, "What each locale sells now, or what an index adds: CSV or Parquet.")
    remove: Sequence[str] = option((), "Ids to remove from an index, or a file of them.", several=True)
    date: str | None = option(None, "Date of the sessions, as 2026-11-29. Default: now.")
    again: bool = option(False, "Count sessions that were learnt from already once more.")
    out: Path | None = option(None, "Write the updated model here. Default: in its place.", output="folder")
    keep: int | None = option(None, "Keep only so many versions.", minimum=1)
    half_life: float | None = option(None, "Days after which a visit counts half. Default: visits never fade.")
    refit: bool = option(False, "Grow the trees of fusion anew, or factorise item_vectors anew.")
    settings: Mapping[str, Any] = option({}, "Change one setting of a training, as name=value.", flag="--set")
    checkpoints: Path | None = option(None, "Folder for checkpoints and logs of a training.", output="place")
    resume: bool = option(False, "Continue an interrupted training.")
    rollback: bool = option(False, "Use VERSION again, or the version that the current one was made of.")
    list_versions: bool = option(False, "List the versions.", flag="--list")


def run_update_job(job: UpdateJob) -> dict[str, Any]:
    """Update, go back to a version, or list versions; gives what was done.

    Raises:
        ConfigError: flags do not fit together, or the model cannot do what is asked for.
        DataError: sessions cannot be read, or were learnt from already.
        DiskError: the place cannot be written, or another process is writing it.
        ModelError: there is no model, or it is of another kind.
    """
    _check(job)
    if job.list_versions:
        return _listed(job.model)
    with claimed((job.model, "place")):
        if job.rollback:
            name = job.version or previous_of(job.model)
            use(job.model, name)
            notice(f"{job.model}: uses '{name}' again")
            return {"current": name}
        return _updated(job)


def _check(job: UpdateJob) -> None:
    if job.version is not None and not job.rollback:
        raise ConfigError(f"'{job.version}' names a version, which --rollback takes; sessions are given to --train")
    asked = {"--rollback": job.rollback, "--list": job.list_versions}
    asked |= {f"--{name}": bool(getattr(job, name)) for name in ("train", "data", "products", "remove")}
    given = [flag for flag, value in asked.items() if value]
    if (job.rollback or job.list_versions) and len(given) > 1:
        raise ConfigError(f"{given[0]} and {given[1]} exclude each other")
    if not given:
        raise ConfigError(
            "nothing to do: give --train FILE (an index: --products, titles: --data), --rollback or --list"
        )
    if job.resume and job.checkpoints is None:
        raise ConfigError("--resume needs --checkpoints, the folder of the training that was killed")
    if not holds_versions(job.model):
        for value, flag in ((job.rollback, "--rollback"), (job.list_versions, "--list"), (job.keep, "--keep")):
            if value:
                what = held_in(job.model).removeprefix(" but ") or "nothing that is known"
                raise ModelError(f"{job.model}: {flag} needs a folder of versions; this holds {what}")
    elif job.out is not None and job.keep is not None:
        raise ConfigError("--keep and --out exclude each other: --out writes no version")


def _listed(folder: Path) -> dict[str, Any]:
    versions, current = versions_in(folder), current_of(folder)
    holds = [held_in(folder / name).removeprefix(" but ") for name in versions]
    uses = ["current" if name == current else "" for name in versions]
    out_console.print(table("", ("version", "holds", ""), list(zip(versions, holds, uses, strict=True))))
    return {"versions": versions, "current": current}


def _updated(job: UpdateJob) -> dict[str, Any]:
    """Write the updated model into its place, a new version, or ``out``."""
    versioned = holds_versions(job.model)
    before = job.model / current_of(job.model) if versioned else job.model
    place = job.out or (new_version(job.model) if versioned else job.model)
    told = _way_of(before)(before, place, job)
    if versioned and job.out is None:
        note_made(job.model, place.name, before.name)
        use(job.model, place.name)
        told |= {"current": place.name, "dropped": [] if job.keep is None else drop_old(job.model, job.keep)}
        notice(f"{job.model}: uses '{place.name}'; go back: llmrec update {job.model} --rollback")
    return told | {"path": str(place)}


def _way_of(folder: Path) -> Callable[[Path, Path, UpdateJob], dict[str, Any]]:
    """How what a folder holds is updated."""
    from llmrec.text.encoders.embeddings_folder import EMBEDDINGS

    if EMBEDDINGS.is_at(folder):
        return _update_index
    return _update_titles if (folder / "llmrec.json").is_file() else _update_ranker


def _refuse_others(job: UpdateJob, before: Path, what: str, takes: Sequence[str]) -> None:
    own = ("model", "version", "out", "keep", *takes)
    for field in fields(job):
        if field.name not in own and getattr(job, field.name) not in (None, (), [], {}, False):
            flags = ", ".join(f"--{name}" for name in takes if name not in ("settings", "resume"))
            raise ConfigError(f"{flag_of(field)}: {before} is {what}, which takes {flags}")


def _update_titles(before: Path, place: Path, job: UpdateJob) -> dict[str, Any]:
    """Train a title model on, and write it."""
    _refuse_others(job, before, "a title model", ("data", "settings", "checkpoints", "resume"))
    if job.data is None:
        raise ConfigError(f"{before}: a title model goes on training with a store; give --data STORE")
    from llmrec.updating.titles_update import update_titles

    return update_titles(before, place, job.data, job.settings, job.checkpoints, job.resume)


def _update_index(before: Path, place: Path, job: UpdateJob) -> dict[str, Any]:
    """Change an index, or write a changed one elsewhere."""
    require("faiss", "search")
    from llmrec.updating.index_update import update_index

    _refuse_others(job, before, "an index", ("products", "remove"))
    return update_index(before, place, job.products, job.remove)


def _update_ranker(before: Path, place: Path, job: UpdateJob) -> dict[str, Any]:
    """Read a ranker, take the files in, write it; gives what it learnt."""
    from llmrec.rankers.fitting import load_ranker
    from llmrec.rankers.per_locale import PerLocale
    from llmrec.rankers.ranker_record import RANKER
    from llmrec.rankers.sessions import read_training_files
    from llmrec.updating.ranker_update import Asked, how_it_keeps_up, items_of, updated

    if not (RANKER.is_at(before) or PerLocale.is_at(before)):
        raise ModelError(f"{before}: no ranker here{held_in(before)}; save one: llmrec rank RANKER ... --save {before}")
    if job.data is not None:
        raise ConfigError("--data is for title models; a ranker takes files of sessions: --train FILE")
    if job.remove:
        raise ConfigError("--remove takes products out of an index; a ranker's products are those of --products")
    if not job.train:
        raise ConfigError(f"{before}: a ranker takes later sessions; give --train FILE")
    (PerLocale if PerLocale.is_at(before) else RANKER).refuse_foreign(place)
    ranker = load_ranker(before)
    training = read_training_files(job.train)
    asked = Asked(
        half_life=job.half_life,
        date=job.date,
        again=job.again,
        refit=job.refit,
        settings=job.settings,
        folder=job.checkpoints,
        resume=job.resume,
    )
    fresh = updated(ranker, training, job.products, asked)
    fresh.save(place)
    how, (known, items) = how_it_keeps_up(fresh, job.refit), (items_of(ranker), items_of(fresh))
    notice(f"{len(training):,} sessions and {items - known:,} new items in {place}; {_HOW[how]}")
    return {"how": how, "sessions": len(training), "items": items, "new_items": items - known}


_HOW: Final = {
    "as refitted": "it is what a fit on all sessions would be",
    "faded": "it is what a fit on all sessions would be in which the older ones count less",
    "trained on": "it went on from its weights, which is no fit on all sessions",
    "trees kept": "sources and counts are as refitted, trees as they were; --refit grows them anew",
    "vectors kept": "vectors are made anew once 1 % of the sessions are new to them, or by --refit",
}
