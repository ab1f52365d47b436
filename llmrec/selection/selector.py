"""`Selector`: which title comes next, chosen among titles that exist."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from msgspec import field
from numpy.typing import NDArray

from llmrec.arrays import checked
from llmrec.artefact import Kind, Stamp
from llmrec.errors import ConfigError, ModelError, nearest
from llmrec.evaluation.bleu import ORDERS, bleu_from_stats
from llmrec.hub.methods import OnHub
from llmrec.languages import PAPER_BLEU
from llmrec.rankers.base import Seen
from llmrec.rankers.fusion.ranker import Fusion
from llmrec.rankers.fusion.settings import FusionSettings
from llmrec.rankers.fusion.training import repeats
from llmrec.rankers.fusion.trees import Trees
from llmrec.rankers.sessions import Sessions, TrainingSessions
from llmrec.records import Digest
from llmrec.selection.choice import Policy, choose, trusted
from llmrec.selection.chunk import likely_titles, localised, offered
from llmrec.selection.hints import hints_of, told_by
from llmrec.selection.learning import STAYS, Learnt, learn_choices, learn_folds
from llmrec.selection.linear import Prices, corpus_stats
from llmrec.selection.model_writer import ModelWriter, model_writer
from llmrec.selection.offers import GivenTitles, last_offers
from llmrec.selection.settings import ORIGINS, SelectSettings
from llmrec.selection.survival import Survival, count_survival
from llmrec.selection.table import TitleTable
from llmrec.settings import resolve
from llmrec.text.ngrams import TitleBook
from llmrec.titles.editing.editor import EditSettings
from llmrec.titles.editing.saved import editor_arrays, editor_of

__all__ = ["SELECTOR", "Chosen", "Selector", "ranker_settings_of"]


class _Record(Stamp, frozen=True, kw_only=True):
    settings: dict[str, Any]
    seen: Seen
    estimate: dict[str, Any]
    tokenizers: dict[str, str] = field(default_factory=dict)
    writer_weights: str = ""  # of the language model beside it
    choices: tuple[str, ...] = (PAPER_BLEU,)  # an older one counted every locale's titles by 13a
    importances: dict[str, Any] = field(default_factory=dict)
    arrays_sha256: Digest


SELECTOR: Final = Kind(
    what="selector",
    arrays="selector.safetensors",
    holds=_Record,
    make="make one: llmrec select ... --save {folder}",
    again="make it again: llmrec select ... --save",
)
RANKER: Final = "ranker"  # folder of the ranker of likely products
EDITOR: Final = "edit."  # what the names of an edit model's arrays begin with


class Chosen(NamedTuple):
    """A title that was chosen.

    Attributes:
        title: The title; "" where there was none.
        expected_bleu: BLEU (0-100) of the n-grams that it is expected to share with the next title, were that as long.
    """

    title: str
    expected_bleu: float


class Selector(OnHub):
    """Session → the title to expect: one of its own, one of a likely product's, or one that a given run names.

    A ranker gives likely products their probabilities. A title's worth is the n-grams that it is expected to share with
    the next one, estimated by trees from that expectation and what else is known; worth less cost decides, and where no
    title is clearly better than the last one, the last one stays.

    Attributes:
        settings: Settings.
        fusion: Ranker of likely products, fitted.
        seen: Whether a session's own items are among the likely products.
        survival: How often words survive.
        choices: By BLEU tokenizer, what estimates a title's worth, how to choose, and how that did on training sessions
            that it had not learnt from.
        tokenizers: BLEU tokenizers of the locales whose titles it counts in other tokens than the paper's.
        writer: A language model beside it, if one is asked.
    """

    fusion: Fusion
    seen: Seen
    survival: Survival
    choices: dict[str, Learnt]
    tokenizers: dict[str, str]
    writer: ModelWriter | None

    def __init__(self, settings: SelectSettings) -> None:
        """Check what is switched off, and who is asked to write.

        Raises:
            ConfigError: a name in ``without`` is neither a kind of title nor a source, or a writer is unknown.
        """
        known = (*ORIGINS, *settings.sources)
        for name in settings.without:
            if name not in known:
                raise ConfigError(f"select: 'without' names '{name}'{nearest(name, known)}")
        self.settings, self.writer = settings, model_writer(settings)

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
        if self.writer is not None:
            self.writer.open()
        self.fusion = Fusion(ranker_settings_of(self.settings))
        learnt = learn_folds(self.fusion, training, products, table, self.settings.writers)
        self.seen = "keep" if repeats(self.fusion.catalogue.encode_training(training)) else "drop"
        self.survival = count_survival(table.book, table.own_titles(Sessions(training.sequences, training.locales)))
        self.tokenizers = dict(table.book.tokenizers)
        self.choices = learn_choices(learnt, table, self.settings, self.writer)
        return self

    @property
    def estimate(self) -> dict[str, Any]:
        """How it did on training sessions: by the paper's tokenizer, and by ``others`` where there are such."""
        (_, first), *others = self.choices.items()
        return first.estimate | ({"others": {way: one.estimate for way, one in others}} if others else {})

    def likely(self, sessions: Sessions, table: TitleTable) -> GivenTitles:
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
        given: Sequence[GivenTitles] = (),
        new: TitleBook | None = None,
        share: float | None = None,
    ) -> list[str]:
        """Choose a title for each of some sessions.

        Args:
            sessions: ``S`` sessions; some thousand at once.
            table: Titles of the products.
            given: What given runs say; titles from ``len(table.book)`` on are those of ``new``.
            new: Titles of given runs that are no product's, from `TitleTable.added`.
            share: What given runs weigh together; the settings' if not given.

        Returns:
            ``S`` titles; "" for a session without any.

        Raises:
            ConfigError: the table's titles are in other tokens than those that the selector has learnt from.
        """
        return [one.title for one in self.chosen(sessions, table, given, new, share)]

    def chosen(
        self,
        sessions: Sessions,
        table: TitleTable,
        given: Sequence[GivenTitles] = (),
        new: TitleBook | None = None,
        share: float | None = None,
    ) -> list[Chosen]:
        """`select`, and the BLEU that it expects of each title.

        Args:
            sessions: As `select`.
            table: As `select`.
            given: As `select`.
            new: As `select`.
            share: As `select`.
        """
        for locale in table.locales:
            learnt, now = self.tokenizers.get(locale, PAPER_BLEU), table.book.way(locale)
            if learnt != now:
                raise ConfigError(f"select: learnt from {locale} titles by {learnt}, now {now}; give TitleTable these")
        book = table.book.joined(new) if new else table.book
        ways = np.array([book.way(locale) for locale in sessions.locales.to_pylist()])
        titles = [Chosen("", 0.0)] * len(sessions)
        for way in np.unique(ways).tolist():
            rows = np.flatnonzero(ways == way)
            some = Sessions(sessions.prev_items.take(pa.array(rows)), sessions.locales.take(pa.array(rows)))
            said = [one.of_sessions(rows) for one in given]
            learnt_so = self.choices.get(way, Learnt(None, STAYS, {}))
            for row, one in zip(rows.tolist(), self._choose(some, table, book, said, learnt_so, share), strict=True):
                titles[row] = one
        return titles

    def _choose(
        self,
        sessions: Sessions,
        table: TitleTable,
        book: TitleBook,
        given: Sequence[GivenTitles],
        learnt: Learnt,
        share: float | None,
    ) -> list[Chosen]:
        """`chosen` for sessions whose titles are counted alike."""
        trees, policy = learnt.trees, learnt.policy
        own, evidence = table.own_titles(sessions), self.likely(sessions, table)
        book, own, (evidence, *given) = localised(book, own, [evidence, *given])
        weight = self.settings.given_share if share is None else share
        hints, told, some = None, book, list(given)
        if self.writer is not None:
            told, said = self.writer.sampled(book, own)
            some += said
        if learnt.editor is not None:
            scored = learnt.editor.score(book, own, told_by(evidence))
            told, hints = hints_of(told, learnt.editor, scored, sessions.locales.to_pylist())
        one = offered(told, own, evidence, some, self.settings, weight, hints, self.writer)
        last = last_offers(one.offers, own.ends)
        added = np.zeros(len(one.offers))
        if trees is not None and policy.trust and len(one.offers):
            names, features = one.features(self.survival, policy.prices)
            if trees.feature_names() != names:
                raise ModelError("the selector's trees read other features than this version makes; make it again")
            added = trees.scores(features, self.settings.threads)
        worth = trusted(one.expected, added, policy)
        chosen = choose(one.offers.rows, one.lengths, worth, last, policy)
        if not len(one.book) or not len(one.offers):
            return [Chosen("", 0.0)] * len(chosen)
        named = one.book.texts.take(pa.array(np.where(chosen >= 0, one.offers.titles[chosen], 0))).to_pylist()
        lengths = one.lengths[chosen]
        bleu = bleu_from_stats(corpus_stats(one.expected[chosen], lengths, lengths))
        return [
            Chosen(text, round(float(score), 2)) if place >= 0 else Chosen("", 0.0)
            for text, score, place in zip(named, bleu, chosen.tolist(), strict=True)
        ]

    def save(self, folder: Path) -> None:
        """Write ranker, trees (LightGBM's text), words and prices.

        Raises:
            ConfigError: ``folder`` holds something else.
            DiskError: the place cannot be written.
        """
        arrays = self.survival.arrays()
        for way, one in self.choices.items():
            arrays |= {f"{_prefix(way, self.choices)}{name}": array for name, array in _learnt_arrays(one).items()}
        record = {
            "settings": vars(self.settings),
            "seen": self.seen,
            "estimate": self.estimate,
            "tokenizers": self.tokenizers,
            "choices": list(self.choices),
            "writer_weights": "" if self.writer is None else self.writer.weights,
            "importances": {way: one.trees.importances() for way, one in self.choices.items() if one.trees},
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
            selector = cls(resolve(SelectSettings, record.settings, origin=folder))
            if selector.writer is not None:
                selector.writer = replace(selector.writer, weights=record.writer_weights)
            selector.survival = Survival.from_arrays(arrays)
            ways = record.choices
            selector.choices = {way: _learnt_of(arrays, _prefix(way, ways)) for way in ways}
            others = record.estimate.pop("others", {})
            for way, estimate in {ways[0]: record.estimate, **others}.items():
                selector.choices[way].estimate.update(estimate)
        selector.seen, selector.tokenizers = record.seen, record.tokenizers
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


def _prefix(way: str, ways: Iterable[str]) -> str:
    """What the names of a tokenizer's arrays begin with; those of the first one as where there is no other."""
    return "" if way == next(iter(ways)) else f"{way}/"


def _learnt_arrays(learnt: Learnt) -> dict[str, NDArray[Any]]:
    editor = {} if learnt.editor is None else editor_arrays(learnt.editor)
    trees = {} if learnt.trees is None else learnt.trees.arrays()
    return trees | _policy_arrays(learnt.policy) | {f"{EDITOR}{name}": array for name, array in editor.items()}


def _learnt_of(arrays: Mapping[str, NDArray[Any]], prefix: str) -> Learnt:
    own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    trees = Trees.from_arrays(own)
    if trees and "kept" in trees.feature_names():
        raise ValueError("it has learnt from shortened titles, which are no longer offered")
    written = {name.removeprefix(EDITOR): array for name, array in own.items() if name.startswith(EDITOR)}
    editor = editor_of(written, EditSettings()) if written else None
    return Learnt(trees, _policy_of(own), {}, editor=editor)


def _policy_arrays(policy: Policy) -> dict[str, NDArray[Any]]:
    numbers = np.array([policy.length_price, policy.margin, policy.trust])
    return {"policy.found": policy.prices.found, "policy.written": policy.prices.written, "policy.numbers": numbers}


def _policy_of(arrays: Mapping[str, NDArray[Any]]) -> Policy:
    numbers = checked(arrays, "policy.numbers", "float64", (3,), nan=True).tolist()  # a margin may be infinite
    if not np.isfinite([numbers[0], numbers[2]]).all() or np.isnan(numbers[1]):
        raise ValueError(f"policy.numbers holds {numbers}")
    found, written = (checked(arrays, f"policy.{name}", "float64", (ORDERS,)) for name in ("found", "written"))
    return Policy(Prices(found, written), *numbers)
