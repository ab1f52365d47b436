"""Ranked lists in memory: what a ranker gives back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from llmrec.api.public import public
from llmrec.evaluation.runs import Run, write_run
from llmrec.ragged import list_lengths

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Rankings"]

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
