"""From predictions and targets in memory to a result: per locale, overall, and beside a baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypedDict, Unpack

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llmrec.errors import DataError
from llmrec.evaluation.bleu import bleu_of, bleu_signature, bleu_stats
from llmrec.evaluation.differences import Added, score_of
from llmrec.evaluation.metrics import MAX_RANKED, metric_by_rank, ranking_metrics, ranks_of_targets
from llmrec.evaluation.parts import PartScorer
from llmrec.evaluation.results import Comparison, Result, Scores
from llmrec.evaluation.runs import Kind
from llmrec.languages import PAPER_BLEU, bleu_tokenizer
from llmrec.schema import LOCALES

__all__ = ["OVERALL", "Scoring", "score_rankings", "score_titles"]

OVERALL: Final = "overall"
Rows = NDArray[np.int64]
Groupings = Mapping[str, Mapping[str, NDArray[np.bool_]]]


class Scoring(TypedDict, total=False):
    """How titles and ranked lists are scored alike.

    Attributes:
        groupings: Grouping to its groups, each a mask of shape ``(S,)``, to score apart.
        partial: Whether these are only the first sessions of a split.
        provenance: How the run was made.
        samples: Resampled test sets of the interval against a baseline; 1,000 where not given.
        seed: Seed of the resampling; 0 where not given.
    """

    groupings: Groupings | None
    partial: bool
    provenance: Mapping[str, Any] | None
    samples: int
    seed: int


def score_titles(
    run: str,
    locales: Sequence[str],
    predictions: Sequence[str],
    targets: Sequence[str | None],
    *,
    baseline: tuple[str, Sequence[str]] | None = None,
    **how: Unpack[Scoring],
) -> Result:
    """Score titles with BLEU (paper §4.3), that of a locale's own tokenizer beside it where it has another.

    Args:
        run: Name of the run in the result.
        locales: ``S`` locales.
        predictions: ``S`` titles.
        targets: ``S`` titles; a session whose target is None or empty is left out and counted.
        baseline: Name and ``S`` titles of a run to stand beside, Last Product Title for instance.
        how: See `Scoring`.

    Raises:
        DataError: the numbers of rows differ, or no session has a target.
    """
    scored = _scored(run, locales, targets, predictions, baseline)
    wanted = [targets[row] or "" for row in scored.kept]
    written = [predictions[row] for row in scored.kept]
    stats = bleu_stats(written, wanted)
    other = None if baseline is None else {"bleu": bleu_stats([baseline[1][row] for row in scored.kept], wanted)}
    scorer = PartScorer({"bleu": stats}, other, *_draws(how))
    compared = None if baseline is None else scorer.comparison(baseline[0], "bleu", scored.sets)
    metrics_of = _title_metrics(written, wanted, stats)
    return replace(
        _result(run, "titles", scored, metrics_of, compared, how),
        signatures=_signatures(scored.groups),
        breakdowns=scorer.break_down(_of_kept(how.get("groupings"), scored.kept)),
    )


def _draws(how: Scoring) -> tuple[int, int]:
    return how.get("samples", 1000), how.get("seed", 0)


def _title_metrics(
    written: Sequence[str], wanted: Sequence[str], stats: NDArray[np.int64]
) -> Callable[[Rows, str | None], dict[str, float]]:
    exact = np.array([left == right for left, right in zip(written, wanted, strict=True)], dtype=np.float64)

    def metrics_of(rows: Rows, locale: str | None) -> dict[str, float]:
        bleu = bleu_of(stats[rows].sum(axis=0))
        values = {"bleu": bleu.score}
        tokenize = PAPER_BLEU if locale is None else bleu_tokenizer(locale)
        if tokenize != PAPER_BLEU:
            counts = bleu_stats([written[row] for row in rows], [wanted[row] for row in rows], tokenize)
            values[f"bleu_{tokenize}"] = bleu_of(counts.sum(axis=0), tokenize).score
        return {
            **values,
            "brevity_penalty": bleu.brevity_penalty,
            "length_ratio": bleu.length_ratio,
            "exact_match": float(exact[rows].mean()),
        }

    return metrics_of


def _signatures(groups: Mapping[str, Rows]) -> dict[str, str]:
    beside = {tokenize for locale in groups if (tokenize := bleu_tokenizer(locale)) != PAPER_BLEU}
    return {"bleu": bleu_signature(), **{f"bleu_{one}": bleu_signature(one) for one in sorted(beside)}}


def score_rankings(
    run: str,
    locales: Sequence[str],
    ranked: pa.ChunkedArray,
    targets: pa.ChunkedArray,
    *,
    baseline: tuple[str, pa.ChunkedArray] | None = None,
    novelty: Mapping[str, NDArray[np.bool_]] | None = None,
    hits: Sequence[int] = (),
    cutoffs: Sequence[int] = (),
    **how: Unpack[Scoring],
) -> Result:
    """Score ranked lists with MRR, Recall and NDCG @100 (paper §4.1).

    Args:
        run: Name of the run in the result and in error messages.
        locales: ``S`` locales.
        ranked: ``S`` lists of distinct ids, best first.
        targets: ``S`` ids; a session whose target is null or empty is left out and counted.
        baseline: Name and ``S`` ranked lists of a run to stand beside.
        novelty: ``warm`` and ``cold`` sessions, each a mask of shape ``(S,)``; None: they are not told apart.
        hits: More cutoffs K to report Hit@K at (paper, Eq. 2).
        cutoffs: More cutoffs K to report every metric of ranked lists at.
        how: See `Scoring`.

    Raises:
        DataError: the numbers of rows differ, a list is too long or holds an id twice, or no session has a target.
    """
    scored = _scored(run, locales, targets.to_pylist(), ranked, baseline)
    places = [MAX_RANKED, *sorted({*cutoffs} - {MAX_RANKED})]
    names = [f"{name}@{place}" for place in places for name in ranking_metrics()]
    names += [f"hit@{place}" for place in sorted({*hits})]
    tables = {name: metric_by_rank(name) for name in names}

    def added_by(source: str, lists: pa.ChunkedArray) -> dict[str, Added]:
        ranks = ranks_of_targets(lists, targets, source)[scored.kept]
        return {name: table[ranks] for name, table in tables.items()}

    ours = added_by(run, ranked)
    scorer = PartScorer(ours, None if baseline is None else added_by(*baseline), *_draws(how))
    known = {}
    if novelty is not None:
        none = np.zeros(scored.num_rows, dtype=np.bool_)
        known = {part: np.flatnonzero(novelty.get(part, none)[scored.kept]) for part in ("warm", "cold")}
    compared = None
    if baseline is not None:
        held = {**scored.sets, **{part: rows for part, rows in known.items() if len(rows)}}
        compared = scorer.comparison(baseline[0], names[0], held)
    parts = {} if novelty is None else {"all": np.arange(len(scored.kept)), **known}

    def metrics_of(rows: Rows, _: str | None) -> dict[str, float]:
        return {name: score_of(added[rows]) for name, added in ours.items()}

    return replace(
        _result(run, "ranking", scored, metrics_of, compared, how),
        parts={part: scorer.part(rows) for part, rows in parts.items()},
        breakdowns=scorer.break_down(_of_kept(how.get("groupings"), scored.kept)),
    )


def _of_kept(groupings: Groupings | None, kept: list[int]) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """Groups of the sessions that have a target; those that none is left of go."""
    return {
        grouping: {name: mask[kept] for name, mask in masks.items() if mask[kept].any()}
        for grouping, masks in (groupings or {}).items()
    }


@dataclass(frozen=True)
class _Scored:
    """Which sessions are scored: rows that have a target, of the ``num_rows`` of the run, and places among them."""

    num_rows: int
    kept: list[int]
    groups: Mapping[str, Rows]

    @property
    def sets(self) -> dict[str, Rows]:
        return {OVERALL: np.arange(len(self.kept)), **self.groups}


def _scored(
    run: str, locales: Sequence[str], targets: Sequence[Any], predictions: Any, baseline: tuple[str, Any] | None
) -> _Scored:
    """Sessions with a target, and those of each locale: the paper's six in its order, then others by name."""
    lengths = [len(locales), len(predictions), len(targets), *([len(baseline[1])] if baseline else [])]
    if len(set(lengths)) != 1:
        raise DataError(f"{run}: locales, predictions and targets differ in number: {', '.join(map(str, lengths))}")
    kept = [row for row, target in enumerate(targets) if target]
    if not kept:
        raise DataError(f"{run}: no session has a target; check that targets and products belong to this run")
    names = np.asarray([locales[row] for row in kept])
    place = {name: position for position, name in enumerate(LOCALES)}
    known = sorted(set(names.tolist()), key=lambda name: (place.get(name, len(place)), name))
    return _Scored(len(targets), kept, {name: np.flatnonzero(names == name) for name in known})


def _result(
    run: str,
    kind: Kind,
    scored: _Scored,
    metrics_of: Callable[[Rows, str | None], dict[str, float]],
    compared: Comparison | None,
    how: Scoring,
) -> Result:
    by_locale = {name: Scores(len(rows), metrics_of(rows, name)) for name, rows in scored.groups.items()}
    overall = Scores(len(scored.kept), metrics_of(scored.sets[OVERALL], None))
    return Result(
        run=run,
        kind=kind,
        n_sessions=len(scored.kept),
        n_without_target=scored.num_rows - len(scored.kept),
        partial=how.get("partial", False),
        overall=overall,
        macro={
            metric: float(np.mean([scores.metrics[metric] for scores in by_locale.values()]))
            for metric in overall.metrics
        },
        locales=by_locale,
        comparison=compared,
        provenance=dict(how.get("provenance") or {}),
    )
