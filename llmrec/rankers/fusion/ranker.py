"""`Fusion`: many rankers propose, trees decide."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Floats, Ints
from llmrec.console import notice
from llmrec.errors import ModelError
from llmrec.memory import free_memory, largest_fitting, require_memory
from llmrec.processes import map_in_threads, thread_count
from llmrec.rankers.attributes import FEATURE_COLUMNS
from llmrec.rankers.base import Ranker, Seen
from llmrec.rankers.catalogue import catalogue_and_codes
from llmrec.rankers.fusion.candidate_features.feature_counts import FeatureCounts
from llmrec.rankers.fusion.candidate_features.features import FeatureContext, build_features, feature_names
from llmrec.rankers.fusion.candidate_features.product_features import ProductFacts
from llmrec.rankers.fusion.candidates import Candidates, find_candidates
from llmrec.rankers.fusion.deciding.decisions import Decision, decided, undecided
from llmrec.rankers.fusion.deciding.facts import (
    decide_grouping,
    decide_labels,
    decide_parts_by_facts,
    decide_seen_by_facts,
)
from llmrec.rankers.fusion.deciding.judging import (
    decide_cold_bonus,
    decide_parts,
    decide_seen,
    parts_are_open,
    ranks_without_seen,
)
from llmrec.rankers.fusion.deciding.parts import without_parts
from llmrec.rankers.fusion.saved_models import (
    SCORERS,
    SOURCES,
    read_report,
    read_scorers,
    read_sources,
    write_parts,
)
from llmrec.rankers.fusion.settings import FusionSettings
from llmrec.rankers.fusion.sources import active_groups, active_sources, fit_context, learn_shared, make_sources
from llmrec.rankers.fusion.training import (
    Fold,
    ValidationExamples,
    draw_folds,
    families,
    fold_context,
    fold_examples,
    learning_bytes,
    left_out_at_once,
    order_scores,
    repeats,
    target_ranks,
    with_last_as_label,
)
from llmrec.rankers.fusion.trees import Examples, Trees, grow_trees, with_bonus
from llmrec.rankers.sessions import CodedSessions, TrainingSessions
from llmrec.records import record_text
from llmrec.within import top_k_candidates

__all__ = ["Fusion"]


IMPORTANCES: Final = "importances.json"
TRIED: Final = 3  # sessions that a scorer may time before it is asked for all
PART: Final = 256  # sessions ranked at once: what is made of more would leave a processor's cache
_STEPS: Final = 1 << 12  # scores are whole multiples of 1/4,096, so that what differs in the last bit ties


def _ask_for_memory(first: Fold, settings: FusionSettings, sessions: int) -> None:
    """Refuse to learn from more labelled sessions than memory holds; the first fold has shown what they take."""
    needed, free = partial(learning_bytes, first, settings), free_memory()
    if needed(sessions) > free.size:
        fitting = largest_fitting(sessions, needed, free)
        hint = f"what fits: --set max_sessions={fitting}" if fitting else "give fewer --set candidates"
        require_memory(f"fusion's learning from {sessions:,} sessions", needed(sessions), free, hint)


class Fusion(Ranker[FusionSettings]):
    """Candidates of several rankers, ordered by gradient-boosted trees that read how session, item and pair fit.

    The features of a labelled training session are made from sources and counts that are learnt anew for each fold,
    without the labels of its sessions. Another session that holds the same label still tells it: ``grouped`` keeps
    sessions that go on from one another in one fold. Where there is nothing to learn an order from (no labelled
    session, or no target among the candidates), candidates are ordered by the sum of ``1 / (20 + rank)``.

    Attributes:
        context: Sources and counts, of all training sessions.
        trees: Fitted trees; None where there was nothing to learn from.
        estimate: ``mrr@100``, ``recall@100`` and ``candidate_recall`` on training sessions whose labels neither
            trees nor counts read, and their number; empty where there was none.
        decisions: What was decided where a setting was ``auto``; `settings` hold the values.
    """

    name = "fusion"
    settings_class = FusionSettings
    product_columns = FEATURE_COLUMNS
    ranks_cold = True
    keeps = "trees"
    context: FeatureContext
    trees: Trees | None
    estimate: dict[str, float]
    decisions: tuple[Decision, ...] = ()

    @property
    def seen_by_default(self) -> Seen:
        """What its lists do with a session's own items where nobody says it."""
        return "keep" if self.settings.seen == "keep" else "drop"

    def made_by(self, k: int, seen: Seen | None = None) -> dict[str, Any]:
        """As every ranker's, with what names the weights of a language model among the scorers."""
        weights = {name: one.weights for name, one in self.context.scorers.items() if hasattr(one, "weights")}
        return super().made_by(k, seen) | ({"scorer_weights": weights} if weights else {})

    def _fit(self, training: CodedSessions, products: Any, folder: Path | None, resume: bool) -> None:  # noqa: ARG002
        self._fit_folds(training, products, keep=False)

    def _take_in(self, earlier: Self, training: CodedSessions, start: int, places: Ints, products: Any) -> None:
        """Fit sources and counts on all sessions, and keep the trees; errors as `fit_context`.

        Raises:
            ModelError: the trees read what a source tells that has nothing to propose any more.
        """
        del start, places
        coded = self._labelled(training)
        self.context = self._learner(coded, products)(coded)
        self.trees, self.estimate, self.decisions = earlier.trees, earlier.estimate, earlier.decisions
        names = feature_names(self.context, active_groups(self.settings))
        if self.trees is not None and self.trees.feature_names() != names:
            raise ModelError("fusion: its trees read other features than its sources give now; grow them with --refit")

    def fit_folds(self, training: TrainingSessions, products: Any = None) -> list[Fold]:
        """`fit`, and the folds that it learnt from, for what goes on learning from what this ranker does not know.

        Where ``boosters`` equals the number of folds that hold an example, model ``i`` is the one that has not seen
        the ``i``-th of these.
        """
        self.catalogue, coded = catalogue_and_codes(training, products, cold=True)
        return self._fit_folds(coded, products, keep=True)

    def _fit_folds(self, training: CodedSessions, products: Any, *, keep: bool) -> list[Fold]:
        training = self._decided_first(training, products)
        learn = self._learner(training, products)
        folds = self._folds(training, learn)
        self._learn_order(folds, training)
        if not keep:
            folds = []  # their memory goes before the last counts take theirs
        self.context = learn(training)
        return folds

    def folds_of(self, training: TrainingSessions, products: Any = None) -> list[Fold]:
        """The examples that `fit` would learn from, the first folds with sessions to judge on."""
        self.catalogue, coded = catalogue_and_codes(training, products, cold=True)
        coded = self._decided_first(coded, products)
        return self._folds(coded, self._learner(coded, products))

    def _decided_first(self, training: CodedSessions, products: Any) -> CodedSessions:
        """Training sessions with their labels, after the decisions that need nothing else."""
        self.settings, self.decisions = undecided(self.settings, self.decisions), ()
        self._decide(decide_labels(self.settings, training))
        training = self._labelled(training)
        self._decide(decide_grouping(self.settings, training))
        self._decide(decide_seen_by_facts(self.settings, training))
        untexted = None if products is not None else [*make_sources(self.settings, None)]
        self._decide(decide_parts_by_facts(self.settings, training, untexted))
        return training

    def _decide(self, decisions: Sequence[Decision]) -> None:
        self.settings, self.decisions = decided(self.settings, decisions), (*self.decisions, *decisions)
        for one in decisions:
            notice(f"fusion decides {one.told()}")

    def _labelled(self, training: CodedSessions) -> CodedSessions:
        label_last = self.settings.label_last
        return with_last_as_label(training, repeated=label_last == "any") if label_last else training

    def _learner(self, training: CodedSessions, products: Any) -> Callable[[CodedSessions], FeatureContext]:
        made = make_sources(self.settings, products)  # a wrong name is told at once
        for name in active_sources(self.settings):
            if name not in made:
                notice(f"fusion: no --products, so '{name}' proposes nothing")
        facts = ProductFacts.of(products, self.catalogue.vocabulary)
        shared = learn_shared(self.settings, self.catalogue, training, products)
        return lambda known: fit_context(self.settings, self.catalogue, known, products, facts, shared)

    def _folds(self, training: CodedSessions, learn: Callable[[CodedSessions], FeatureContext]) -> list[Fold]:
        seen: Seen = "keep" if repeats(training) else "drop"
        rng = np.random.default_rng(self.settings.seed)
        family = families(training) if self.settings.grouped else None
        rows = draw_folds(training, self.settings, family)
        at_once = left_out_at_once(training, rows)
        folds: list[Fold] = []
        context: FeatureContext | None = None
        for place, one in enumerate(rows):
            if not at_once or context is None:
                context = None  # its memory goes before the next one's is taken
                left_out = np.concatenate(rows) if at_once else one
                context = fold_context(training, left_out, self.settings, learn, rng, family)
            if context is None:
                continue
            if not folds:
                some, all_sessions = training.take(one[:TRIED]).without_last(), sum(map(len, rows))
                for scorer in context.scorers.values():
                    scorer.foretell(some, all_sessions)
            judge = len(rows) > 1 and place < self.settings.boosters
            groups = active_groups(self.settings)
            made = fold_examples(training, one, context, self.settings, groups, seen, judge, rng)
            if not folds:
                _ask_for_memory(made, self.settings, sum(map(len, rows)))
            folds.append(made)
            notice(f"fold {place + 1} of {len(rows)}: {made.found:,} of {made.num_sessions:,} targets proposed")
            if parts_are_open(self.settings) and sum(one.found > 0 for one in folds) > 1:
                before = self._decide_parts(folds)
                if self.settings.source_names != before.source_names:
                    context = None
                    return self._folds(training, learn)
                dropped = {*before.scorer_names} - {*self.settings.scorer_names}
                folds = [without_parts(one, dropped) for one in folds]
                kept = {name: one for name, one in context.scorers.items() if name not in dropped}
                context = replace(context, scorers=kept)  # it may serve the other folds too
        if parts_are_open(self.settings):
            self._decide_parts(folds)
        return folds

    def _decide_parts(self, folds: list[Fold]) -> FusionSettings:
        """Decide on sources and scorers; the settings of before are given back."""
        before, untexted = self.settings, make_sources(self.settings, None)
        texts = [name for name in active_sources(before) if name not in untexted]
        self._decide(decide_parts(before, folds, texts))
        return before

    def _learn_order(self, folds: Sequence[Fold], training: CodedSessions) -> None:
        self.trees, self.estimate = None, {}
        taught = [fold for fold in folds if fold.found]
        if not taught:
            notice("fusion: no labelled session's target is among its candidates; they stand by their ranks alone")
            self._decide(decide_cold_bonus(self.settings, []))
            self._decide(decide_seen(self.settings, training, [], []))
            return
        texts: list[str] = []
        judged: list[tuple[str, Fold, ValidationExamples]] = []
        for place in range(self.settings.boosters):
            left_out = taught[place % len(taught)]
            others = [fold for fold in taught if fold is not left_out] or taught
            examples = Examples.joined([fold.examples for fold in others])
            texts.append(grow_trees(examples, left_out.names, self.settings, self.settings.seed + place))
            if left_out.judged is not None and left_out not in others and place < len(taught):
                judged.append((texts[-1], left_out, left_out.judged))
        self._decide(decide_cold_bonus(self.settings, [(text, fold.names, whole) for text, fold, whole in judged]))
        bonus = float(self.settings.cold_bonus)
        texts = [with_bonus(text, bonus) for text in texts]
        ranks, without_seen = [], []
        for text, fold, whole in judged:
            scores = order_scores(Trees([with_bonus(text, bonus)]), whole.candidates, whole.features, self.settings)
            ranks.append(target_ranks(whole, scores))
            prefixes = training.take(fold.sessions[: len(whole.targets)]).without_last()
            without_seen.append(ranks_without_seen(whole, scores, prefixes, len(self.catalogue.vocabulary)))
        self.trees = Trees(texts)
        open_before = self.settings.seen == "auto"
        self._decide(decide_seen(self.settings, training, ranks, without_seen))
        if open_before and self.seen_by_default == "drop":
            ranks = without_seen
        if ranks:
            self.estimate = _estimate(np.concatenate(ranks), taught)
            parts = [f"{name} {value:.4f}" for name, value in self.estimate.items() if name != "sessions"]
            notice(f"out of fold, {int(self.estimate['sessions']):,} sessions: {', '.join(parts)}")

    def _rank_coded(self, sessions: CodedSessions, k: int, seen: Seen) -> tuple[Ints, Floats]:
        parts = [sessions.slice(start, PART) for start in range(0, max(len(sessions), 1), PART)]
        threads = thread_count(self.settings.threads)
        ranked = map_in_threads(lambda part: self._rank_part(part, k, seen), parts, threads)
        return np.concatenate([codes for codes, _ in ranked]), np.concatenate([scores for _, scores in ranked])

    def _rank_part(self, sessions: CodedSessions, k: int, seen: Seen) -> tuple[Ints, Floats]:
        found, features = self.seen_by_trees(sessions, seen)
        return top_k_candidates(found.rows, found.codes, self.scores(found, features), len(sessions), k)

    def seen_by_trees(self, sessions: CodedSessions, seen: Seen) -> tuple[Candidates, Floats]:
        """Candidates of sessions and their features ``(C, F)``; ``F`` is 0 where there are no trees."""
        settings, sources = self.settings, list(self.context.sources.values())
        found = find_candidates(sources, sessions, settings.depth, settings.candidates, seen)
        if self.trees is None:
            return found, np.zeros((len(found), 0), dtype=np.float32)
        return found, build_features(self.context, sessions, found, active_groups(settings))[1]

    def scores(self, found: Candidates, features: Floats) -> NDArray[np.floating]:
        """What candidates ``(C,)`` are ordered by; higher is better."""
        if self.trees is None or not len(found):
            return found.prior
        scores: NDArray[np.floating] = np.round(order_scores(self.trees, found, features, self.settings) * _STEPS)
        return scores / _STEPS

    def save(self, folder: Path | str) -> None:
        """Write the trees and counts as every ranker, each source's model in ``sources/``, and what splits gain.

        Raises:
            ConfigError: ``folder`` holds something else.
            DiskError: the place cannot be written.
        """
        with self._saved(Path(folder)) as temporary:
            for kind, models in ((SOURCES, self.context.sources), (SCORERS, self.context.scorers)):
                write_parts(temporary, kind, models)
            report: dict[str, Any] = {
                "estimate": self.estimate,
                "importances": self.trees.importances() if self.trees else {},
            }
            report["decisions"] = self.decisions
            (temporary / IMPORTANCES).write_text(record_text(report), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Read what `save` wrote.

        Raises:
            ModelError: nothing of this kind is there, it is damaged, or a source is missing or another than it was
                fitted with.
        """
        folder = Path(folder)
        ranker = super().load(folder)
        ranker.context = replace(
            ranker.context,
            sources=read_sources(folder, ranker.catalogue),
            scorers=read_scorers(folder, ranker.catalogue),
        )
        ranker.estimate, ranker.decisions = read_report(folder / IMPORTANCES)
        names = feature_names(ranker.context, active_groups(ranker.settings))
        if ranker.trees is not None and ranker.trees.feature_names() != names:
            raise ModelError(
                f"{folder}: its trees read other features than this version makes; fit it again with --save"
            )
        return ranker

    def _state(self) -> Mapping[str, NDArray[Any]]:
        products = {} if self.context.products is None else self.context.products.arrays()
        trees = {} if self.trees is None else self.trees.arrays()
        return {**self.context.evidence.arrays(), **products, **trees}

    def _restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        num_items, num_locales = len(self.catalogue.vocabulary), len(self.catalogue.locales)
        evidence = FeatureCounts.from_arrays(arrays, num_items, num_locales)
        facts, numbers = ProductFacts.from_arrays(arrays, num_items), self.catalogue.vocabulary.numbers
        self.context = FeatureContext({}, evidence, facts, numbers, self.settings.history)
        self.trees, self.estimate = Trees.from_arrays(arrays), {}


def _estimate(ranks: Ints, folds: list[Fold]) -> dict[str, float]:
    found = ranks > 0
    hit = found & (ranks <= 100)
    reciprocal = np.where(hit, 1 / np.maximum(ranks, 1), 0.0)
    return {
        "mrr@100": round(float(reciprocal.mean()), 6),
        "recall@100": round(float(hit.mean()), 6),
        "candidate_recall": round(sum(fold.found for fold in folds) / sum(fold.num_sessions for fold in folds), 6),
        "sessions": len(ranks),
    }
