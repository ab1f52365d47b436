"""Session-KNN as the paper scores it (§3, "Collaborative filtering pattern")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from llmrec.rankers.counting.session_neighbours import Neighbours, SessionNeighbours
from llmrec.rankers.sessions import CodedSessions
from llmrec.settings import Decides, option

__all__ = ["ItemKnn", "ItemKnnSettings"]


@dataclass(frozen=True, kw_only=True)
class ItemKnnSettings:
    """Settings of `ItemKnn`; the paper names neither number."""

    DECIDES: ClassVar[Decides] = "lists"

    neighbours: int = option(500, "Most similar sessions that vote.", minimum=1, maximum=10_000)
    sample: int = option(1000, "Newest sessions looked at for each item of the session.", minimum=1)
    engine: Literal["duckdb", "spark"] = option("duckdb", "Where sessions are indexed: duckdb, or spark.")


class ItemKnn(SessionNeighbours[ItemKnnSettings]):
    """An item's score is the sum of the similarities of the neighbours that hold it.

    Sessions are sets, and the similarity of two is ``|s ∩ n| / sqrt(|s| |n|)`` (paper §3, SKNN).
    """

    name = "item_knn"
    settings_class = ItemKnnSettings

    def _neighbours(self, sessions: CodedSessions) -> Neighbours:
        own = sessions.distinct()
        (rows, neighbours, shared), _ = self._shared(own, np.ones(len(own.items)))
        sizes = self._sessions.lengths[neighbours] * own.lengths[rows]
        return self._nearest((rows, neighbours, shared / np.sqrt(sizes)), len(own), self.settings.neighbours)
