"""Hyper-parameter search: trials of a ranker on a held-out part of its training sessions, the best one as a recipe."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from llmrec.console import notice
from llmrec.data.overlap import find_overlap, refuse_overlap
from llmrec.data.products import load_products
from llmrec.errors import ConfigError, DataError, require
from llmrec.evaluation.metrics import mrr_at_k, ranks_of_targets
from llmrec.evaluation.provenance import collect_provenance
from llmrec.files import parse_yaml
from llmrec.output import check, disk_errors
from llmrec.ragged import list_lengths
from llmrec.rankers.rank import ranker_settings, tracker_settings
from llmrec.rankers.registry import ranker_class
from llmrec.rankers.sessions import Sessions, TrainingSessions, read_training_files
from llmrec.rankers.settings import TuneJob
from llmrec.settings import RECIPES
from llmrec.training.search import Search, Space, print_trials, read_named, readable, write_recipe

__all__ = ["load_space", "run_tune_job"]

SPACES = RECIPES / "search"
CUTOFF = 100
SHOWN = 20  # best trials in the table


def load_space(name: str, ranker: str) -> Space:
    """Load a search space by name or by path; each of its settings must be one of the ranker's.

    Raises:
        ConfigError: there is none, or it is malformed.
    """
    path, values_of = read_named(name, SPACES, "search space", "search", "settings and their values")
    choices: dict[str, list[Any]] = {}
    ranges: dict[str, tuple[float, float, bool]] = {}
    for key, values in values_of.items():
        if isinstance(values, list) and values:
            choices[key] = [json.dumps(value) if isinstance(value, list) else value for value in values]
            for value in choices[key]:
                ranker_settings(ranker, None, {key: value})  # names a wrong key or value at once
        elif _is_range(values):
            ranges[key] = (values["low"], values["high"], bool(values.get("log", False)))
            for value in ranges[key][:2]:
                ranker_settings(ranker, None, {key: value})
        else:
            raise ConfigError(f"{path}: '{key}' must be a list of values, or low and high (and log: true)")
    try:
        return Space(choices, ranges)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _is_range(values: Any) -> bool:
    """Whether they are ``low`` and ``high``, two numbers, and perhaps ``log``."""
    if not isinstance(values, dict) or not {"low", "high"} <= set(values) <= {"low", "high", "log"}:
        return False
    ends = values["low"], values["high"]
    return all(type(end) in (int, float) for end in ends) and type(values.get("log", False)) is bool


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
    check(job.out)
    check(_storage(job), "place")  # not locked: Optuna's journal lets several processes share a search
    if job.trials < 1:
        raise ConfigError(f"--trials must be at least 1; got {job.trials}")
    if not 0 < job.validation_share < 1:
        raise ConfigError(f"--validation-share must lie between 0 and 1; got {job.validation_share:g}")
    started = time.monotonic()
    space, logged = load_space(job.space or job.ranker, job.ranker), tracker_settings(job.ranker, job.log_to)
    cls = ranker_class(job.ranker)
    products = None if job.products is None else load_products(job.products, cls.product_columns)
    training, sessions, targets = _parted(job)
    search = _opened(job, space)

    def objective(trial: Any) -> float:
        ranker = cls(ranker_settings(job.ranker, job.recipe, {**job.settings, **space.suggest(trial), **logged}))

        def watch(epoch: int, score: float) -> None:
            trial.report(score, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        ranker.watch = watch
        ids, _ = ranker.fit(training, products).rank(sessions, CUTOFF)
        score = mrr_at_k(ranks_of_targets(ids, targets), CUTOFF)
        notice(f"trial {trial.number}: MRR@{CUTOFF} {score:.4f} with {readable(trial.params)}")
        return score

    if search.num_done:
        notice(f"{search.num_done} trials are done already; going on")
    with disk_errors(_storage(job)):
        search.run(objective, job.trials)
    ended = search.best_first()
    score, best = float(ended[0].value), {key: _value(value) for key, value in ended[0].params.items()}
    rows = [(*map(str, trial.params.values()), f"{trial.value:.4f}") for trial in ended[:SHOWN]]
    print_trials(f"Validation, {len(targets):,} sessions", (*best, f"MRR@{CUTOFF}"), rows)
    _write(job, best, score, search.num_done, len(targets), started)
    notice(f"best MRR@{CUTOFF} {score:.4f} with {readable(best)}")
    notice(f"next: llmrec rank {job.ranker} --recipe {job.out} --train FILE --sessions FILE --out RUN")
    return best


def _parted(job: TuneJob) -> tuple[TrainingSessions, Sessions, Any]:
    """Sessions to learn from, sessions to validate on, and their targets (Arrow strings)."""
    every = read_training_files(job.train)
    lengths = list_lengths(every.sequences)
    labelled = np.flatnonzero(every.labelled & (lengths > 1))
    count = round(job.validation_share * len(labelled))
    if not count:
        raise DataError(
            f"{len(labelled)} labelled sessions in {', '.join(file.name for file in job.train)}: "
            f"too few to validate on {job.validation_share:g} of them; give more, or a larger --validation-share"
        )
    held = np.sort(np.random.default_rng(job.seed).permutation(labelled)[:count])
    rest = np.setdiff1d(np.arange(len(every)), held)
    sessions, targets = every.take(held).without_last()
    training = every.take(rest)
    if job.bare:
        training = training.joined(read_training_files(job.bare))
    found = find_overlap(training.sequences, training.locales, sessions.prev_items, sessions.locales)
    refuse_overlap(found, [*job.train, *job.bare], "the validation part", job.allow_overlap)
    if job.transductive:
        training = training.joined(sessions.bare())
    return training, sessions, targets


def _storage(job: TuneJob) -> Path:
    return job.storage or job.out.with_suffix(".search")


def _opened(job: TuneJob, space: Space) -> Search:
    made_with = {
        "space": json.dumps([space.choices, space.ranges], default=list),
        "train": [file.name for file in (*job.train, *job.bare)],
        "settings": json.dumps([job.recipe, dict(job.settings)], default=str),
        "protocol": [job.seed, job.validation_share, job.transductive],
    }
    return Search.open(_storage(job), job.ranker, space, made_with, seed=job.seed)


def _value(value: Any) -> Any:
    return parse_yaml(value, "a choice") if isinstance(value, str) else value


def _write(
    job: TuneJob, best: Mapping[str, Any], score: float, trials: int, num_validation: int, started: float
) -> None:
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
            f"validation mrr@{CUTOFF}": round(score, 4),
            "protocol": f"{num_validation} labelled sessions held out, seed {job.seed}; {transductive}",
            "trials": trials,
            "train": [file.name for file in (*job.train, *job.bare)],
            "command": " ".join(made["command"]),
            "git_commit": made["git_commit"],
        },
    }
    write_recipe(job.out, content)
