"""What a ranker's folder says of it, and names that rankers had."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from llmrec.artefact import Kind, Stamp
from llmrec.console import notice_once
from llmrec.errors import ConfigError
from llmrec.records import Digest

__all__ = ["FORMER", "RANKER", "RankerRecord", "current_name", "learnt_arrays", "put_arrays"]

_BESIDE: Final = frozenset(
    {"settings", "learnt", "learnt_from", "kept_counts", "catalogue", "watch"}
)  # what no ranker learnt


class RankerRecord(Stamp, frozen=True, kw_only=True):
    """What ``ranker.json`` holds: the ranker's name, its settings, and the names of the locales that it knows."""

    ranker: str
    settings: dict[str, Any]
    locales: tuple[str, ...]
    arrays_sha256: Digest


RANKER: Final = Kind(
    what="ranker",
    holds=RankerRecord,
    make="make one: llmrec rank RANKER ... --save {folder}",
    again="fit it again with --save",
)
FORMER: Final = {"title_vectors": "text_knn"}  # rankers by the name they had


def current_name(name: str) -> str:
    """Name of a ranker, told where ``name`` is one that it had."""
    if name not in FORMER:
        return name
    notice_once(f"the ranker '{name}' is now called '{FORMER[name]}'")
    return FORMER[name]


def learnt_arrays(ranker: Any) -> dict[str, NDArray[Any]]:
    """All that a ranker learnt, where it is arrays alone.

    Raises:
        ConfigError: it learnt something else.
    """
    learnt = {name: value for name, value in vars(ranker).items() if name not in _BESIDE}
    for name, value in learnt.items():
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
            raise ConfigError(f"{type(ranker).__name__}.{name} is no array of numbers; write _state and _restore")
    return learnt


def put_arrays(ranker: Any, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Give a ranker what `learnt_arrays` read; arrays with a dot in their name are its catalogue's.

    Raises:
        ValueError: there is something else among them.
    """
    for name, array in arrays.items():
        if "." not in name:
            if name in _BESIDE or hasattr(type(ranker), name):
                raise ValueError(f"{name} is no array that a ranker learns")
            setattr(ranker, name, array)
