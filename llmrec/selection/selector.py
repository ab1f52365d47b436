"""`Selector`: which title comes next, chosen among titles that exist."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llmrec.artefact import Kind
from llmrec.errors import ConfigError, nearest
from llmrec.rankers.base import Seen
from llmrec.rankers.fusion.ranker import Fusion
from llmrec.rankers.fusion.settings import FusionSettings
from llmrec.rankers.fusion.training import repeats
from llmrec.rankers.fusion.trees import Trees
from llmrec.rankers.sessions import Sessions, TrainingSessions
from llmrec.selection.choice import Policy, choose, trusted
from llmrec.selection.chunk import likely_titles, localised, offered
from llmrec.selection.learning import learn_choice, learn_lessons
from llmrec.selection.linear import Prices
from llmrec.selection.ngrams import TitleBook
from llmrec.selection.offers import Evidence, last_offers
from llmrec.selection.settings import ORIGINS, SelectSettings
from llmrec.selection.survival import Survival, count_survival
from llmrec.selection.table import TitleTable
from llmrec.settings import resolve

__all__ = ["SELECTOR", "Selector", "ranker_settings_of"]

SELECTOR: Final = Kind(
    what="selector",
    record="selector.json",
    arrays="selector.safetensors",
    format="llmrec selector",
    keys=("settings", "seen", "estimate", "arrays_sha256"),
    make="make one: llmrec select ... --save {folder}",
    again="make it again: llmrec select ... --save {folder}",
)
RANKER: Final = "ranker"  # folder of the ranker of likely products


class Selector:
    """Session → the title to expect: one of its own, one of a likely product's, or one that a given run names.

    A ranker gives likely products their probabilities. A title's worth is the n-grams that it is expected to share with
    the next one, estimated by trees from that expectation and what else is known; worth less cost decides, and where no
    title is clearly better than the last one, the last one stays.

    Attributes:
        settings: Settings.
        fusion: Ranker of likely products, fitted.
        seen: Whether a session's own items are among the likely products.
        survival: How often words survive.
        trees: What estimates a title's worth; None where there was nothing to learn from.
        policy: How to choose.
        estimate: How it did on training sessions that it had not learnt from.
    """

    fusion: Fusion
    seen: Seen
    survival: Survival
    trees: Trees | None
    policy: Policy
    estimate: dict[str, Any]

    def __init__(self, settings: SelectSettings) -> None:
        """Check what is switched off.

        Raises:
            ConfigError: a name in ``without`` is neither a kind of title nor a source.
        """
        known = (*ORIGINS, *settings.sources)
        for name in settings.without:
            if name not in known:
                raise ConfigError(f"select: 'without' names '{name}'{nearest(name, known)}")
        self.settings = settings

    def fit(self, training: TrainingSessions, products: Any, table: TitleTable) -> Selector:
        """Learn from sessions.

        Args:
            training: Sessions to learn from, labelled or bare.
            products: Arrow table of products, with the columns that `Fusion` reads.
            table: Their titles.

        Raises:
            ConfigError: a source is unknown.
            DataError: nothing can be learnt from the sessions.
        """
        self.fusion = Fusion(ranker_settings_of(self.settings))
        lessons = learn_lessons(self.fusion, training, products, table)
        self.seen = "keep" if repeats(self.fusion.catalogue.encode_training(training)) else "drop"
        self.survival = count_survival(table.book, table.own_titles(Sessions(training.sequences, training.locales)))
        learnt = learn_choice(lessons, table, self.settings)
        self.trees, self.policy, self.estimate = learnt.trees, learnt.policy, learnt.estimate
        return self

    def likely(self, sessions: Sessions, table: TitleTable) -> Evidence:
        """Titles of likely products of sessions."""
        coded = self.fusion.catalogue.encode(sessions).known()
        found, features = self.fusion.seen_by_trees(coded, self.seen)
        scores = self.fusion.scores(found, features)
        kept = coded.lengths[found.rows] > 0
        ids, depth = self.fusion.catalogue.vocabulary.ids, self.settings.products
        return likely_titles(found.take(np.flatnonzero(kept)), scores[kept], ids, sessions.locales, table, depth)

    def select(
        self,
        sessions: Sessions,
        table: TitleTable,
        given: Sequence[Evidence] = (),
        texts: Sequence[str] = (),
        share: float | None = None,
    ) -> list[str]:
        """Choose a title for each of some sessions.

        Args:
            sessions: ``S`` sessions; some thousand at once.
            table: Titles of the products.
            given: What given runs say; titles from ``len(table.book)`` on are those of ``texts``.
            texts: Titles of given runs that are no product's.
            share: What given runs weigh together; the settings' if not given.

        Returns:
            ``S`` titles; "" for a session without any.
        """
        book = table.book.joined(TitleBook.of(texts)) if texts else table.book
        own, evidence = table.own_titles(sessions), self.likely(sessions, table)
        book, own, (evidence, *given) = localised(book, own, [evidence, *given])
        weight = self.settings.given_share if share is None else share
        one = offered(book, own, evidence, given, self.settings, weight)
        last = last_offers(one.offers, own.ends)
        added = np.zeros(len(one.offers))
        if self.trees is not None and self.policy.trust and len(one.offers):
            features = one.features(self.survival, self.policy.prices)[1]
            added = self.trees.scores(features, self.settings.threads)
        worth = trusted(one.expected, added, self.policy)
        chosen = choose(one.offers.rows, one.lengths, worth, last, self.policy)
        titles = np.where(chosen >= 0, one.offers.titles[chosen], 0) if len(one.offers) else np.zeros(len(chosen), int)
        if not len(one.book):
            return [""] * len(sessions)
        named = one.book.texts.take(pa.array(titles)).to_pylist()
        return [text if place >= 0 else "" for text, place in zip(named, chosen.tolist(), strict=True)]

    def save(self, folder: Path) -> None:
        """Write ranker, trees (LightGBM's text), words and prices.

        Raises:
            ConfigError: ``folder`` holds something else.
            DiskError: the place cannot be written.
        """
        trees = {} if self.trees is None else self.trees.arrays()
        arrays = {**self.survival.arrays(), **trees, **_policy_arrays(self.policy)}
        record = {
            "settings": vars(self.settings),
            "seen": self.seen,
            "estimate": self.estimate,
            "importances": self.trees.importances() if self.trees else {},
        }
        with SELECTOR.written(folder, record, arrays) as temporary:
            self.fusion.save(temporary / RANKER)

    @classmethod
    def load(cls, folder: Path) -> Selector:
        """Read what `save` wrote.

        Raises:
            ModelError: nothing of this kind is there, it is of another version, or damaged.
        """
        record = SELECTOR.read(folder)
        arrays = SELECTOR.read_arrays(folder, record)
        with SELECTOR.understood(folder):
            selector = cls(resolve(SelectSettings, record["settings"]))
            selector.survival, selector.policy = Survival.from_arrays(arrays), _policy_of(arrays)
            selector.trees = Trees.from_arrays(arrays)
        selector.seen, selector.estimate = record["seen"], record["estimate"]
        selector.fusion = Fusion.load(folder / RANKER)
        return selector


def ranker_settings_of(settings: SelectSettings) -> FusionSettings:
    """Settings of the ranker of likely products: a model for each fold, which has not seen it."""
    return FusionSettings(
        sources=settings.sources,
        without=tuple(name for name in settings.without if name in settings.sources),
        depth=settings.products,
        candidates=settings.products,
        history=settings.history,
        transductive=settings.transductive,
        cold_share=1.0 if settings.cold else 0.0,
        folds=settings.folds,
        grouped=True,
        max_sessions=settings.max_sessions,
        negatives=settings.negatives,
        objective="binary",
        boosters=settings.folds,
        rounds=settings.rounds,
        learning_rate=settings.learning_rate,
        leaves=settings.leaves,
        min_leaf=settings.min_leaf,
        feature_share=settings.feature_share,
        l2=settings.l2,
        first_trees=0,
        threads=settings.threads,
        seed=settings.seed,
    )


def _policy_arrays(policy: Policy) -> dict[str, NDArray[Any]]:
    numbers = np.array([policy.length_price, policy.margin, policy.trust])
    return {"policy.found": policy.prices.found, "policy.written": policy.prices.written, "policy.numbers": numbers}


def _policy_of(arrays: Mapping[str, NDArray[Any]]) -> Policy:
    length_price, margin, trust = (float(value) for value in arrays["policy.numbers"])
    return Policy(Prices(arrays["policy.found"], arrays["policy.written"]), length_price, margin, trust)
