"""Everything that orders items: counts, session neighbours, and RecBole's neural models, under one contract."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmrec.rankers.base import Ranker, Seen
    from llmrec.rankers.fitting import fit, load_ranker
    from llmrec.rankers.rankings import Rankings
    from llmrec.rankers.registry import RANKERS, ranker_class, register_ranker
    from llmrec.rankers.sessions import Sessions, TrainingSessions, read_session_files, read_training_files

__all__ = [
    "RANKERS",
    "Ranker",
    "Rankings",
    "Seen",
    "Sessions",
    "TrainingSessions",
    "fit",
    "load_ranker",
    "ranker_class",
    "read_session_files",
    "read_training_files",
    "register_ranker",
]
_HOMES = {"Ranker": "base", "Seen": "base", "Sessions": "sessions", "TrainingSessions": "sessions"}
_HOMES |= {"Rankings": "rankings", "fit": "fitting", "load_ranker": "fitting"}
_HOMES |= {"read_session_files": "sessions", "read_training_files": "sessions"}


def __getattr__(name: str) -> Any:  # loaded when used: DuckDB takes half a second
    if name not in __all__:
        raise AttributeError(f"module 'llmrec.rankers' has no attribute '{name}'")
    return getattr(import_module(f"llmrec.rankers.{_HOMES.get(name, 'registry')}"), name)
