"""What the model is shown of each session: its most recent titles, and the titles of its first candidates."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec.arrays import Ints
from llmrec.errors import DataError
from llmrec.evaluation.identity import check_sessions
from llmrec.evaluation.runs import Run
from llmrec.ragged import list_lengths, offsets_of, row_numbers
from llmrec.rankers.sessions import Sessions
from llmrec.text.prompts import one_line
from llmrec.text.search.keys import key_rows

__all__ = ["Candidates", "check_run", "read_candidates"]

Product = Mapping[str, str]


@dataclass(frozen=True)
class Candidates:
    """One session, and the first candidates of its list that have a title.

    Attributes:
        locale: Its locale.
        products: Its most recent products that have a title, oldest first.
        places: Ranks of the candidates in the old list, from 0, rising.
        titles: Their titles.
    """

    locale: str
    products: Sequence[Product]
    places: Sequence[int]
    titles: Sequence[str]

    @property
    def can_be_ordered(self) -> bool:
        """Whether there is anything to ask: a title to go by, and two candidates."""
        return bool(self.products) and len(self.titles) > 1


def check_run(run: Run, sessions: Sessions, of: Any) -> Sessions:
    """The sessions of a run: all of them, or the first ones of a partial run.

    Raises:
        DataError: the run holds titles, or is of other sessions.
    """
    if run.kind != "ranking":
        raise DataError(f"{run.path}: holds titles; rerank orders ranked lists")
    fingerprint = sessions.fingerprint
    own = sessions.slice(0, len(run)) if run.partial else sessions
    if len(own) != len(run):
        raise DataError(f"{of}: {len(own):,} sessions, {run.path} has {len(run):,}; give those of its split")
    differ = pc.not_equal(own.locales.cast(pa.string()), run.locales.combine_chunks())
    if pc.any(differ).as_py():
        row = pc.index(differ, True).as_py()
        raise DataError(f"{of}, row {row + 1}: another locale than in {run.path}; give the sessions of its split")
    check_sessions(run, fingerprint, of)
    return own


def read_candidates(
    sessions: Sessions, lists: Any, products: Any, *, k: int, top: int, fields: Sequence[str]
) -> Iterator[Candidates]:
    """Look up the titles of sessions and of their candidates.

    An item without a product row in its session's locale, or without a title there, is no product.

    Args:
        sessions: ``S`` sessions.
        lists: Arrow lists of ids, ``S`` of them, best first.
        products: Arrow table of ``id``, ``locale`` and ``fields``, one row a locale and id.
        k: Most products of a session.
        top: Candidates of a session.
        fields: Product fields, ``title`` first.
    """
    there = pc.not_equal(pc.utf8_trim_whitespace(pc.fill_null(products["title"], "")), "")
    titled = products.filter(there)
    columns = {name: pc.fill_null(titled[name].cast(pa.string()), "").to_pylist() for name in fields}
    seen, offered = (_rows(some, sessions.locales, titled) for some in (sessions.prev_items, lists))
    for locale, own, first in zip(sessions.locales.to_pylist(), seen, offered, strict=True):
        recent = own[own >= 0][-k:].tolist()
        (places,) = np.nonzero(first[:top] >= 0)
        yield Candidates(
            locale,
            [{name: column[row] for name, column in columns.items()} for row in recent],
            places.tolist(),
            [one_line(columns["title"][row]) for row in first[places].tolist()],
        )


def _rows(lists: Any, locales: Any, products: Any) -> Iterator[Ints]:
    """Rows of the products in each list; negative for what is none."""
    lists = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    lengths = list_lengths(lists)
    owners = locales.take(pa.array(row_numbers(lengths)))
    ids = lists.flatten()
    found = key_rows(products, owners, ids, np.ones(len(products), dtype=np.bool_))
    offsets = offsets_of(lengths)
    return (found[start:end] for start, end in itertools.pairwise(offsets))
