"""One command: learn or load a selector, choose a title for every session, write the run."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from llmrec.console import notice, track
from llmrec.data.overlap import Overlap, find_overlap, refuse_overlap, stamped
from llmrec.data.products import load_products
from llmrec.data.store import Store
from llmrec.errors import ConfigError, DataError
from llmrec.evaluation.provenance import collect_provenance
from llmrec.evaluation.runs import Run, write_run
from llmrec.files import digest_of, sha256_of_all
from llmrec.hub.pull import local_folder, stamp_of
from llmrec.output import disk_errors
from llmrec.rankers.fusion.ranker import Fusion
from llmrec.rankers.recipes import yaml_value
from llmrec.rankers.sessions import Sessions, TrainingSessions, read_session_files, read_training_files
from llmrec.records import read_record, write_record
from llmrec.reporting.ablation import Ablation
from llmrec.selection.ablation import ablate_selector
from llmrec.selection.given import given_titles, read_given
from llmrec.selection.selector import SELECTOR, Selector
from llmrec.selection.settings import SelectJob, SelectSettings
from llmrec.selection.table import TitleTable
from llmrec.settings import claiming, deciding, load_recipe, resolve
from llmrec.text.ngrams import NO_TITLE
from llmrec.titles.lab.cache import open_cache, remove_cache

__all__ = ["SelectJob", "run_ablation_job", "run_select_job", "select_settings"]

CHUNK: Final = 1024  # sessions chosen for at once, so that memory does not grow with their number
RECIPE: Final = "select"
_PART: Final = re.compile(r"[0-9a-f]{16}-[0-9]{9,}\.(json|parquet)")


@dataclass(frozen=True)
class _Files:
    train: tuple[Path, ...]
    sessions: Path
    products: Path


@claiming
def run_select_job(job: SelectJob) -> Selector:
    """Learn or load, choose, write; returns the selector.

    Raises:
        ConfigError: the settings do not fit together.
        DataError: a file is missing or malformed.
        ModelError: the kept selector cannot be used.
        StoreError: there is no such store or split.
    """
    started = time.monotonic()
    job = job if job.load is None else replace(job, load=local_folder(job.load))
    _check(job)
    files = _files(job)
    sessions = read_session_files(files.sessions)
    products = load_products(files.products, Fusion.product_columns)
    kept = None if job.load is None else Selector.load(job.load)
    table = TitleTable(products, None if kept is None else kept.tokenizers)
    chosen = sessions if job.limit is None else sessions.slice(0, job.limit)
    given = read_given(job.candidates, sessions, files.sessions, table, job.limit)
    fingerprint = sessions.fingerprint
    selector = kept or Selector(_settings(job))
    with _answered(job, selector):
        overlap = None if kept is not None else _learn(job, selector, files, sessions, products, table)
        if job.save is not None:
            selector.save(job.save)
            notice(
                f"saved; choose for other sessions: llmrec select --load {job.save} --data STORE --split SPLIT "
                "--out RUN"
            )
        sessions = chosen
        if job.out is not None:
            provenance = _provenance(job, files, selector, started, fingerprint) | stamped(overlap)
            titles = _titles(job, selector, sessions, table, given, _key(job, files, selector))
            write_run(job.out, sessions.locales, titles, provenance, partial=job.limit is not None)
            notice(f"{len(sessions):,} titles in {job.out}; score them: llmrec evaluate {job.out} --targets FILE")
            _clear(_parts(job.out))
    if job.last_title is not None:
        provenance = _provenance(job, files, selector, started, fingerprint) | {"method": "Last Product Title"}
        write_run(job.last_title, sessions.locales, _last_titles(sessions, table), provenance, job.limit is not None)
    return selector


def run_ablation_job(job: SelectJob, names: Sequence[str]) -> list[Ablation]:
    """Switch each of some kinds of titles and rankers off, and say what BLEU loses out of fold.

    Raises:
        LlmrecError: as `run_select_job`.
    """
    files = _files(job)
    products = load_products(files.products, Fusion.product_columns)
    settings, (training, _) = _settings(job), _training(job, files, read_session_files(files.sessions))
    return ablate_selector(settings, training, products, TitleTable(products), names)


def select_settings(recipe: str | None, changes: Mapping[str, Any]) -> SelectSettings:
    """Settings of the selector: defaults < recipe < ``changes``.

    Raises:
        ConfigError: an unknown recipe or key, or a value out of range.
    """
    given = {key: yaml_value(value) for key, value in changes.items()}
    return resolve(SelectSettings, given, load_recipe(recipe or RECIPE))


def _check(job: SelectJob) -> None:
    if job.out is None and job.save is None:
        raise ConfigError("nothing to do: give --out RUN, or --save DIR to keep the selector")
    if (job.data is None) == (job.sessions is None):
        raise ConfigError("give --data STORE with --split, or --train, --sessions and --products")
    if job.data is None and (job.products is None or not (job.train or job.load)):
        raise ConfigError("without --data give all of --train FILE, --sessions FILE and --products FILE")
    changed = job.recipe or job.settings or job.without or job.writer or job.transductive or job.cold or job.save
    if job.load is not None and changed:
        raise ConfigError(
            "--load takes a selector as it is; leave --recipe, --set, --writer, --transductive, --cold, --save out"
        )
    if job.save is not None:
        SELECTOR.refuse_foreign(job.save)
    if job.split == "development" and job.data is not None and job.load is None:
        raise ConfigError("the selector learns from development; choose another --split")


def _files(job: SelectJob) -> _Files:
    if job.data is None:
        if job.sessions is None or job.products is None:
            raise ConfigError("without --data give all of --train FILE, --sessions FILE and --products FILE")
        return _Files(tuple(job.train), job.sessions, job.products)
    store = Store.load(job.data)
    if job.split in ("development", "validation"):
        held, train = store.labelled(job.split).files[0], store.labelled("development").files
    else:
        held, train = store.test(store.resolve_test(job.split, task=3)).file, store.labelled("train").files
    return _Files(train, held, store.products)


def _learn(
    job: SelectJob, selector: Selector, files: _Files, sessions: Sessions, products: Any, table: TitleTable
) -> Overlap | None:
    training, overlap = _training(job, files, sessions)
    selector.fit(training, products, table)
    notice(describe_estimate(selector.estimate))
    return overlap


@contextlib.contextmanager
def _answered(job: SelectJob, selector: Selector) -> Iterator[None]:
    """Keep what a model says beside the output until that is written: a killed command loses little of it."""
    out = job.out or job.save
    if selector.writer is None or out is None:
        yield
        return
    file = out.with_name(f"{out.name}.answers.sqlite")
    if not job.resume:
        remove_cache(file)
    with open_cache(file) as answers:
        selector.writer = replace(selector.writer, answers=answers)
        yield
        selector.writer = replace(selector.writer, answers=None)
    remove_cache(file)


def _settings(job: SelectJob) -> SelectSettings:
    changes = dict(job.settings) | {"transductive": job.transductive, "cold": job.cold}
    changes |= {"without": list(job.without)} if job.without else {}
    changes |= {"writers": list(job.writer)} if job.writer else {}
    return select_settings(job.recipe, changes | ({} if job.seed is None else {"seed": job.seed}))


def _training(job: SelectJob, files: _Files, sessions: Sessions) -> tuple[TrainingSessions, Overlap | None]:
    training = read_training_files(files.train)
    found = find_overlap(training.sequences, training.locales, sessions.prev_items, sessions.locales)
    overlap = refuse_overlap(found, files.train, files.sessions.name, job.allow_overlap)
    return training.joined(sessions.bare()) if job.transductive else training, overlap


def describe_estimate(estimate: Mapping[str, Any]) -> str:
    """How the selector did on sessions that it had not learnt from, in one line."""
    if not estimate:
        return "select: nothing to learn from, so the last title stays everywhere"
    difference, low, high = estimate["gain"]
    kept = "" if low > 0 else " (not sure, so the last title stays)"
    others = [f"; by {way}, {describe_estimate(one)}" for way, one in estimate.get("others", {}).items()]
    return (
        f"out of fold, {estimate['sessions']:,} sessions: BLEU {estimate['bleu']:.2f}, last title "
        f"{estimate['last_title']:.2f}, gain {difference:+.2f} [{low:+.2f}, {high:+.2f}]{kept}; by risk alone "
        f"{estimate['by_risk_alone']:.2f}, oracle {estimate['oracle']:.2f}; {estimate['changed']:.0%} changed"
    ) + "".join(others)


@dataclass(frozen=True)
class _Chunk:
    titles: list[str]


def _titles(
    job: SelectJob, selector: Selector, sessions: Sessions, table: TitleTable, given: Sequence[Run], key: str
) -> list[str]:
    """Titles of all sessions; each finished chunk is on disk, so that a killed run goes on behind it."""
    if job.out is None:
        return []
    parts = _parts(job.out)
    if not job.resume:
        _clear(parts)
    with disk_errors(parts):
        parts.mkdir(parents=True, exist_ok=True)
    titles: list[str] = []
    for start in track(range(0, len(sessions), CHUNK), "select", -(-len(sessions) // CHUNK)):
        part = parts / f"{key}-{start:09d}.json"
        try:
            chosen = read_record(part, _Chunk, "").titles
        except DataError:  # not there, or damaged
            chosen = _chunk_titles(selector, sessions, table, given, start)
            write_record(part, _Chunk(chosen))
        titles += chosen
    return titles


def _chunk_titles(
    selector: Selector, sessions: Sessions, table: TitleTable, given: Sequence[Run], start: int
) -> list[str]:
    new, evidence = table.added([], sessions.locales[:0]), []
    count = min(CHUNK, len(sessions) - start)
    for run in given:
        said, written = given_titles(run, start, count, table, len(table.book) + len(new))
        evidence.append(said)
        new = new.joined(written)
    return selector.select(sessions.slice(start, count), table, evidence, new)


def _last_titles(sessions: Sessions, table: TitleTable) -> list[str]:
    last = table.own_titles(sessions).ends
    texts = table.book.texts.take(pa.array([max(0, place) for place in last.tolist()], pa.int64())).to_pylist()
    return [text if place != NO_TITLE else "" for text, place in zip(texts, last.tolist(), strict=True)]


def _parts(out: Path) -> Path:
    return out.with_name(f"{out.stem}.parts")


def _clear(parts: Path) -> None:
    """Remove finished chunks, and their folder if it holds nothing else."""
    for part in parts.glob("*"):
        if _PART.fullmatch(part.name):
            part.unlink()
    with contextlib.suppress(OSError):
        parts.rmdir()


def _digest(job: SelectJob, files: _Files) -> str:
    """Digest of all files that are read."""
    loaded = [] if job.load is None else [job.load / SELECTOR.record]
    return sha256_of_all([*files.train, files.sessions, files.products, *job.candidates, *loaded])


def _key(job: SelectJob, files: _Files, selector: Selector) -> str:
    """Names everything that decides a title, so that ``--resume`` never mixes two selectors' titles."""
    decided = [deciding(selector.settings, "titles"), selector.tokenizers, selector.writer and selector.writer.weights]
    return digest_of([_digest(job, files), *decided])[:16]


def _provenance(job: SelectJob, files: _Files, selector: Selector, started: float, sessions: str) -> dict[str, Any]:
    recipe = None if job.load else job.recipe or RECIPE
    record = collect_provenance(recipe, selector.settings.seed, _digest(job, files), started, sessions)
    record |= {} if job.load is None else stamp_of(job.load)
    record |= {} if selector.writer is None else {"writer_weights": selector.writer.weights}
    return record | {
        "method": "title selector",
        "settings": vars(selector.settings),
        "tokenizers": selector.tokenizers,
        "estimate": selector.estimate,
        "split": job.split if job.data else files.sessions.name,
        "train": [file.name for file in files.train],
        "candidates": [file.name for file in job.candidates],
    }
