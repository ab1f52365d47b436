"""What the selector learns: from folds whose sessions are known to nothing that describes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llmrec.arrays import Ints
from llmrec.console import notice, track
from llmrec.evaluation.bleu import bleu_from_stats
from llmrec.languages import PAPER_BLEU
from llmrec.ragged import Ragged, list_array, offsets_of
from llmrec.rankers.fusion.ranker import Fusion
from llmrec.rankers.fusion.settings import FusionSettings
from llmrec.rankers.fusion.training import Fold, families, known_to_fold
from llmrec.rankers.fusion.trees import Trees, grow_values
from llmrec.rankers.sessions import Sessions, TrainingSessions
from llmrec.selection.choice import Policy, Trial, choose, choose_by_risk, trusted, tune_policy
from llmrec.selection.chunk import Offered, likely_titles, matches_of, offered
from llmrec.selection.hints import hints_of, told_by
from llmrec.selection.linear import prices_at
from llmrec.selection.model_writer import ModelWriter
from llmrec.selection.offers import GivenTitles, last_offers
from llmrec.selection.settings import SelectSettings
from llmrec.selection.survival import Survival, count_survival
from llmrec.selection.table import TitleTable
from llmrec.titles.editing.editor import EditFold, Editor, EditSettings, learn_editor

__all__ = [
    "STAYS",
    "FoldExamples",
    "Learnt",
    "LearntFolds",
    "learn_choice",
    "learn_choices",
    "learn_folds",
    "pooled_stats",
]

Floats = NDArray[np.float64]

STAYS: Final = Policy(prices_at(np.ones((1, 10))), 0.0, np.inf, 0.0)  # the last title, everywhere
_SETTLING: Final = 3  # rounds of choosing at prices and pricing the choice; the third moves nothing


@dataclass(frozen=True)
class FoldExamples:
    """Sessions of one fold: what is known of them without their targets, and the targets' titles.

    Attributes:
        own: Titles of the sessions, oldest first.
        evidence: Titles of likely products.
        survival: How often words survive.
        targets: Titles of the targets.
        taught: Titles and next titles of the sessions that a writer may learn from; None where there is no writer.
    """

    own: Ragged
    evidence: GivenTitles
    survival: Survival
    targets: Ints
    taught: tuple[Ragged, Ints] | None = None


@dataclass(frozen=True)
class LearntFolds:
    """All folds, and what is told of the outcome.

    Attributes:
        parts: The folds.
        with_target: Share of them whose target is among the likely products.
        everything: Titles and next titles of all sessions, where a writer is to learn from them.
    """

    parts: Sequence[FoldExamples]
    with_target: float
    everything: tuple[Ragged, Ints] | None = None


def learn_folds(
    fusion: Fusion, training: TrainingSessions, products: Any, table: TitleTable, writers: Sequence[str] = ()
) -> LearntFolds:
    """Fit the ranker of likely products, and keep what each fold's sessions look like to the trees without them.

    Args:
        fusion: An unfitted ranker with as many boosters as folds.
        training: Sessions to learn from.
        products: Their products.
        table: Titles.
        writers: Names of the writers that are to learn beside it.
    """
    folds = fusion.fit_folds(training, products)
    taught = [fold for fold in folds if fold.found]
    coded = fusion.catalogue.encode_training(training)
    family = families(coded) if fusion.settings.grouped else None
    parts = []
    for place, fold in enumerate(track(taught, "folds", len(taught))):
        if fold.judged is None or fusion.trees is None:
            continue
        model = Trees(fusion.trees.texts[place : place + 1])
        known = known_to_fold(coded, fold.sessions, fusion.settings.transductive, family)
        if fusion.settings.cold_share:
            known = known.without_items(coded.ends[fold.sessions])
        spoken = _decoded(fusion, known)
        whole = table.own_titles(spoken)
        survival = count_survival(table.book, whole)
        rows = fold.sessions[: len(fold.judged.targets)]
        examples = _fold_examples(fusion, fold, model, training.take(rows), survival, table)
        parts.append(replace(examples, taught=_taught(whole, fusion.settings)) if "edit" in writers else examples)
    found = sum(fold.found for fold in taught) / max(1, sum(f.num_sessions for f in taught))
    every = Sessions(training.sequences, training.locales)
    return LearntFolds(parts, found, _taught(table.own_titles(every), fusion.settings) if "edit" in writers else None)


def _taught(whole: Ragged, settings: FusionSettings) -> tuple[Ragged, Ints]:
    """Titles of sessions but for the last, and the last; of as many sessions, drawn, as anything is learnt from."""
    rows = np.flatnonzero(whole.lengths > 1)
    rows = np.sort(np.random.default_rng(settings.seed).permutation(rows)[: settings.max_sessions])
    some = whole.take(rows)
    return some.without_last(), some.ends


def _fold_examples(
    fusion: Fusion, fold: Fold, model: Trees, sessions: TrainingSessions, survival: Survival, table: TitleTable
) -> FoldExamples:
    judged = fold.judged
    if judged is None:
        raise ValueError("a fold without sessions to judge on")
    scores = model.scores(judged.features, fusion.settings.threads)
    depth = fusion.settings.candidates
    ids = fusion.catalogue.vocabulary.ids
    evidence = likely_titles(judged.candidates, scores, ids, sessions.locales, table, depth)
    targets = table.titles_of(sessions.locales, ids.take(pa.array(judged.targets)))
    return FoldExamples(table.own_titles(sessions.without_last()[0]), evidence, survival, targets)


def _decoded(fusion: Fusion, coded: Any) -> Sessions:
    """Training sessions as ids again."""
    names = pa.array([*fusion.catalogue.locales, ""], pa.string())
    lists = list_array(coded.offsets, fusion.catalogue.vocabulary.decode(coded.items))
    return Sessions(lists, names.take(pa.array(coded.locales)))


@dataclass(frozen=True)
class Learnt:
    """What `learn_choice` gives.

    Attributes:
        trees: What adds to the worth of titles; None where there was nothing to learn from.
        policy: How to choose.
        estimate: How it did on sessions that the trees had not seen.
        stats: Shape ``(S, 10)``; BLEU's statistics there, None where there was nothing to learn from.
        editor: What writes titles to choose from, if one is asked.
    """

    trees: Trees | None
    policy: Policy
    estimate: dict[str, Any]
    stats: Floats | None = None
    editor: Editor | None = None


def learn_choice(
    learnt: LearntFolds, table: TitleTable, settings: SelectSettings, writer: ModelWriter | None = None
) -> Learnt:
    """Learn what titles are worth, each fold judged by trees of the others, and tune the choice on all of them.

    Args:
        learnt: Folds of sessions whose targets have titles, all counted by one tokenizer.
        table: Titles.
        settings: Settings.
        writer: A language model beside it.
    """
    if len(learnt.parts) < 2:  # nothing is left to judge one by the others
        notice("select: no session to learn the choice from; the last title stays")
        return Learnt(None, STAYS, {})
    editor, offers = _offers(learnt, table, settings, writer)
    trial = _trial(offers, learnt.parts, table)
    expected = np.concatenate([one.expected for one in offers])
    prices = prices_at(trial.stats(trial.last))
    for _ in range(_SETTLING):
        token = float(prices.written.sum())
        chosen = choose_by_risk(trial, expected, prices, token)
        prices = prices_at(trial.stats(chosen))
    described = [one.features(part.survival, prices) for one, part in zip(offers, learnt.parts, strict=True)]
    lacking = prices.worth(trial.matches) - prices.worth(expected)
    texts, added = _cross_fitted(described, lacking, settings)
    policy, gain = tune_policy(trial, expected, added, prices, seed=settings.seed)
    by_risk, risk_gain = tune_policy(trial, expected, added, prices, (0.0,), settings.seed)
    estimate = _estimate(trial, expected, added, policy) | {
        "gain": [gain.difference, gain.low, gain.high],
        "by_risk_alone": _bleu(trial, expected, added, by_risk),
        "by_risk_gain": [risk_gain.difference, risk_gain.low, risk_gain.high],
        "target_proposed": learnt.with_target,
    }
    stats = trial.stats(_chosen(trial, expected, added, policy))
    return Learnt(Trees(texts), policy, estimate, stats, editor)


def _offers(
    learnt: LearntFolds, table: TitleTable, settings: SelectSettings, writer: ModelWriter | None
) -> tuple[Editor | None, list[Offered]]:
    """Offers of each fold, and the editor of some of them."""
    taught = [part.taught for part in learnt.parts if part.taught is not None]
    if writer is not None:
        writer.foretell(table.book, [part.own for part in learnt.parts])
    said = [(table.book, []) if writer is None else writer.sampled(table.book, part.own) for part in learnt.parts]
    share = settings.given_share
    if "edit" not in settings.writers or learnt.everything is None or len(taught) < len(learnt.parts):
        told = zip(learnt.parts, said, strict=True)
        return None, [
            offered(book, part.own, part.evidence, some, settings, share, None, writer) for part, (book, some) in told
        ]
    folds = [
        EditFold(part.own, part.targets, known, told_by(part.evidence))
        for part, known in zip(learnt.parts, taught, strict=True)
    ]
    asked = EditSettings(folds=len(folds), seed=settings.seed)
    editor, judged = learn_editor(table.book, folds, learnt.everything, asked)
    offers = []
    for part, scored, (known, some) in zip(learnt.parts, judged, said, strict=True):
        book, hints = hints_of(known, editor, scored)
        offers.append(offered(book, part.own, part.evidence, some, settings, share, hints, writer))
    return editor, offers


def learn_choices(
    learnt: LearntFolds, table: TitleTable, settings: SelectSettings, writer: ModelWriter | None = None
) -> dict[str, Learnt]:
    """`learn_choice` for each BLEU tokenizer by itself, the paper's first: their n-grams have no common price."""
    ways = [table.book.ways(part.targets) for part in learnt.parts]
    found = {str(way) for some in ways for way in some if way}
    choices = {}
    for way in sorted(found, key=lambda one: (one != PAPER_BLEU, one)) or [PAPER_BLEU]:
        kept = [_taken(part, np.flatnonzero(some == way)) for part, some in zip(learnt.parts, ways, strict=True)]
        parts = [part for part in kept if len(part.targets)]
        choices[way] = learn_choice(replace(learnt, parts=parts), table, settings, writer)
    return choices


def pooled_stats(choices: Mapping[str, Learnt]) -> Floats | None:
    """BLEU's statistics of all tokenizers together, shape ``(S, 10)``; None where nothing was learnt."""
    known = [one.stats for one in choices.values() if one.stats is not None]
    return np.concatenate(known) if known else None


def _taken(part: FoldExamples, sessions: Ints) -> FoldExamples:
    """Some of its sessions."""
    return FoldExamples(
        part.own.take(sessions), part.evidence.of_sessions(sessions), part.survival, part.targets[sessions], part.taught
    )


def _trial(parts: Sequence[Offered], learnt: Sequence[FoldExamples], table: TitleTable) -> Trial:
    rows, last, matches, sessions, offers = [], [], [], 0, 0
    for one, examples in zip(parts, learnt, strict=True):
        rows.append(one.offers.rows + sessions)
        places = last_offers(one.offers, one.own.ends)
        last.append(np.where(places >= 0, places + offers, -1))
        matches.append(matches_of(one, examples.targets))
        sessions += len(examples.targets)
        offers += len(one.offers)
    targets = np.concatenate([table.book.lengths[examples.targets] for examples in learnt])
    lengths = np.concatenate([one.lengths for one in parts])
    return Trial(np.concatenate(rows), lengths, np.concatenate(matches), np.concatenate(last), targets)


def _cross_fitted(
    parts: Sequence[tuple[list[str], NDArray[np.float32]]], values: Floats, settings: SelectSettings
) -> tuple[list[str], Floats]:
    """A model for each fold, learnt from the others, and what it says of the fold.

    Args:
        parts: Names and features of each fold's offers.
        values: Shape ``(C,)``; what to estimate, of all folds' offers.
        settings: Settings.
    """
    names, features = parts[0][0], np.concatenate([part for _, part in parts])
    bounds = offsets_of([len(part) for _, part in parts])
    texts, estimates = [], np.zeros(len(values))
    for place in track(range(len(parts)), "choice", len(parts)):
        inside = np.zeros(len(values), dtype=np.bool_)
        inside[bounds[place] : bounds[place + 1]] = True
        others = ~inside
        seed = settings.seed + place
        texts.append(grow_values(features[others], values[others], names, settings, settings.choice_rounds, seed))
        estimates[inside] = Trees(texts[-1:]).scores(features[inside], settings.threads)
    return texts, estimates


def _chosen(trial: Trial, expected: Floats, added: Floats, policy: Policy) -> Ints:
    return choose(trial.rows, trial.lengths, trusted(expected, added, policy), trial.last, policy)


def _bleu(trial: Trial, expected: Floats, added: Floats, policy: Policy) -> float:
    return float(bleu_from_stats(trial.stats(_chosen(trial, expected, added, policy)).sum(axis=0)))


def _estimate(trial: Trial, expected: Floats, added: Floats, policy: Policy) -> dict[str, Any]:
    chosen = _chosen(trial, expected, added, policy)
    stats = trial.stats(chosen)
    value = policy.prices.worth(trial.matches)
    oracle = choose(trial.rows, trial.lengths, value, trial.last, replace(policy, margin=-np.inf))
    return {
        "sessions": len(trial.targets),
        "bleu": float(bleu_from_stats(stats.sum(axis=0))),
        "last_title": float(bleu_from_stats(trial.stats(trial.last).sum(axis=0))),
        "oracle": float(bleu_from_stats(trial.stats(oracle).sum(axis=0))),
        "length_ratio": float(stats[:, 8].sum() / max(1.0, stats[:, 9].sum())),
        "changed": float((chosen != trial.last).mean()),
        "trust": policy.trust,
        "length_price": policy.length_price / float(policy.prices.written.sum()),
        "margin": policy.margin if np.isfinite(policy.margin) else None,
    }
