"""Rankers by name; each is imported when it is asked for, so that counting needs no torch."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Final, TypeVar

from llmrec.errors import ConfigError, ModelError, nearest
from llmrec.rankers.base import FORMER, RANKER, Ranker, current_name

__all__ = ["RANKERS", "load_ranker", "ranker_class", "register_ranker"]

RANKERS: Final = {
    "popularity": "counting.popularity:Popularity",
    "global_popularity": "counting.popularity:GlobalPopularity",
    "covisit": "counting.covisit:Covisit",
    "item_knn": "counting.item_knn:ItemKnn",
    "vmis_knn": "counting.vmis_knn:VmisKnn",
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
}
_REGISTERED: Final[dict[str, type[Ranker[Any]]]] = {}

RankerT = TypeVar("RankerT", bound=type[Ranker[Any]])


def register_ranker(cls: RankerT) -> RankerT:
    """Make a ranker of one's own known by its ``name`` in this process; may be written as a decorator.

    Raises:
        ConfigError: another ranker has, or had, that name.
    """
    there = _REGISTERED.get(cls.name, cls)
    other = (there.__module__, there.__qualname__) != (
        cls.__module__,
        cls.__qualname__,
    )  # a cell run again
    taken = cls.name in RANKERS or cls.name in FORMER or other
    if taken:
        raise ConfigError(f"{cls.__module__}.{cls.__name__}: there is a ranker '{cls.name}' already; name it otherwise")
    _REGISTERED[cls.name] = cls
    return cls


def ranker_class(name: str) -> type[Ranker[Any]]:
    """Class of a ranker, by its name or one that it had.

    Raises:
        ConfigError: there is no ranker of that name.
        MissingExtraError: a package that it needs is not installed.
    """
    name = current_name(name)
    if name in _REGISTERED:
        return _REGISTERED[name]
    if name not in RANKERS:
        raise ConfigError(f"no ranker '{name}'{nearest(name, [*RANKERS, *_REGISTERED])}")
    module, _, attribute = RANKERS[name].partition(":")
    found: type[Ranker[Any]] = getattr(importlib.import_module(f"llmrec.rankers.{module}"), attribute)
    return found


def load_ranker(folder: Path) -> Ranker[Any]:
    """Read the ranker that a folder holds, whichever it is.

    Raises:
        ModelError: there is none, it is damaged, or it is one that nobody has registered.
    """
    name = RANKER.read(folder).ranker
    try:
        cls = ranker_class(name)
    except ConfigError as error:
        raise ModelError(f"{folder}: {error}") from error
    return cls.load(folder)
