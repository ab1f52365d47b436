"""Hyper-parameter search: trials of a ranker on a held-out part of its training sessions, the best one as a recipe."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from llmrec.console import notice
from llmrec.data.overlap import find_overlap, refuse_overlap
from llmrec.data.products import load_products
from llmrec.errors import ConfigError, DataError, nearest, require
from llmrec.evaluation.metrics import mrr_at_k, ranks_of_targets
from llmrec.evaluation.provenance import collect_provenance
from llmrec.files import disk_errors, write_text
from llmrec.rankers.rank import ranker_settings
from llmrec.rankers.registry import ranker_class
from llmrec.rankers.sessions import Sessions, TrainingSessions, read_training_files
from llmrec.settings import RECIPES, option

__all__ = ["SearchSpace", "TuneJob", "load_space", "run_tune_job", "space_names"]

SPACES = RECIPES / "search"
CUTOFF = 100


@dataclass(frozen=True)
class SearchSpace:
    """What a search varies.

    Attributes:
        summary: What it is and whence.
        choices: Values to choose from, by setting; a list is kept as YAML text.
        ranges: ``(low, high, logarithmic)`` by setting; whole numbers where both ends are.
    """

    summary: str
    choices: Mapping[str, Sequence[Any]]
    ranges: Mapping[str, tuple[float, float, bool]]

    @property
    def num_points(self) -> float:
        """Number of settings that the search could try; infinite where a range is continuous."""
        return math.inf if self.ranges else math.prod(len(values) for values in self.choices.values())


@dataclass(frozen=True, kw_only=True)
class TuneJob:
    """What ``llmrec tune`` is asked for.

    A search that was stopped goes on: give the same command again.

    Example: llmrec tune gru4rec --train train.parquet --recipe gru4rec_stock --out runs/gru4rec_tuned.yaml
    """

    ranker: str = option(..., "Ranker to search settings for.", argument=True)
    train: Sequence[Path] = option(..., "Labelled sessions; a part of them is validated on.", several=True)
    out: Path = option(..., "Recipe to write (.yaml).")
    bare: Sequence[Path] = option((), "Sessions that are only learnt from.", several=True)
    products: Path | None = option(None, "Products.")
    space: str | None = option(None, "Search space by name or file; the paper's if not given.")
    recipe: str | None = option(None, "Recipe for the settings that are not searched.")
    settings: Mapping[str, Any] = option({}, "A fixed setting, as name=value.", flag="--set")
    trials: int = option(20, "Most trials; those of a stopped search count.")
    storage: Path | None = option(None, "Folder of the search; OUT.search if not given.")
    validation_share: float = option(0.1, "Share of the labelled sessions to validate on.")
    transductive: bool = option(False, "Learn from the validation prefixes too.", flag="--transductive/--inductive")
    seed: int = option(0, "Draws the validation part and the trials.")
    allow_overlap: bool = option(False, "Let training rows repeat a session with its label.")


def space_names() -> list[str]:
    """Names of the search spaces that come with the package."""
    return sorted(path.stem for path in SPACES.glob("*.yaml"))


def load_space(name: str, ranker: str) -> SearchSpace:
    """Load a search space by name or by path; each of its settings must be one of the ranker's.

    Raises:
        ConfigError: there is none, or it is malformed.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else SPACES / f"{name}.yaml"
    if not path.is_file():
        raise ConfigError(f"no search space '{name}'{nearest(name, space_names())}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not isinstance(content.get("search"), dict) or not content["search"]:
        raise ConfigError(f"{path}: a search space is a mapping with 'search': settings and their values")
    choices: dict[str, list[Any]] = {}
    ranges: dict[str, tuple[float, float, bool]] = {}
    for key, values in content["search"].items():
        if isinstance(values, list) and values:
            choices[key] = [json.dumps(value) if isinstance(value, list) else value for value in values]
            for value in choices[key]:
                ranker_settings(ranker, None, {key: value})  # names a wrong key or value at once
        elif isinstance(values, dict) and {"low", "high"} <= set(values) <= {"low", "high", "log"}:
            ranges[key] = (values["low"], values["high"], bool(values.get("log", False)))
            for value in ranges[key][:2]:
                ranker_settings(ranker, None, {key: value})
        else:
            raise ConfigError(f"{path}: '{key}' must be a list of values, or low and high (and log: true)")
    return SearchSpace(str(content.get("summary", "")), choices, ranges)


def run_tune_job(job: TuneJob) -> dict[str, Any]:
    """Search, and write the best settings as a recipe.

    Returns:
        The best settings that were searched for.

    Raises:
        ConfigError: the search space or a setting is wrong.
        DataError: a file is malformed, or no session is labelled.
        MissingExtraError: Optuna is not installed.
    """
    optuna = require("optuna", "rank")
    if job.trials < 1:
        raise ConfigError(f"--trials must be at least 1; got {job.trials}")
    if not 0 < job.validation_share < 1:
        raise ConfigError(f"--validation-share must lie between 0 and 1; got {job.validation_share:g}")
    started = time.monotonic()
    space = load_space(job.space or job.ranker, job.ranker)
    cls = ranker_class(job.ranker)
    products = None if job.products is None else load_products(job.products, cls.product_columns)
    training, sessions, targets = _parted(job)
    study = _study(optuna, job, space)

    def objective(trial: Any) -> float:
        ranker = cls(ranker_settings(job.ranker, job.recipe, {**job.settings, **_suggest(trial, space)}))

        def watch(epoch: int, score: float) -> None:
            trial.report(score, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        ranker.watch = watch
        ids, _ = ranker.fit(training, products).rank(sessions, CUTOFF)
        score = mrr_at_k(ranks_of_targets(ids, targets), CUTOFF)
        notice(f"trial {trial.number}: MRR@{CUTOFF} {score:.4f} with {_readable(trial.params)}")
        return score

    done = sum(trial.state.is_finished() for trial in study.trials)
    if done:
        notice(f"{done} trials are done already; going on")
    left = min(job.trials, space.num_points) - done
    if left > 0:
        study.optimize(objective, n_trials=int(left))
    best = {key: _value(value) for key, value in study.best_params.items()}
    _write(job, best, study, len(targets), started)
    notice(f"best MRR@{CUTOFF} {study.best_value:.4f} with {_readable(best)}")
    notice(f"next: llmrec rank {job.ranker} --recipe {job.out} --train FILE --sessions FILE --out RUN")
    return best


def _parted(job: TuneJob) -> tuple[TrainingSessions, Sessions, Any]:
    """Sessions to learn from, sessions to validate on, and their targets (Arrow strings)."""
    every = read_training_files(job.train)
    lengths = every.sequences.value_lengths().to_numpy(zero_copy_only=False)
    labelled = np.flatnonzero(every.labelled & (lengths > 1))
    count = round(job.validation_share * len(labelled))
    if not count:
        raise DataError(
            f"{len(labelled)} labelled sessions in {', '.join(file.name for file in job.train)}: "
            f"too few to validate on {job.validation_share:g} of them; give more, or a larger --validation-share"
        )
    held = np.sort(np.random.default_rng(job.seed).permutation(labelled)[:count])
    rest = np.setdiff1d(np.arange(len(every)), held)
    part = every.take(held)
    whole = part.sequences.to_pylist()
    sessions = Sessions(pa.array([items[:-1] for items in whole], pa.list_(pa.string())), part.locales)
    training = every.take(rest)
    if job.bare:
        training = training.joined(read_training_files(job.bare))
    found = find_overlap(training.sequences, training.locales, sessions.prev_items, sessions.locales)
    refuse_overlap(found, [*job.train, *job.bare], "the validation part", job.allow_overlap)
    if job.transductive:
        training = training.joined(sessions.bare())
    return training, sessions, pa.array([items[-1] for items in whole], pa.string())


def _study(optuna: Any, job: TuneJob, space: SearchSpace) -> Any:
    """The search's state on disk, created or opened; Optuna's journal is JSON, one line an event."""
    folder = job.storage or job.out.with_suffix(".search")
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    journal = optuna.storages.journal.JournalFileBackend(str(folder / "trials.jsonl"))
    if space.ranges:
        sampler = optuna.samplers.TPESampler(seed=job.seed)
    else:  # every point at most once, in random order
        sampler = optuna.samplers.GridSampler({key: list(values) for key, values in space.choices.items()}, job.seed)
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(journal),
        study_name=job.ranker,
        direction="maximize",
        sampler=sampler,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1),
        load_if_exists=True,
    )
    made_with = {
        "space": json.dumps([space.choices, space.ranges], default=list),
        "train": [file.name for file in (*job.train, *job.bare)],
        "settings": json.dumps([job.recipe, dict(job.settings)], default=str),
        "protocol": [job.seed, job.validation_share, job.transductive],
    }
    for key, value in made_with.items():
        if study.user_attrs.get(key, value) != value:
            raise ConfigError(f"{folder}: holds a search with another {key}; give another --storage, or remove it")
        study.set_user_attr(key, value)
    return study


def _suggest(trial: Any, space: SearchSpace) -> dict[str, Any]:
    chosen = {key: trial.suggest_categorical(key, list(values)) for key, values in space.choices.items()}
    for key, (low, high, logarithmic) in space.ranges.items():
        whole = isinstance(low, int) and isinstance(high, int)
        suggest = trial.suggest_int if whole else trial.suggest_float
        chosen[key] = suggest(key, low, high, log=logarithmic)
    return chosen


def _value(value: Any) -> Any:
    return yaml.safe_load(value) if isinstance(value, str) else value


def _readable(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items())


def _write(job: TuneJob, best: Mapping[str, Any], study: Any, num_validation: int, started: float) -> None:
    """Write the recipe: every setting of the best trial, and where it comes from."""
    settings = vars(ranker_settings(job.ranker, job.recipe, {**job.settings, **best}))
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()}
    made = collect_provenance(job.recipe, job.seed, None, started)
    transductive = "prefixes of the validation sessions learnt from" if job.transductive else "inductive"
    content = {
        "kind": "ranker",
        "ranker": job.ranker,
        "summary": f"{job.ranker}, tuned by llmrec tune: {', '.join(best)}",
        "settings": plain,
        "scores": {
            f"validation mrr@{CUTOFF}": round(float(study.best_value), 4),
            "protocol": f"{num_validation} labelled sessions held out, seed {job.seed}; {transductive}",
            "trials": sum(trial.state.is_finished() for trial in study.trials),
            "train": [file.name for file in (*job.train, *job.bare)],
            "command": " ".join(made["command"]),
            "git_commit": made["git_commit"],
        },
    }
    write_text(job.out, yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110))
