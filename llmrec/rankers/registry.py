"""Rankers by name; each is imported when it is asked for, so that counting needs no torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from llmrec.api.public import public
from llmrec.errors import ConfigError, ModelError, nearest, needing, shown
from llmrec.plugins.named import Named
from llmrec.rankers.base import Ranker
from llmrec.rankers.ranker_record import FORMER, RANKER, current_name
from llmrec.settings import recipe_names

__all__ = [
    "RANKERS",
    "candidate_source",
    "load_ranker",
    "ranker_class",
    "register_candidate_source",
    "register_ranker",
    "source_names",
]

RANKERS: Final = {
    "popularity": "counting.popularity:Popularity",
    "global_popularity": "counting.popularity:GlobalPopularity",
    "covisit": "counting.covisit:Covisit",
    "item_knn": "counting.item_knn:ItemKnn",
    "vmis_knn": "counting.vmis_knn:VmisKnn",
    "stan": "counting.stan:Stan",
    "vstan": "counting.stan:VStan",
    "covisit_walk": "counting.walk:CovisitWalk",
    "fusion": "fusion.ranker:Fusion",
    "item_vectors": "vectors.item_vectors:ItemVectors",
    "gru4rec": "neural.models_by_name:Gru4Rec",
    "narm": "neural.models_by_name:Narm",
    "stamp": "neural.models_by_name:Stamp",
    "srgnn": "neural.models_by_name:SrGnn",
    "core": "neural.models_by_name:Core",
    "mgs": "neural.models_by_name:Mgs",
    "sasrec": "neural.models_by_name:SasRec",
    "gru4recf": "neural.models_by_name:Gru4RecF",
    "srgnnf": "neural.models_by_name:SrGnnF",
    "text_knn": "vectors.text_knn:TextKnn",
    "tiger": "generative.ranker:Tiger",
}
RankerT = TypeVar("RankerT", bound=type[Ranker[Any]])


def _ranker(name: str, thing: Any) -> type[Ranker[Any]]:
    if not (isinstance(thing, type) and issubclass(thing, Ranker)):
        raise ConfigError(f"ranker '{name}': a subclass of llmrec.Ranker is wanted; got {shown(thing)}")
    if getattr(thing, "name", None) != name:
        raise ConfigError(f"ranker '{name}': its class calls itself '{getattr(thing, 'name', '')}'; give both one name")
    return thing


_ADDED: Final = Named("ranker", "llmrec.rankers", {*RANKERS, *FORMER}, _ranker)


def register_ranker(cls: RankerT) -> RankerT:
    """Make a ranker of one's own known by its ``name`` in this process; may be written as a decorator.

    A package makes one known to all by an entry point of the group ``llmrec.rankers``, of the same name. Then
    `llmrec.fit`, ``llmrec rank``, ``tune`` and fusion know it, and `llmrec.load_ranker` reads it.

    Args:
        cls: A subclass of `llmrec.Ranker` with a ``name``.

    Returns:
        The class itself.

    Raises:
        ConfigError: another ranker has, or had, that name.

    Example:
        >>> import llmrec
        >>> from llmrec.rankers.counting.popularity import GlobalPopularity
        >>> @llmrec.register_ranker
        ... class Bestsellers(GlobalPopularity):
        ...     name = "bestsellers"
        >>> llmrec.fit("bestsellers", [["tea", "cup"], ["tea"]]).rank([["cup"]]).to_list()
        [['tea']]
    """
    _ADDED.register(getattr(cls, "name", ""), cls)
    return cls


def _source(name: str, thing: Any) -> Callable[[], Ranker[Any]]:
    if not callable(thing):
        raise ConfigError(
            f"candidate source '{name}': a ranker's class, or what makes one, is wanted; got {shown(thing)}"
        )
    made: Any = thing
    make: Callable[[], Ranker[Any]] = (lambda: made(made.settings_class())) if isinstance(thing, type) else made
    return make


_SOURCES: Final = Named("candidate source", "llmrec.candidate_sources", recipe_names(), _source)


@public
def register_candidate_source(name: str, make: Callable[[], Ranker[Any]] | type[Ranker[Any]]) -> None:
    """Make a source of candidates known, which `fusion`'s ``sources`` can then name.

    A package makes one known to all by an entry point of the group ``llmrec.candidate_sources``, of the same name. A
    fused ranker is read back where its sources' rankers are known, too (`register_ranker`).

    Args:
        name: What ``sources`` calls it.
        make: A ranker's class, taken with its settings' defaults, or a function that makes an unfitted ranker.

    Raises:
        ConfigError: there is a source or a recipe of that name.

    Example:
        >>> import llmrec
        >>> from llmrec.rankers.counting.item_knn import ItemKnn
        >>> llmrec.register_candidate_source("neighbours", ItemKnn)
    """
    _SOURCES.register(name, make)


def candidate_source(name: str) -> Ranker[Any] | None:
    """An unfitted ranker for a source that was added; None where none has that name.

    Raises:
        ConfigError: what was added makes no ranker.
    """
    make = _SOURCES.find(name)
    made = None if make is None else make()
    if made is not None and not isinstance(made, Ranker):
        raise ConfigError(f"candidate source '{name}': made no ranker; got {shown(made)}")
    return made


def source_names() -> list[str]:
    """Names of the sources and rankers that were added."""
    return sorted({*_SOURCES.names(), *_ADDED.names()})


def ranker_class(name: str) -> type[Ranker[Any]]:
    """Class of a ranker, by its name or one that it had.

    Raises:
        ConfigError: there is no ranker of that name.
        MissingExtraError: a package that it needs is not installed.
    """
    name = current_name(name)
    if added := _ADDED.find(name):
        return added
    if name not in RANKERS:
        raise ConfigError(f"no ranker '{name}'{nearest(name, [*RANKERS, *_ADDED.names()])}")
    module, _, attribute = RANKERS[name].partition(":")
    with needing("rank"):
        found: type[Ranker[Any]] = getattr(importlib.import_module(f"llmrec.rankers.{module}"), attribute)
    return found


def load_ranker(folder: Path) -> Ranker[Any]:
    """Read the ranker that a folder holds, whichever it is.

    Raises:
        ModelError: there is none, it is damaged, or it is one that nobody has registered.
    """
    name = RANKER.read(folder).ranker
    name = FORMER.get(name, name)
    try:
        cls = ranker_class(name)
    except ConfigError as error:
        raise ModelError(f"{folder}: {error}") from error
    return cls.load(folder)
