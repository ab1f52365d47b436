"""What a run of title generation leaves: run, baseline, scores and page."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from datasets import Dataset

from llmrec.console import notice, recap
from llmrec.data.digests import sessions_files_fingerprint
from llmrec.data.overlap import stamped
from llmrec.data.store import Store
from llmrec.evaluation.evaluate import evaluate_run
from llmrec.evaluation.provenance import collect_provenance
from llmrec.evaluation.results import Result, write_result
from llmrec.evaluation.runs import write_run
from llmrec.evaluation.targets import read_targets
from llmrec.hub.pull import shared_model, stamp_of
from llmrec.output import Kind
from llmrec.reporting.tables import render_markdown
from llmrec.titles.ceiling import Ceiling
from llmrec.titles.models.gguf import gguf_stamp
from llmrec.titles.models.gguf_header import is_gguf
from llmrec.titles.report import ReportedRun, write_generation_report
from llmrec.titles.settings import GenerateConfig
from llmrec.titles.setup import LABELLED_SPLITS, Job
from llmrec.titles.titled_products import products_of_titles

__all__ = ["Select", "outputs", "publish", "score"]

BASELINE = "Last Product Title"  # paper §4.3
Select = Callable[[Job, Path, Path], None]  # run of the written titles and of the last ones → a run of chosen titles


def outputs(job: Job) -> list[tuple[Path, Kind]]:
    """What a job writes: a training has the whole folder, while two splits may be written in one side by side."""
    runs = [_run_of(job), _baseline_of(job), *([job.config.items] if job.config.items else [])]
    files = [_scores_of(job, runs[0]), *([job.folder / "report.html"] if job.config.report else [])]
    places: list[tuple[Path, Kind]] = [(job.folder / f"parts_{job.split}", "place")]
    if job.loaded is None:
        places += [(job.folder, "place"), (job.folder / "model", "folder"), (job.folder / "history.jsonl", "file")]
    return [*places, *((run, "run") for run in runs), *((file, "file") for file in files)]


def _run_of(job: Job) -> Path:
    return job.config.out or job.folder / f"titles_{job.split}.parquet"


def _baseline_of(job: Job) -> Path:
    return job.folder / f"last_title_{job.split}.parquet"


def _scores_of(job: Job, run: Path) -> Path:
    return job.folder / f"{run.stem}.result.json"


def publish(
    job: Job,
    sessions: Dataset,
    written: list[list[str]],
    select: Select | None = None,
    ceiling: Ceiling | None = None,
) -> Result | None:
    """Write the run and its baseline, and score them where the store has targets.

    Args:
        job: What was run.
        sessions: Prompt sessions of its split, ``S`` rows.
        written: ``S`` lists of titles, the best first.
        select: What chooses among them and others, where that is asked for.
        ceiling: How well the tokenizer gives the targets back; None where they are not known.

    Returns:
        The scores, or None where the store has no targets for the split.

    Raises:
        DiskError: a file cannot be written.
    """
    config, titles = job.config, [some[0] for some in written]
    run, baseline = _run_of(job), _baseline_of(job)
    provenance = collect_provenance(
        recipe=config.recipe,
        seed=config.seed,
        fingerprint=job.store.fingerprint,
        started=job.started,
        sessions=sessions_files_fingerprint(*job.store.sessions_files(job.split, task=3)),
    ) | stamped(job.overlap)
    provenance |= _model_stamp(config)
    provenance |= {"tokenizer_ceiling": ceiling.record} if ceiling else {}
    locales = sessions.data.column("locale").to_pylist()
    last_titles = sessions.data.column("last_title").to_pylist()
    partial = config.limit is not None
    write_run(run, locales, titles, {**provenance, "settings": {**_plain(config), **asdict(job.card)}}, partial=partial)
    write_run(baseline, locales, last_titles, {**provenance, "method": BASELINE}, partial=partial)
    notice(f"wrote {run}")
    if config.items is not None:
        lists = products_of_titles(job.store, locales, written)
        record = {**provenance, "ranker": "beams", "settings": {**_plain(config), **asdict(job.card)}}
        write_run(config.items, locales, lists, record, partial=partial)
        notice(f"wrote {config.items}; score its lists: llmrec evaluate {config.items} --targets FILE")
    if config.select and select is not None:
        select(job, run, baseline)
    targets = _targets(job.store, job.split)
    result = score(job, run, baseline)
    if targets is None or result is None:
        notice(f"{job.split} has no targets in this store; to score a model: --split validation")
        return None
    if config.report:
        outcome = ReportedRun(
            split=job.split,
            sessions=sessions,
            titles=titles,
            targets=_target_titles(job, targets, sessions),
            result=dataclasses.replace(result, run=f"{_model_name(job)}, K = {job.card.k}"),
            summary=_summary(job),
            ceiling=ceiling.line if ceiling else "",
        )
        notice(f"wrote {write_generation_report(job.folder, job.store, outcome)}")
    return result


def _model_stamp(config: GenerateConfig) -> dict[str, Any]:
    """Where a model was fetched from, or the hash of the GGUF file that it, or its base, was read from."""
    named = config.model or config.base_model
    if is_gguf(named) or not config.model:
        return gguf_stamp(named)
    return stamp_of(Path(shared_model(named)))


def score(job: Job, run: Path, baseline: Path) -> Result | None:
    """Score a run of the job's split beside the baseline, write the result and show it; None without targets."""
    targets = _targets(job.store, job.split)
    if targets is None:
        return None
    result = _named(evaluate_run(run, targets, products=job.store.products, compare=baseline))
    write_result(_scores_of(job, run), result)
    recap(render_markdown(result))
    return result


def _named(result: Result) -> Result:
    """Call the baseline by the paper's name instead of its file's."""
    comparison = dataclasses.replace(result.comparison, baseline=BASELINE) if result.comparison else None
    return dataclasses.replace(result, comparison=comparison)


def _target_titles(job: Job, targets: Path, sessions: Dataset) -> list[str | None]:
    """Titles to show beside the written ones; of a test split they are read here, after everything is written."""
    if job.split in LABELLED_SPLITS:
        return [title or None for title in sessions.data.column("target_title").to_pylist()]
    titles = read_targets(targets).titles
    return [None] * len(sessions) if titles is None else list(titles.slice(0, len(sessions)).to_pylist())


def _model_name(job: Job) -> str:
    if job.config.model:
        return "/".join(Path(job.config.model).parts[-2:])
    return "tiny mT5" if job.config.base_model == "tiny" else job.config.base_model


def _summary(job: Job) -> str:
    config = job.config
    kind = "a tiny mT5 trained from scratch" if _model_name(job) == "tiny mT5" else _model_name(job)
    data = f"the store {config.data.name}" if config.data else f"built-in synthetic data ({config.synthetic})"
    return (
        f"Task 3 of the Amazon-M2 paper: the next product's title, written by {kind} from the {job.card.k} most recent "
        f"titles (prompt {job.prompt.name}) for the split {job.split} of {data}; beside it the last product's title."
    )


def _targets(store: Store, split: str) -> Path | None:
    if split in LABELLED_SPLITS:
        return store.labelled(split).files[0]
    held_out = store.targets(split)
    return held_out.file if held_out else None


def _plain(config: GenerateConfig) -> dict[str, Any]:
    """Settings as JSON can hold them; paths by their last part, for a run is read on other machines."""
    return {key: value.name if isinstance(value, Path) else value for key, value in asdict(config).items()}
