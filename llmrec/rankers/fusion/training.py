"""Training examples of labelled sessions: sources and counts are made anew for each fold, without its labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Floats, Ints
from llmrec.console import track
from llmrec.data.holdout import groups_of_sequences
from llmrec.processes import map_in_threads, thread_count
from llmrec.ragged import offsets_of
from llmrec.rankers.base import CHUNK, Seen
from llmrec.rankers.fusion.candidate_features.features import FeatureContext, build_features, feature_names
from llmrec.rankers.fusion.candidates import Candidates, find_candidates
from llmrec.rankers.fusion.settings import FusionSettings
from llmrec.rankers.fusion.trees import Examples, Trees
from llmrec.rankers.sessions import CodedSessions
from llmrec.within import order_within

__all__ = [
    "Fold",
    "ValidationExamples",
    "draw_folds",
    "families",
    "fold_context",
    "fold_examples",
    "known_to_fold",
    "left_out_at_once",
    "order_scores",
    "repeats",
    "target_ranks",
    "with_last_as_label",
]


NUM_VALIDATION: Final = 4_000  # sessions of a fold that keep every candidate, to judge on


@dataclass(frozen=True)
class ValidationExamples:
    """Sessions with all their candidates, to judge trees on that have not learnt from them.

    Attributes:
        features: Shape ``(C, F)``.
        candidates: The candidates.
        targets: Shape ``(S,)``; each session's target.
    """

    features: Floats
    candidates: Candidates
    targets: Ints


@dataclass(frozen=True, eq=False)
class Fold:
    """Examples of a fold's sessions, and some of them whole.

    Attributes:
        names: Names of the features.
        examples: To learn from; sessions whose target is not among their candidates have nothing to teach.
        judged: To judge on; None where it was not asked for.
        num_sessions: Sessions of the fold.
        found: How many of them have their target among the candidates.
        sessions: Shape ``(S,)``; their rows among the training sessions; those to judge on are the first of them.
    """

    names: list[str]
    examples: Examples
    judged: ValidationExamples | None
    num_sessions: int
    found: int
    sessions: Ints


def with_last_as_label(training: CodedSessions, repeated: bool = False) -> CodedSessions:
    """Bare sessions as labelled ones: those of three items or more whose last one is new to them; as is where labelled.

    What such labels say differs from a ``next_item``: a session may have gone on. With ``repeated``, the last one need
    not be new.
    """
    if training.labelled is not None and training.labelled.any():
        return training
    rows = training.rows
    times = np.bincount(rows[training.items == training.ends[rows]], minlength=len(training))
    return replace(training, labelled=(training.lengths > 2) & ((times == 1) | repeated))


def draw_folds(training: CodedSessions, settings: FusionSettings, family: Ints | None = None) -> list[Ints]:
    """Labelled sessions of at least two items, at most ``max_sessions``, in parts of nearly equal size.

    With ``family``, the group of each session, those of one group are in one part. A part stands in drawn order: its
    first sessions are judged, and in the order of a file they would be of one locale.
    """
    rows = np.random.default_rng(settings.seed).permutation(
        np.flatnonzero(training.with_label & (training.lengths > 1))
    )
    rows = rows[: settings.max_sessions]
    parts = min(settings.folds, max(1, len(rows)))
    if family is None:
        return [part for part in np.array_split(rows, parts) if len(part)]
    _, numbers = np.unique(family[rows], return_inverse=True)
    order = np.random.default_rng(settings.seed).permutation(int(numbers.max(initial=0)) + 1)
    place = order[numbers] % parts
    return [rows[place == part] for part in np.unique(place)]


def families(training: CodedSessions) -> Ints:
    """Group of each session, shape ``(S,)``, as `llmrec.data.holdout.continued_groups` tells them apart."""
    items, offsets = training.items.tolist(), training.offsets.tolist()
    whole = [tuple(items[first:last]) for first, last in pairwise(offsets)]
    longest = int((training.lengths - training.with_label).max(initial=0))
    return groups_of_sequences(whole, training.locales.tolist(), longest)


def known_to_fold(training: CodedSessions, fold: Ints, transductive: bool, family: Ints | None = None) -> CodedSessions:
    """What a fold's features may be made from: the other sessions, and its own without their targets.

    A session to rank for is in the counts by its prefix where use is transductive, and not at all where it is not; a
    training session is treated alike. With ``family``, the group of each session, all of the fold's groups are its own.
    """
    inside = np.zeros(len(training), dtype=np.bool_)
    inside[fold] = True
    if family is not None:
        inside = np.isin(family, family[fold])
    if not transductive:
        return training.take(np.flatnonzero(~inside))
    return training.without_last(inside if training.labelled is None else inside & training.labelled)


def left_out_at_once(training: CodedSessions, folds: Sequence[Ints]) -> bool:
    """Whether all folds together are no larger than one would be if every labelled session taught.

    Then counts without any of their labels are as rich as those that leave one fold out, and are made once.
    """
    return sum(map(len, folds)) * len(folds) <= int(training.with_label.sum())


def fold_context(
    training: CodedSessions,
    fold: Ints,
    settings: FusionSettings,
    learn: Callable[[CodedSessions], FeatureContext],
    rng: np.random.Generator,
    family: Ints | None = None,
) -> FeatureContext | None:
    """Sources and counts without the labels of some sessions; None where nothing is left to learn them from.

    Args:
        training: All training sessions.
        fold: Rows of the sessions.
        settings: Settings.
        learn: Fits sources and counts on sessions.
        rng: Draws the targets that turn cold.
        family: Group of each session where whole groups are kept out of what may be known.
    """
    known = known_to_fold(training, fold, settings.transductive, family)
    if settings.cold_share:
        wanted = np.unique(training.take(fold).ends)
        known = known.without_items(wanted[rng.random(len(wanted)) < settings.cold_share])
    return learn(known) if len(known.items) else None


def repeats(training: CodedSessions) -> float:
    """Share of the labelled sessions that hold their target before; above 0, seen items must be ranked in training."""
    labelled = training.take(np.flatnonzero(training.with_label))
    again = (labelled.items == labelled.ends[labelled.rows]) & (labelled.ages > 0)
    return len(np.unique(labelled.rows[again])) / max(1, len(labelled))


def fold_examples(
    training: CodedSessions,
    fold: Ints,
    context: FeatureContext,
    settings: FusionSettings,
    groups: Sequence[str],
    seen: Seen,
    judge: bool,
    rng: np.random.Generator,
) -> Fold:
    """Make the examples of one fold.

    Args:
        training: All training sessions.
        fold: Rows of the fold's sessions.
        context: What `fold_context` gave.
        settings: Settings.
        groups: Feature groups.
        seen: Whether a session's own items are among its candidates.
        judge: Whether to keep sessions whole.
        rng: Draws the negatives.
    """
    sessions = training.take(fold)
    targets = sessions.ends
    prefixes = sessions.without_last()
    width = len(feature_names(context, groups))
    parts, whole, names = [_no_examples(width)], [], feature_names(context, groups)
    threads = thread_count(settings.threads)
    for many in track(range(0, len(fold), threads * CHUNK), "features", -(-len(fold) // (threads * CHUNK))):
        starts = range(many, min(many + threads * CHUNK, len(fold)), CHUNK)
        made = map_in_threads(
            lambda start: _chunk(context, prefixes.slice(start, CHUNK), settings, groups, seen), starts, threads
        )
        for start, (found, features) in zip(starts, made, strict=True):
            wanted = targets[start : start + CHUNK]
            parts.append(_sampled(found, features, wanted, settings.negatives, rng))
            if judge and start + CHUNK <= max(CHUNK, NUM_VALIDATION):
                whole.append(ValidationExamples(features, found, wanted))
    examples = Examples.joined(parts)
    judged = _joined(whole) if whole else None
    return Fold(names, examples, judged, len(fold), int(examples.labels.sum()), fold)


def learning_bytes(first: Fold, settings: FusionSettings, sessions: int) -> int:
    """What learning from so many labelled sessions takes, by its first fold: examples of all folds, those of one model
    in one piece beside them and in LightGBM's bins of a byte, and each thread's candidates with those judged on.
    """
    features = first.examples.features
    examples = features.nbytes / max(1, first.num_sessions) * sessions
    candidate = features.itemsize * features.shape[1] * settings.candidates
    return int(
        2.25 * examples
        + candidate
        * (2 * CHUNK * thread_count(settings.threads) + settings.boosters * min(NUM_VALIDATION, first.num_sessions))
    )


def _chunk(
    context: FeatureContext, sessions: CodedSessions, settings: FusionSettings, groups: Sequence[str], seen: Seen
) -> tuple[Candidates, Floats]:
    sources = list(context.sources.values())
    found = find_candidates(sources, sessions, settings.depth, settings.candidates, seen)
    return found, build_features(context, sessions, found, groups)[1]


def _no_examples(width: int) -> Examples:
    empty = np.zeros(0, dtype=np.float32)
    return Examples(np.zeros((0, width), np.float32), empty.astype(np.int8), empty.astype(np.int64), empty)


def _sampled(found: Candidates, features: Floats, targets: Ints, negatives: int, rng: np.random.Generator) -> Examples:
    """The target and ``negatives`` others of each session: half of them the best by prior, half drawn from the rest.

    Those that are drawn stand for all that could have been, and weigh so much.
    """
    label = found.codes == targets[found.rows]
    taught = np.zeros(len(targets), dtype=np.bool_)
    taught[found.rows[label]] = True
    usable = np.flatnonzero(taught[found.rows])
    best = negatives // 2
    # target first, then by falling prior
    by_prior, place = order_within(found.rows[usable], np.where(label, np.inf, found.prior)[usable])
    order = usable[by_prior]
    rest = place > best
    draw = rng.random(len(order))
    drawn, nth = order_within(found.rows[order[rest]], -draw[rest], exact=True)
    shuffled = order[rest][drawn]
    own = found.rows[shuffled]
    number = np.bincount(own, minlength=len(targets))
    taken = nth < negatives - best
    weights = np.ones(len(found), dtype=np.float32)
    weights[shuffled] = np.maximum(number[own] / max(1, negatives - best), 1)
    kept = np.sort(np.concatenate([order[~rest], shuffled[taken]]))
    sizes = np.bincount(found.rows[kept], minlength=len(targets))
    return Examples(np.ascontiguousarray(features[kept]), label[kept].astype(np.int8), sizes[sizes > 0], weights[kept])


def _joined(parts: list[ValidationExamples]) -> ValidationExamples:
    """All in one; the list is emptied, and features, which are most of it, go as they are copied."""
    starts = offsets_of([len(part.targets) for part in parts])[:-1]
    found, targets = [part.candidates for part in parts], np.concatenate([part.targets for part in parts])
    rows = np.concatenate([one.rows + start for one, start in zip(found, starts, strict=True)])
    others = (np.concatenate([getattr(one, name) for one in found]) for name in ("codes", "scores", "ranks", "prior"))
    features = np.empty((parts[0].features.shape[1], len(rows)), dtype=np.float32)
    start = 0
    while parts:
        own = parts.pop(0).features.T
        features[:, start : start + own.shape[1]] = own
        start += own.shape[1]
    return ValidationExamples(features.T, Candidates(rows, *others), targets)


def order_scores(trees: Trees, found: Candidates, features: Floats, settings: FusionSettings) -> NDArray[np.float64]:
    """What candidates ``(C,)`` are ordered by, on one thread: whole chunks are what threads share."""
    stages = (settings.first_trees, settings.finalists)
    return trees.staged_scores(found.rows, features, *stages, threads=1)


def target_ranks(judged: ValidationExamples, scores: NDArray[np.floating]) -> Ints:
    """Rank of each session's target by score, shape ``(S,)``, 0 where it is no candidate; ties to the smaller code."""
    rows, codes = judged.candidates.rows, judged.candidates.codes
    order, place = order_within(rows, scores)
    hit = codes[order] == judged.targets[rows[order]]
    ranks = np.zeros(len(judged.targets), dtype=np.int64)
    ranks[rows[order][hit]] = place[hit] + 1
    return ranks
