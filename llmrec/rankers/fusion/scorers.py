"""What scores the candidates that the sources propose and proposes none: it learns without any label, or not at all."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol, Self

import numpy as np
import pyarrow as pa

from llmrec.arrays import Bools, Floats, Ints
from llmrec.console import notice
from llmrec.errors import ConfigError, needing
from llmrec.rankers.catalogue import Catalogue, recounted
from llmrec.rankers.fusion.candidates import Candidates
from llmrec.rankers.fusion.settings import FusionSettings
from llmrec.rankers.recipes import ranker_settings, recipe_ranker
from llmrec.rankers.registry import load_ranker, ranker_class
from llmrec.rankers.sessions import CodedSessions
from llmrec.vocabulary import UNKNOWN, Vocabulary

__all__ = ["PairScorer", "Scorer", "frozen_scorers", "learn_scorers", "load_scorer"]


_DECIMALS = 3  # of a score: a batch adds up in another order than a session alone
FROZEN: Final = {  # they learn nothing here; found by name, as an entry point would be, for they stand on rankers
    "llm": "llmrec.reranking.fusion_scorer:TitleScorer"
}


class Scorer(Protocol):
    """What fusion asks of a scorer."""

    def columns(self, sessions: CodedSessions, found: Candidates) -> Mapping[str, Floats]:
        """Features of candidates by name, ``(C,)`` each, ``score`` among them; NaN where it knows nothing."""
        ...

    def foretell(self, sessions: CodedSessions, count: int) -> None:
        """Say what it will cost for ``count`` sessions, where that is much; some are given to try."""
        ...

    def save(self, folder: Path) -> None:
        """Write it."""
        ...


def frozen_scorers(settings: FusionSettings, catalogue: Catalogue, products: Any) -> dict[str, Scorer]:
    """The scorers that learn nothing, by name; empty, with a notice, where they have nothing to read.

    Raises:
        ConfigError: a setting that one needs is missing.
        ModelError: its model cannot be loaded.
    """
    names = [name for name in settings.scorer_names if name in FROZEN and name not in settings.without]
    if names and products is None:
        notice(f"fusion: no --products, so {', '.join(names)} scores nothing")
        return {}
    return {name: _frozen(name).of(settings, catalogue, products) for name in names}


def load_scorer(name: str, folder: Path, catalogue: Catalogue) -> Scorer:
    """Read a scorer.

    Raises:
        ModelError: it is damaged.
    """
    scorer: Scorer = (
        _frozen(name).load(folder, catalogue) if name in FROZEN else PairScorer.load(folder, catalogue.vocabulary)
    )
    return scorer


def _frozen(name: str) -> Any:
    module, _, attribute = FROZEN[name].partition(":")
    with needing("generate"):
        return getattr(importlib.import_module(module), attribute)


@dataclass(frozen=True, eq=False)
class PairScorer:
    """A neural ranker with a catalogue of its own: the items of the sessions that it has learnt from.

    Attributes:
        ranker: The ranker.
        places: Shape ``(N,)``; the ranker's code of each item of the fusion's catalogue, -1 where it has none.
    """

    ranker: Any
    places: Ints

    @classmethod
    def of(cls, ranker: Any, vocabulary: Vocabulary) -> Self:
        """Scorer of a fitted ranker, for another catalogue's codes."""
        own = ranker.catalogue.vocabulary.ids
        places = np.full(len(vocabulary), UNKNOWN)
        known = vocabulary.encode(own)
        inside = known != UNKNOWN
        places[known[inside]] = np.flatnonzero(inside)
        return cls(ranker, places)

    def columns(self, sessions: CodedSessions, found: Candidates) -> Mapping[str, Floats]:
        """The score of each candidate, its part without the item's prior, and that prior."""
        score, product = self.scores(sessions, found.rows, found.codes)
        return {"score": score, "product": product, "prior": score - product}

    def scores(self, sessions: CodedSessions, rows: Ints, codes: Ints) -> Floats:
        """Score of some (session, item) pairs and its part without the item's prior, ``(2, C)``; NaN where unknown."""
        own = self.places[codes]
        known = own != UNKNOWN
        values = np.full((2, len(codes)), np.nan, dtype=np.float32)
        if known.any():
            mapped = self._own_codes(sessions).known()
            values[:, known] = np.round(self.ranker.pair_scores(mapped, rows[known], own[known]), _DECIMALS)
        return values

    def foretell(self, sessions: CodedSessions, count: int) -> None:
        """Nothing: it is quick beside the sources."""

    def save(self, folder: Path) -> None:
        """Write the ranker."""
        self.ranker.save(folder)

    @classmethod
    def load(cls, folder: Path, vocabulary: Vocabulary) -> Self:
        """Read what `save` wrote.

        Raises:
            ModelError: it is damaged.
        """
        return cls.of(load_ranker(folder), vocabulary)

    def _own_codes(self, sessions: CodedSessions) -> CodedSessions:
        return replace(sessions, values=self.places[sessions.items])


def learn_scorers(settings: FusionSettings, catalogue: Catalogue, training: CodedSessions) -> dict[str, PairScorer]:
    """Fit the scorers on sessions without any label, by the name of their recipe.

    Labels taught to them fold by fold made them better by themselves (MRR .377 to .383) and the trees no better.

    A large catalogue that only other locales' or other weeks' sessions hold costs time and says little of the labelled
    ones, so bare sessions teach where at least ``familiar`` of their items stand in a labelled session's prefix; at
    most ``scorer_sessions`` are drawn.

    Raises:
        ConfigError: a recipe is not there, or is not a neural ranker's.
    """
    names = [name for name in settings.scorer_names if name not in settings.without and name not in FROZEN]
    for name in names:
        if not hasattr(ranker_class(recipe_ranker(name)), "pair_scores"):
            raise ConfigError(f"fusion: '{name}' in 'scorers' is no neural ranker; name it in 'sources'")
    if not names or training.labelled is None:
        return {}
    bare = training.without_last(training.labelled)
    rows = _familiar(bare, training.labelled, len(catalogue.vocabulary), settings.familiar)
    part = bare.take(np.sort(np.random.default_rng(settings.seed).permutation(rows)[: settings.scorer_sessions]))
    if not (part.lengths > 1).any():
        notice("fusion: no session of two items to teach the scorers; they are left out")
        return {}
    items = np.unique(part.items)
    coded = replace(part, values=np.searchsorted(items, part.items))
    ids = catalogue.vocabulary.ids.take(pa.array(items))
    own = recounted(Catalogue(Vocabulary(ids), catalogue.locales, None, catalogue.popular), coded)
    scorers = {}
    for name in names:
        ranker = recipe_ranker(name)
        fitted = ranker_class(ranker)(ranker_settings(ranker, name)).fit_coded(own, coded)
        scorers[name] = PairScorer.of(fitted, catalogue.vocabulary)
    return scorers


def _familiar(bare: CodedSessions, labelled: Bools, num_items: int, share: float) -> Ints:
    """Rows of the labelled sessions, and of those of which at least a share of items stands in these."""
    held = np.zeros(num_items, dtype=np.bool_)
    rows = bare.rows
    held[bare.items[labelled[rows]]] = True
    known = np.bincount(rows, weights=held[bare.items], minlength=len(bare))
    return np.flatnonzero((known >= share * bare.lengths) & (bare.lengths > 0))
