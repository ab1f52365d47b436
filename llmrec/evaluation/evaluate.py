"""Score a run, or lists and titles in memory, against the targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from llmrec.api.public import public
from llmrec.data.digests import sessions_files_fingerprint
from llmrec.data.products import product_file
from llmrec.errors import ConfigError, DataError
from llmrec.evaluation.beyond.measures import check_beyond
from llmrec.evaluation.beyond.of_run import beyond_of_run
from llmrec.evaluation.breakdowns import check_groupings, group_sessions
from llmrec.evaluation.identity import check_sessions, check_together
from llmrec.evaluation.in_memory import files_of, given_predictions, holds_titles, run_in_memory, targets_in_memory
from llmrec.evaluation.results import Result
from llmrec.evaluation.runs import Run, read_run
from llmrec.evaluation.scoring import score_rankings, score_titles
from llmrec.evaluation.targets import Targets, join_titles, read_targets

__all__ = ["evaluate", "evaluate_run"]

_At = tuple[Sequence[int], Sequence[int], Sequence[int]]  # cutoffs of hits, of all metrics, of what is beyond accuracy


def evaluate_run(
    run: Path,
    targets: Path,
    products: Path | None = None,
    compare: Path | None = None,
    train: Sequence[Path] = (),
    samples: int = 1000,
    seed: int = 0,
    *,
    hits: Sequence[int] = (),
    cutoffs: Sequence[int] = (),
    beyond: Sequence[int] = (),
    by: Sequence[str] = (),
    sessions: Path | None = None,
) -> Result:
    """Score titles (BLEU) or ranked lists (MRR, Recall, NDCG @100), per locale and overall.

    A partial run is scored on the first sessions, those it holds, and its result is stamped partial.

    Args:
        run: Run file, see `llmrec.evaluation.runs`.
        targets: Parquet or CSV with ``locale`` and ``next_item`` or ``next_title``, in the run's order.
        products: Where titles are looked up if ``targets`` has ids alone, and for ``beyond``; ``products.parquet``
            beside the targets if not given.
        compare: Another run of the same split; adds the difference with its paired bootstrap interval.
        train: Files that the run's ranker learnt from; sessions are told apart by whether these hold their target.
        samples: Resampled test sets of that interval.
        seed: Seed of the resampling.
        hits: More cutoffs K to report Hit@K of ranked lists at.
        cutoffs: More cutoffs K to report MRR, Recall and NDCG at.
        beyond: Cutoffs K to report coverage, novelty, diversity … at (`llmrec.evaluation.beyond`); needs ``train``.
        by: Groupings of `llmrec.evaluation.breakdowns` to score apart, each with its intervals.
        sessions: Where those by length and repeats read ``prev_items``; the targets file, or the sessions beside it,
            if not given.

    Raises:
        ConfigError: ``train``, ``hits`` or ``cutoffs`` is of no use for titles, or a grouping is unknown or lacks its
            data.
        DataError: a file cannot be read, or run and targets do not belong together; the first differing row is named.
    """
    check_groupings(by, bool(train))  # before anything is read
    check_beyond(beyond, bool(train))
    at = (hits, cutoffs, beyond)
    return _evaluated(read_run(run), read_targets(targets), products, compare, train, samples, seed, at, by, sessions)


@public
def evaluate(
    predictions: Any,
    targets: Any,
    *,
    products: Any = None,
    compare: Any = None,
    train: Any = (),
    by: Sequence[str] = (),
    sessions: Any = None,
    hits: Sequence[int] = (),
    cutoffs: Sequence[int] = (),
    beyond: Sequence[int] = (),
    samples: int = 1000,
    seed: int = 0,
) -> Result:
    """Score ranked lists (MRR, Recall, NDCG @100) or titles (BLEU), per locale and overall (paper §4).

    Args:
        predictions: `Rankings`, `Titles`, a run's path, or ``S`` plain lists of ids or titles.
        targets: What is right: targets of a `Store`, `Sessions` with next items, a file, a data frame with
            ``next_item`` or ``next_title`` (and ``locale``), or ``S`` ids or titles, None where unknown.
        products: Where titles are looked up if targets are ids alone, and for ``beyond``: a `Store`, a file, a data
            frame, an Arrow table.
        compare: Other predictions for the same sessions; adds the difference with its paired bootstrap interval.
        train: Files that the ranker learnt from, or ``store.training()``: tells warm from cold targets.
        by: Groups to score apart: ``locale``, ``length``, ``repeats``, ``popularity``, ``novelty`` or ``time``.
        sessions: File of the sessions, or ``store.sessions(split)``, where groups need it and it is not beside the
            targets.
        hits: More cutoffs K to report Hit@K of ranked lists at.
        cutoffs: More cutoffs K to report MRR, Recall and NDCG at.
        beyond: Cutoffs K to report coverage, novelty, diversity … at (`llmrec.evaluation.beyond`); needs ``train``.
        samples: Resampled test sets of an interval.
        seed: Of the resampling.

    Returns:
        The scores; a notebook shows them as a table, `Result.to_pandas` and `Result.save` keep them.

    Raises:
        ConfigError: a setting is of no use for these predictions, or a grouping is unknown or lacks its data.
        DataError: predictions and targets do not belong together, or a file cannot be read.

    Example:
        >>> evaluate([["cup", "pot"], ["tea"]], ["pot", "tea"], samples=100).overall.metrics["mrr@100"]
        0.75
    """
    learnt_from = files_of(train, "train")
    asked = next(iter(files_of(sessions, "sessions")), None)
    check_groupings(by, bool(learnt_from))
    check_beyond(beyond, bool(learnt_from))
    at = (hits, cutoffs, beyond)
    given = given_predictions(predictions, "predictions")
    goals = targets_in_memory(targets, holds_titles(given))
    run = run_in_memory(given, goals, "predictions")
    other = None if compare is None else run_in_memory(given_predictions(compare, "compare"), goals, "compare")
    if samples < 1:
        raise ConfigError(f"samples must be at least 1; got {samples}")
    if products is None:
        return _evaluated(run, goals, None, other, learnt_from, samples, seed, at, by, asked)
    with product_file(products, ("locale", "id", "title")) as place:
        return _evaluated(run, goals, place, other, learnt_from, samples, seed, at, by, asked)


def _evaluated(
    loaded: Run,
    goals: Targets,
    products: Path | None,
    compare: Run | Path | None,
    train: Sequence[Path],
    samples: int,
    seed: int,
    at: _At,
    by: Sequence[str],
    sessions: Path | None,
) -> Result:
    """Scores of a run; arguments as of `evaluate_run`."""
    run = loaded.path
    _check_rows(loaded, goals)
    known = goals.sessions_fingerprint
    if sessions is not None and known is None:
        known = sessions_files_fingerprint(sessions)
    check_sessions(loaded, known, goals.path)
    other = _fitting(compare, loaded) if compare is not None else None
    locales = loaded.locales.to_pylist()
    ranking = loaded.kind == "ranking"
    asked = dict.fromkeys([*by, *(["novelty"] if train and ranking else [])])
    groups = group_sessions(list(asked), goals, len(loaded), locales, sessions, train)
    settings: dict[str, Any] = {
        "groupings": {name: groups[name] for name in by},
        "partial": loaded.partial,
        "provenance": loaded.provenance,
        "samples": samples,
        "seed": seed,
    }
    if ranking:
        wanted = _wanted_items(goals).slice(0, len(loaded))
        baseline = None if other is None else (other.path.name, other.predictions)
        settings |= {"baseline": baseline, "novelty": groups.get("novelty"), "hits": at[0], "cutoffs": at[1]}
        result = score_rankings(run.name, locales, loaded.predictions, wanted, **settings)
        if at[2]:
            files = train, products or _products_beside(goals)
            lists = None if other is None else other.predictions
            found = beyond_of_run(loaded, wanted, result.locales, *files, at[2], samples, seed, lists)
            result = replace(result, beyond=found)
    else:
        _refuse_for_titles(run, at, by, train)
        titles = _wanted_titles(loaded, goals, products).to_pylist()
        settings["baseline"] = None if other is None else (other.path.name, other.predictions.to_pylist())
        result = score_titles(run.name, locales, loaded.predictions.to_pylist(), titles, **settings)
    return replace(result, targets=goals.path.name)


def _refuse_for_titles(run: Path, at: _At, by: Sequence[str], train: Sequence[Path]) -> None:
    for flag, cutoffs in zip(("--hits", "--cutoffs", "--beyond"), at, strict=True):
        if cutoffs:
            raise ConfigError(f"{run}: holds titles; {flag} is of ranked lists alone")
    if train and not {"popularity", "novelty"} & {*by}:
        raise ConfigError(
            f"{run}: holds titles; --train tells warm from cold targets of ranked lists alone, "
            "of titles with --by novelty or popularity"
        )


def _check_rows(run: Run, targets: Targets) -> None:
    fits = len(run) <= targets.num_rows if run.partial else len(run) == targets.num_rows
    if not fits:
        raise DataError(
            f"{run.path}: {len(run)} predictions for the {targets.num_rows} sessions of {targets.path.name}; "
            "a run holds one row for each session of its split"
        )
    if targets.locales is not None:
        _check_locales(run, targets.locales.slice(0, len(run)), targets.path)


def _check_locales(run: Run, locales: pa.ChunkedArray, path: Path) -> None:
    row = pc.index(pc.fill_null(pc.equal(run.locales, locales), False), False).as_py()
    if row >= 0:
        raise DataError(
            f"{run.path}, row {row + 1}: locale '{run.locales[row]}', but {path.name} has '{locales[row]}' there; "
            "a run keeps the order of its sessions file"
        )


def _fitting(given: Run | Path, run: Run) -> Run:
    """The run to compare with; a complete one may stand beside a partial one, cut to its sessions."""
    other = read_run(given) if isinstance(given, Path) else given
    path = other.path
    if other.kind != run.kind:
        raise DataError(f"{path}: holds {other.kind}, {run.path.name} holds {run.kind}; compare runs of one kind")
    fits = len(other) >= len(run) if run.partial else len(other) == len(run)
    if not fits:
        raise DataError(f"{path}: {len(other)} rows, {run.path.name} has {len(run)}; compare runs of one split")
    cut = Run(path, other.kind, other.locales.slice(0, len(run)), other.predictions.slice(0, len(run)))
    _check_locales(cut, run.locales, run.path)
    check_together([run, other])
    return cut


def _wanted_items(targets: Targets) -> pa.ChunkedArray:
    if targets.items is None:
        raise DataError(f"{targets.path}: no column 'next_item', which ranked lists are scored against")
    return targets.items


def _wanted_titles(run: Run, targets: Targets, products: Path | None) -> pa.ChunkedArray:
    if targets.titles is not None:
        return targets.titles.slice(0, len(run))
    catalogue = products or _products_beside(targets)
    if catalogue is None:
        raise DataError(f"{targets.path}: holds ids, not titles; add --products FILE to look the titles up")
    return join_titles(run.locales, _wanted_items(targets).slice(0, len(run)), catalogue)


def _products_beside(targets: Targets) -> Path | None:
    beside = targets.path.parent / "products.parquet"
    return beside if beside.exists() else None
