"""The rankers that propose candidates: made from recipes, fitted on what a fold may know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmrec.console import busy, notice
from llmrec.errors import ConfigError, DataError, nearest
from llmrec.rankers.base import Ranker
from llmrec.rankers.catalogue import Catalogue, recounted
from llmrec.rankers.fusion.candidate_features.feature_counts import count_features
from llmrec.rankers.fusion.candidate_features.features import GROUPS, FeatureContext
from llmrec.rankers.fusion.candidate_features.product_features import ProductFacts
from llmrec.rankers.fusion.scorers import Scorer, frozen_scorers, learn_scorers
from llmrec.rankers.fusion.settings import USUAL_SCORERS, USUAL_SOURCES, FusionSettings
from llmrec.rankers.recipes import ranker_settings, recipe_ranker
from llmrec.rankers.registry import candidate_source, ranker_class, source_names
from llmrec.rankers.sessions import CodedSessions
from llmrec.rankers.vectors.item_text import TextVectors

__all__ = ["Shared", "active_groups", "active_sources", "fit_context", "learn_shared", "make_sources"]


@dataclass(frozen=True)
class Shared:
    """What is fitted once for all folds.

    Attributes:
        sources: Sources that learn without labels, by name.
        scorers: Scorers that learn, by name; None where each fold fits its own.
        frozen: Those that learn nothing.
        texts: Vectors of the products' texts, which no session changes.
    """

    sources: Mapping[str, Ranker[Any]]
    scorers: Mapping[str, Scorer] | None
    frozen: Mapping[str, Scorer]
    texts: TextVectors


def active_groups(settings: FusionSettings) -> tuple[str, ...]:
    """Feature groups that are not switched off."""
    return tuple(group for group in GROUPS if group not in settings.without)


def active_sources(settings: FusionSettings) -> tuple[str, ...]:
    """Recipes of the sources that are not switched off.

    Raises:
        ConfigError: a name in ``without`` is neither a source nor a group, a source is named twice or is `fusion`
            itself, or none is left.
    """
    for name in settings.without:
        known = [*settings.source_names, *settings.scorer_names, *USUAL_SOURCES, *USUAL_SCORERS, *GROUPS]
        if name not in known:
            raise ConfigError(f"fusion: 'without' names '{name}'{nearest(name, known)}")
    sources = tuple(name for name in settings.source_names if name not in settings.without)
    if not sources:
        raise ConfigError("fusion: no source is left to propose candidates; name one in 'sources'")
    if len(set(sources)) < len(sources):
        raise ConfigError("fusion: a source is named twice in 'sources'")
    if not active_groups(settings):
        raise ConfigError("fusion: every feature group is switched off; leave one out of 'without'")
    return sources


def make_sources(settings: FusionSettings, products: Any) -> dict[str, Ranker[Any]]:
    """Unfitted rankers by the name of their recipe; those that read products are left out where there are none.

    Raises:
        ConfigError: as `active_sources`, or a recipe is not there.
    """
    sources: dict[str, Ranker[Any]] = {}
    for name in active_sources(settings):
        source = _unfitted(name)
        if source.name == "fusion":
            raise ConfigError("fusion: it cannot be a source of its own; take 'fusion' out of 'sources'")
        if products is not None or not source.needs_products:
            sources[name] = source
    if not sources:
        raise ConfigError("fusion: every source reads products; give their file with --products")
    return sources


def _unfitted(name: str) -> Ranker[Any]:
    """The ranker of a source: of one that was added, of a recipe, or one that was added itself, as its settings are."""
    if (added := candidate_source(name)) is not None:
        return added
    if name in source_names():
        return ranker_class(name)(ranker_settings(name))
    ranker = recipe_ranker(name)
    return ranker_class(ranker)(ranker_settings(ranker, name))


def learn_shared(settings: FusionSettings, catalogue: Catalogue, training: CodedSessions, products: Any) -> Shared:
    """Fit, once for all folds, the sources and scorers that learn without any label; none where use is inductive.

    In inductive use a session to rank for is in no count, so a fold's sessions must not be either.

    Raises:
        ConfigError: as `make_sources`.
    """
    texts = TextVectors()
    frozen = frozen_scorers(settings, catalogue, products)
    if not settings.transductive or training.labelled is None:
        return Shared({}, None, frozen, texts)
    bare = training.without_last(training.labelled)
    if not len(bare.items):
        return Shared({}, None, frozen, texts)
    wanted = {name: one for name, one in make_sources(settings, products).items() if name in settings.unlabelled}
    sources = _fitted(wanted, recounted(catalogue, bare), bare, products, texts)
    return Shared(sources, learn_scorers(settings, catalogue, training), frozen, texts)


def fit_context(
    settings: FusionSettings,
    catalogue: Catalogue,
    training: CodedSessions,
    products: Any,
    facts: ProductFacts | None,
    shared: Shared,
) -> FeatureContext:
    """Fit every source and count, on some training sessions.

    Args:
        settings: Settings.
        catalogue: Items and locales; its popular items are counted anew.
        training: Sessions to learn from, and nothing else is.
        products: Product table or None.
        facts: Attributes of the items.
        shared: Sources and scorers that are fitted already.

    Raises:
        ConfigError: as `make_sources`.
        DataError: no source can learn from the sessions.
    """
    made = make_sources(settings, products)
    own = _fitted(
        {name: one for name, one in made.items() if name not in shared.sources},
        recounted(catalogue, training),
        training,
        products,
        shared.texts,
    )
    ready = {**shared.sources, **own}
    fitted = {name: ready[name] for name in made if name in ready}
    if not fitted:
        raise DataError("fusion: no source could learn from these sessions; see the lines above")
    num_items, num_locales = len(catalogue.vocabulary), len(catalogue.locales)
    with busy("count pairs"):
        evidence = count_features(training, num_items, num_locales, settings.window, settings.pair_decay)
    scorers = learn_scorers(settings, catalogue, training) if shared.scorers is None else shared.scorers
    asked = {name: one for name, one in {**scorers, **shared.frozen}.items() if name in settings.scorer_names}
    return FeatureContext(fitted, evidence, facts, catalogue.vocabulary.numbers, settings.history, asked)


def _fitted(
    rankers: Mapping[str, Ranker[Any]],
    catalogue: Catalogue,
    training: CodedSessions,
    products: Any,
    texts: TextVectors,
) -> dict[str, Ranker[Any]]:
    fitted = {}
    for name, ranker in rankers.items():
        if hasattr(ranker, "texts"):
            ranker.texts = texts
        try:
            with busy(f"learn {name}"):
                fitted[name] = ranker.fit_coded(catalogue, training, products)
        except DataError as error:
            notice(f"fusion: '{name}' proposes nothing: {error}")
    return fitted
