"""Everything that orders items: counts, session neighbours, and RecBole's neural models, under one contract."""

from llmrec.rankers.base import Ranker, Seen
from llmrec.rankers.registry import RANKERS, load_ranker, ranker_class, register_ranker
from llmrec.rankers.sessions import Sessions, TrainingSessions, read_session_files, read_training_files

__all__ = [
    "RANKERS",
    "Ranker",
    "Seen",
    "Sessions",
    "TrainingSessions",
    "load_ranker",
    "ranker_class",
    "read_session_files",
    "read_training_files",
    "register_ranker",
]
