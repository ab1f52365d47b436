"""From predictions and targets in memory to a result: per locale, overall, and beside a baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmrec.errors import DataError
from llmrec.evaluation.bleu import TOKENIZERS, bleu_of, bleu_signature, bleu_stats, paired_bootstrap
from llmrec.evaluation.bootstrap import Interval, paired_bootstrap_mean
from llmrec.evaluation.metrics import MAX_RANKED, RANKING_METRICS, metric_by_rank, ranks_of_targets, reciprocal_ranks
from llmrec.evaluation.parts import break_down, ranking_part, title_part
from llmrec.evaluation.results import Comparison, Part, Result, Scores
from llmrec.evaluation.significance import randomisation_p_bleu, randomisation_p_mean
from llmrec.schema import LOCALES

__all__ = ["OVERALL", "score_rankings", "score_titles"]

OVERALL: Final = "overall"
Rows = NDArray[np.int64]
Groupings = Mapping[str, Mapping[str, NDArray[np.bool_]]]


def score_titles(
    run: str,
    locales: Sequence[str],
    predictions: Sequence[str],
    targets: Sequence[str | None],
    *,
    baseline: tuple[str, Sequence[str]] | None = None,
    groupings: Groupings | None = None,
    partial: bool = False,
    provenance: Mapping[str, Any] | None = None,
    samples: int = 1000,
    seed: int = 0,
) -> Result:
    """Score titles with BLEU (paper §4.3), ``char`` BLEU beside it where 13a cannot split the language.

    Args:
        run: Name of the run in the result.
        locales: ``S`` locales.
        predictions: ``S`` titles.
        targets: ``S`` titles; a session whose target is None or empty is left out and counted.
        baseline: Name and ``S`` titles of a run to stand beside, Last Product Title for instance.
        groupings: Grouping to its groups, each a mask of shape ``(S,)``, to score apart.
        partial: Whether these are only the first sessions of a split.
        provenance: How the run was made.
        samples: Resampled test sets of the interval against ``baseline``.
        seed: Seed of the resampling.

    Raises:
        DataError: the numbers of rows differ, or no session has a target.
    """
    _check_lengths(run, len(locales), len(predictions), len(targets), *([len(baseline[1])] if baseline else []))
    kept = [row for row, target in enumerate(targets) if target]
    wanted = [targets[row] or "" for row in kept]
    written = [predictions[row] for row in kept]
    groups = _rows_by_locale([locales[row] for row in kept], run)
    stats = bleu_stats(written, wanted)
    comparison, other = None, None
    if baseline is not None:
        other = bleu_stats([baseline[1][row] for row in kept], wanted)
        comparison = _compare_bleu(baseline[0], stats, other, groups, samples, seed)
    metrics_of = _title_metrics(written, wanted, stats)
    result = _result(
        run, "titles", len(targets), groups, metrics_of, _signatures(groups), comparison, partial, provenance
    )
    return replace(
        result,
        breakdowns=break_down(_of_kept(groupings, kept), len(kept), title_part(stats, other, samples), seed),
    )


def _title_metrics(
    written: Sequence[str], wanted: Sequence[str], stats: NDArray[np.int64]
) -> Callable[[Rows, str | None], dict[str, float]]:
    exact = np.array([left == right for left, right in zip(written, wanted, strict=True)], dtype=np.float64)

    def metrics_of(rows: Rows, locale: str | None) -> dict[str, float]:
        bleu = bleu_of(stats[rows].sum(axis=0))
        values = {"bleu": bleu.score}
        if locale in TOKENIZERS:
            tokenize = TOKENIZERS[locale]
            counts = bleu_stats([written[row] for row in rows], [wanted[row] for row in rows], tokenize)
            values[f"bleu_{tokenize}"] = bleu_of(counts.sum(axis=0), tokenize).score
        return {
            **values,
            "brevity_penalty": bleu.brevity_penalty,
            "length_ratio": bleu.length_ratio,
            "exact_match": float(exact[rows].mean()),
        }

    return metrics_of


def _compare_bleu(
    baseline: str,
    ours: NDArray[np.int64],
    theirs: NDArray[np.int64],
    groups: Mapping[str, Rows],
    samples: int,
    seed: int,
) -> Comparison:
    return _compare(
        baseline,
        "bleu",
        groups,
        len(ours),
        lambda rows: bleu_of(theirs[rows].sum(axis=0)).score,
        lambda rows: paired_bootstrap(ours[rows], theirs[rows], samples, seed),
        lambda rows: randomisation_p_bleu(ours[rows], theirs[rows], samples, seed),
    )


def _signatures(groups: Mapping[str, Rows]) -> dict[str, str]:
    beside = [tokenize for locale, tokenize in TOKENIZERS.items() if locale in groups]
    return {"bleu": bleu_signature(), **{f"bleu_{tokenize}": bleu_signature(tokenize) for tokenize in beside}}


def score_rankings(
    run: str,
    locales: Sequence[str],
    ranked: pa.ChunkedArray,
    targets: pa.ChunkedArray,
    *,
    baseline: tuple[str, pa.ChunkedArray] | None = None,
    trained: Any = None,
    hits: Sequence[int] = (),
    groupings: Groupings | None = None,
    partial: bool = False,
    provenance: Mapping[str, Any] | None = None,
    samples: int = 1000,
    seed: int = 0,
) -> Result:
    """Score ranked lists with MRR, Recall and NDCG @100 (paper §4.1).

    Args:
        run: Name of the run in the result and in error messages.
        locales: ``S`` locales.
        ranked: ``S`` lists of distinct ids, best first.
        targets: ``S`` ids; a session whose target is null or empty is left out and counted.
        baseline: Name and ``S`` ranked lists of a run to stand beside.
        trained: Arrow strings: items that training has met; sessions with such a target are ``warm``, others ``cold``.
            None: they are not told apart.
        hits: More cutoffs K to report Hit@K at (paper, Eq. 2).
        groupings: Grouping to its groups, each a mask of shape ``(S,)``, to score apart.
        partial: Whether these are only the first sessions of a split.
        provenance: How the run was made.
        samples: Resampled test sets of the interval against ``baseline``.
        seed: Seed of the resampling.

    Raises:
        DataError: the numbers of rows differ, a list is too long or holds an id twice, or no session has a target.
    """
    _check_lengths(run, len(locales), len(ranked), len(targets), *([len(baseline[1])] if baseline else []))
    kept = [row for row, target in enumerate(targets.to_pylist()) if target]
    groups = _rows_by_locale([locales[row] for row in kept], run)
    ranks = ranks_of_targets(ranked, targets, run)[kept]

    names = [*(f"{name}@{MAX_RANKED}" for name in RANKING_METRICS), *(f"hit@{cutoff}" for cutoff in sorted({*hits}))]
    tables = {name: metric_by_rank(name) for name in names}

    def metrics_of(rows: Rows, _: str | None) -> dict[str, float]:
        return {name: float(table[ranks[rows]].mean()) for name, table in tables.items()}

    sets = {} if trained is None else _warm_and_cold(targets, kept, trained)
    comparison, other = None, None
    if baseline is not None:
        other = ranks_of_targets(baseline[1], targets, baseline[0])[kept]
        held = {**groups, **{part: rows for part, rows in sets.items() if len(rows)}}
        comparison = _compare_ranks(baseline[0], ranks, other, held, samples, seed)
    result = _result(run, "ranking", len(targets), groups, metrics_of, {}, comparison, partial, provenance)
    part_of = ranking_part(ranks, other, names, samples)
    if trained is not None:
        sets = {"all": np.arange(len(ranks)), **sets}
        empty = Part(0, {}, {})
        parts = {part: part_of(rows, seed)[0] if len(rows) else empty for part, rows in sets.items()}
        result = replace(result, parts=parts)
    return replace(result, breakdowns=break_down(_of_kept(groupings, kept), len(kept), part_of, seed))


def _compare_ranks(
    baseline: str, ours: Rows, theirs: Rows, groups: Mapping[str, Rows], samples: int, seed: int
) -> Comparison:
    mine, others = reciprocal_ranks(ours, MAX_RANKED), reciprocal_ranks(theirs, MAX_RANKED)
    return _compare(
        baseline,
        f"mrr@{MAX_RANKED}",
        groups,
        len(ours),
        lambda rows: float(others[rows].mean()),
        lambda rows: paired_bootstrap_mean(mine[rows], others[rows], samples, seed),
        lambda rows: randomisation_p_mean(mine[rows], others[rows], samples, seed),
    )


def _of_kept(groupings: Groupings | None, kept: list[int]) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """Groups of the sessions that have a target; those that none is left of go."""
    return {
        grouping: {name: mask[kept] for name, mask in masks.items() if mask[kept].any()}
        for grouping, masks in (groupings or {}).items()
    }


def _warm_and_cold(targets: pa.ChunkedArray, kept: list[int], trained: Any) -> dict[str, Rows]:
    met = pc.is_in(targets.take(pa.array(kept, pa.int64())), pa.array(trained)).to_numpy()
    return {"warm": np.flatnonzero(met), "cold": np.flatnonzero(~met)}


def _check_lengths(run: str, *lengths: int) -> None:
    if len(set(lengths)) != 1:
        raise DataError(f"{run}: locales, predictions and targets differ in number: {', '.join(map(str, lengths))}")


def _rows_by_locale(locales: Sequence[str], run: str) -> dict[str, Rows]:
    """Rows of each locale: the paper's six in its order, then others by name."""
    if not locales:
        raise DataError(f"{run}: no session has a target; check that targets and products belong to this run")
    names = np.asarray(locales)
    place = {name: position for position, name in enumerate(LOCALES)}
    known = sorted(set(locales), key=lambda name: (place.get(name, len(place)), name))
    return {name: np.flatnonzero(names == name) for name in known}


def _all_rows(groups: Mapping[str, Rows]) -> Rows:
    return np.arange(sum(len(rows) for rows in groups.values()))


def _compare(
    baseline: str,
    metric: str,
    groups: Mapping[str, Rows],
    num_rows: int,
    score: Callable[[Rows], float],
    interval: Callable[[Rows], Interval],
    p_value: Callable[[Rows], float],
) -> Comparison:
    sets = {OVERALL: np.arange(num_rows), **groups}
    return Comparison(
        baseline,
        metric,
        {name: score(rows) for name, rows in sets.items()},
        {name: interval(rows) for name, rows in sets.items()},
        {name: p_value(rows) for name, rows in sets.items()},
    )


def _result(
    run: str,
    kind: str,
    num_rows: int,
    groups: Mapping[str, Rows],
    metrics_of: Callable[[Rows, str | None], dict[str, float]],
    signatures: Mapping[str, str],
    comparison: Comparison | None,
    partial: bool,
    provenance: Mapping[str, Any] | None,
) -> Result:
    everything = _all_rows(groups)
    by_locale = {name: Scores(len(rows), metrics_of(rows, name)) for name, rows in groups.items()}
    overall = Scores(len(everything), metrics_of(everything, None))
    macro = {
        metric: float(np.mean([scores.metrics[metric] for scores in by_locale.values()])) for metric in overall.metrics
    }
    return Result(
        run=run,
        kind=kind,
        n_sessions=len(everything),
        n_without_target=num_rows - len(everything),
        partial=partial,
        overall=overall,
        macro=macro,
        locales=by_locale,
        signatures=signatures,
        comparison=comparison,
        provenance=dict(provenance or {}),
    )
