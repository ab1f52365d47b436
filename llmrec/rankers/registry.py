"""Rankers by name; each is imported when it is asked for, so that counting needs no torch."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Final

from llmrec.errors import ConfigError, nearest
from llmrec.rankers.base import RANKER, Ranker, current_name

__all__ = ["RANKERS", "load_ranker", "ranker_class"]

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


def ranker_class(name: str) -> type[Ranker[Any]]:
    """Class of a ranker, by its name or one that it had.

    Raises:
        ConfigError: there is no ranker of that name.
        MissingExtraError: a package that it needs is not installed.
    """
    name = current_name(name)
    if name not in RANKERS:
        raise ConfigError(f"no ranker '{name}'{nearest(name, RANKERS)}")
    module, _, attribute = RANKERS[name].partition(":")
    found: type[Ranker[Any]] = getattr(importlib.import_module(f"llmrec.rankers.{module}"), attribute)
    return found


def load_ranker(folder: Path) -> Ranker[Any]:
    """Read the ranker that a folder holds, whichever it is.

    Raises:
        ModelError: there is none, or it is damaged.
    """
    return ranker_class(str(RANKER.read(folder)["ranker"])).load(folder)
