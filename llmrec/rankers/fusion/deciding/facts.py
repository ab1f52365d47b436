"""Decisions that the training sessions tell by themselves, before anything is fitted."""

from __future__ import annotations

from collections.abc import Collection
from importlib.util import find_spec
from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmrec.rankers.fusion.deciding.decisions import Decision
from llmrec.rankers.fusion.settings import FusionSettings
from llmrec.rankers.fusion.training import repeats
from llmrec.rankers.sessions import CodedSessions

__all__ = ["continued", "decide_grouping", "decide_labels", "decide_parts_by_facts", "decide_seen_by_facts"]

GROUPED: Final = 0.2  # of long sessions that go on from another: 0.59 of `industrial`, whose rows are prefixes; chance
# makes 0.02 of Amazon-M2's
LONG: Final = 4  # items of a session, its label among them; chance makes many a short one the beginning of another
TELLING: Final = 5_000  # labelled sessions: of fewer, two folds of which judge, a scorer's worth drowns in noise
DEAREST: Final = 200_000  # sessions that scorers learn from, all fits together: some minutes
_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)  # odd and large: a polynomial hash of 64 bits
_FARTHEST: Final = 200  # items of a session that are looked at


def decide_labels(settings: FusionSettings, training: CodedSessions) -> list[Decision]:
    """Whether last items are labels: where no session is labelled, and repeated ones unless seen items are dropped."""
    if settings.label_last != "auto":
        return []
    number = int(training.with_label.sum())
    if number:
        return [Decision("label_last", False, f"{number:,} of {len(training):,} sessions have a next_item")]
    value: bool | str = True if settings.seen == "drop" else "any"
    return [Decision("label_last", value, "no session has a next_item, so the last item of three or more is the label")]


def decide_grouping(settings: FusionSettings, training: CodedSessions) -> list[Decision]:
    """Whether sessions that go on from one another stay in one fold: where many long ones do."""
    if settings.grouped != "auto":
        return []
    rows = np.flatnonzero(training.with_label & (training.lengths >= LONG))
    if not len(rows):
        return [Decision("grouped", False, f"no labelled session of {LONG} items or more to go on from another")]
    share = float(continued(training, rows).mean())
    why = f"{share:.1%} of {len(rows):,} sessions of {LONG} items or more go on from another session"
    return [Decision("grouped", share >= GROUPED, why)]


def decide_seen_by_facts(settings: FusionSettings, training: CodedSessions) -> list[Decision]:
    """Drop seen items where no label says otherwise; else it is for the trees to be judged."""
    if settings.seen != "auto":
        return []
    number = int(training.with_label.sum())
    if number and not repeats(training):
        return [Decision("seen", "drop", f"none of {number:,} labels stands in its own session before")]
    return []


def decide_parts_by_facts(
    settings: FusionSettings, training: CodedSessions, without_products: Collection[str] | None
) -> list[Decision]:
    """Leave out what cannot be asked: texts where there are no products, scorers that nobody can judge or afford.

    Args:
        settings: Settings.
        training: Training sessions.
        without_products: Sources that need no products, where there are none; None where there are.
    """
    decisions = []
    if settings.sources == "auto" and without_products is not None:
        decisions.append(Decision("sources", [*without_products], "no --products, so no source reads texts"))
    if settings.scorers == "auto" and (why := _no_scorer(settings, training)):
        decisions.append(Decision("scorers", [], why))
    return decisions


def _no_scorer(settings: FusionSettings, training: CodedSessions) -> str:
    """Why no scorer is tried; empty where one is."""
    number, fits = int(training.with_label.sum()), 1 if settings.transductive else settings.folds + 1
    if number < TELLING:
        return f"too few labelled sessions ({number:,}) to tell what a neural scorer is worth"
    taught = min(len(training), settings.scorer_sessions) * fits
    if taught > DEAREST:
        return f"too dear: a neural scorer would learn {fits} times, from {taught:,} sessions together"
    if not find_spec("torch"):
        return "torch is not installed"
    return ""


def continued(training: CodedSessions, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether all items but the last of some sessions are, in order, a session of the same locale, shape ``(C,)``."""
    number, lengths = len(training), training.lengths
    whole, parent = np.zeros(number, dtype=np.uint64), np.zeros(number, dtype=np.uint64)
    state = (training.locales.astype(np.uint64) + np.uint64(1)) * _FACTOR
    for place in range(min(_FARTHEST, int(lengths.max(initial=0)))):
        long = np.flatnonzero(lengths > place)
        parent[long] = state[long]
        items = training.items[training.offsets[long] + place].astype(np.uint64)
        mixed = (state[long] ^ (items + np.uint64(1))) * _FACTOR
        state[long] = mixed ^ (mixed >> np.uint64(29))
        whole[long] = state[long]
    looked_at = lengths <= _FARTHEST
    found: NDArray[np.bool_] = looked_at[rows] & np.isin(parent[rows], whole[looked_at & (lengths > 0)])
    return found
