"""Ranked lists in memory: how scores become lists, and what a ranker gives back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llmrec.api.public import public
from llmrec.arrays import Floats, Ints
from llmrec.evaluation.runs import Run, write_run
from llmrec.ragged import list_lengths
from llmrec.rankers.catalogue import Catalogue
from llmrec.rankers.sessions import CodedSessions
from llmrec.rankers.settings import Seen
from llmrec.vocabulary import UNKNOWN
from llmrec.within import fill_up, first_k, is_among, top_k_candidates

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CodedLists", "Rankings"]

_SHOWN: Final = (10, 5)  # sessions and items that a notebook shows


@dataclass(frozen=True, eq=False)
class Rankings:
    """Ranked items of ``S`` sessions.

    Attributes:
        ids: Arrow lists of at most ``k`` distinct ids, best first, ``S`` of them.
        scores: Arrow lists of float32, falling, of the same lengths; comparable within a session alone.
        locales: Arrow strings, ``S`` of them.
        provenance: What made them; goes into the run.

    ``ids, scores = rankings`` takes the two apart.

    Example:
        >>> from llmrec.rankers.rankings import Rankings
        >>> lists = Rankings(pa.array([["B02", "B03"]]), pa.array([[0.9, 0.1]]), pa.array(["UK"]))
        >>> lists.to_list()
        [['B02', 'B03']]
    """

    ids: Any
    scores: Any
    locales: Any
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Any]:
        return iter((self.ids, self.scores))

    def to_list(self) -> list[list[str]]:
        """Ids as plain lists, best first."""
        found: list[list[str]] = self.ids.to_pylist()
        return found

    def to_pandas(self) -> pd.DataFrame:
        """One row an item.

        Returns:
            ``session`` (its row from 0), ``locale``, ``rank`` from 1, ``id`` and ``score``.

        Example:
            >>> lists = Rankings(pa.array([["B02", "B03"]]), pa.array([[0.9, 0.1]]), pa.array(["UK"]))
            >>> lists.to_pandas().id.tolist()
            ['B02', 'B03']
        """
        lengths = list_lengths(self.ids)
        rows = np.repeat(np.arange(len(self)), lengths)
        ranks = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths) + 1
        columns = {
            "session": rows,
            "locale": self.locales.take(pa.array(rows)),
            "rank": ranks,
            "id": self.ids.flatten(),
            "score": self.scores.flatten(),
        }
        return pa.table(columns).to_pandas()

    @public
    def save(self, path: Path | str, *, partial: bool = False) -> None:
        """Write them as a run (Parquet, the KDD Cup's form) with its sidecar.

        Args:
            path: The Parquet file; a file that is there is replaced, as by ``llmrec rank --out``.
            partial: Whether these are only the first sessions of a split.

        Raises:
            DiskError: the place cannot be written.
        """
        write_run(Path(path), self.locales, self.ids, self.provenance, partial)

    def as_run(self) -> Run:
        """The same as a run that was read, for `llmrec.evaluate`."""
        locales, ids = (pa.chunked_array([column]) for column in (self.locales, self.ids))
        return Run(Path("rankings"), "ranking", locales, ids, self.provenance)

    def _repr_html_(self) -> str:
        from llmrec.reporting.blocks import Table  # a notebook alone needs pages
        from llmrec.reporting.page import table_html

        most, wide = _SHOWN
        rows = [
            [f"{row}", str(locale), *ids[:wide], *[""] * (wide - len(ids))]
            for row, (ids, locale) in enumerate(
                zip(self.ids.slice(0, most).to_pylist(), self.locales.slice(0, most).to_pylist(), strict=True)
            )
        ]
        columns = ("session", "locale", *(f"{rank}." for rank in range(1, wide + 1)))
        return table_html(Table(columns, rows, f"{len(self):,} ranked lists; the first {len(rows)}", align="l"))


class CodedLists(ABC):
    """From scores of items, as codes, to lists: what a locale sells, what the session has seen, and what fills up.

    Attributes:
        fills_up: Whether short lists are filled with the locale's most frequent items.
        catalogue: Items and locales.
    """

    fills_up: ClassVar[bool] = True
    catalogue: Catalogue

    @abstractmethod
    def _rank_coded(self, sessions: CodedSessions, k: int, seen: Seen) -> tuple[Ints, Floats]:
        """Best items of sessions: codes ``(S, k)``, -1 beyond the end of a list, and scores ``(S, k)``, falling.

        Sessions hold known items alone (all of them where `fills_up` is off) and may be empty. The availability
        ``catalogue.sold`` is for the subclass to apply, before it cuts at k.
        """

    def _rank_filled(self, sessions: CodedSessions, k: int, seen: Seen) -> tuple[Ints, Floats]:
        """Codes and scores ``(S, k)`` as `_rank_coded`, with short lists filled up."""
        if not self.fills_up:
            return self._rank_coded(sessions, k, seen)
        known, catalogue = sessions.known(), self.catalogue
        ranked, scores = self._rank_coded(known, k, seen)
        empty = known.lengths == 0
        ranked[empty], scores[empty] = UNKNOWN, -np.inf
        if (ranked[:, -1] == UNKNOWN).any():
            fillers = catalogue.sold_or_unknown(catalogue.popular[known.locales], known.locales)
            fill_up(ranked, scores, fillers, known.padded() if seen == "drop" else np.full((len(known), 1), UNKNOWN))
        return ranked, scores

    def _best_of(
        self, scores: NDArray[np.floating], sessions: CodedSessions, k: int, seen: Seen
    ) -> tuple[Ints, Floats]:
        """What `_rank_coded` is to give, of scores of the whole catalogue: simple, for catalogues that allow it.

        Args:
            scores: Shape ``(S, N)``; ``-inf`` for an item that is not to be ranked.
            sessions: ``S`` sessions.
            k: Most items of a list.
            seen: As `rank`.
        """
        rows, codes = np.nonzero(scores > -np.inf)
        return self._best_candidates(rows, codes, scores[rows, codes], sessions, k, seen)

    def _best_candidates(
        self, rows: Ints, codes: Ints, scores: NDArray[np.floating], sessions: CodedSessions, k: int, seen: Seen
    ) -> tuple[Ints, Floats]:
        """What `_rank_coded` is to give, of scores of some candidates ``(C,)``, each of a session once."""
        if self.catalogue.sold is not None:
            sold = self.catalogue.sold[sessions.locales[rows], codes]
            rows, codes, scores = rows[sold], codes[sold], scores[sold]
        if seen == "keep":
            return top_k_candidates(rows, codes, scores, len(sessions), k)
        # a session's own items are few: to look for them among the best costs little, among all a third of the time
        spare = int(sessions.lengths.max(initial=0))
        ranked, values = top_k_candidates(rows, codes, scores, len(sessions), k + spare)
        rows, places = np.nonzero(ranked != UNKNOWN)
        codes = ranked[rows, places]
        fresh = ~is_among(rows, codes, sessions.rows, sessions.items, len(self.catalogue.vocabulary))
        rows, places = rows[fresh], places[fresh]
        return first_k(rows, codes[fresh], values[rows, places], len(sessions), k)

    def _allowed(self, rows: Ints, codes: Ints, sessions: CodedSessions, seen: Seen) -> NDArray[np.bool_]:
        """Whether candidates ``(C,)`` of some sessions are sold there and, with ``drop``, new to the session."""
        allowed = np.ones(len(rows), dtype=np.bool_)
        if self.catalogue.sold is not None:
            allowed &= self.catalogue.sold[sessions.locales[rows], codes]
        if seen == "drop":
            allowed &= ~is_among(rows, codes, sessions.rows, sessions.items, len(self.catalogue.vocabulary))
        return allowed
