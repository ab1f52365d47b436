"""What training sessions tell of items: how many sessions hold each, and which are popular."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import ibis
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llmrec.arrays import Ints
from llmrec.data.connection import connected
from llmrec.data.sessions import read_sessions_file
from llmrec.errors import DataError
from llmrec.vocabulary import Vocabulary

__all__ = ["GROUPS", "Training", "dense_ranks", "popularity_groups", "read_training"]

GROUPS: Final = ("head", "middle", "tail")
_SHARES: Final = (0.2, 0.8)  # of all visits: the head makes the first fifth of them, the tail the last


@dataclass(frozen=True)
class Training:
    """Items of training sessions.

    Attributes:
        ids: Arrow strings, one a row; an id has a row for each locale whose sessions hold it.
        locales: Arrow strings, of the same rows.
        sessions: Shape ``(R,)``; how many of a locale's sessions hold the item.
        num_sessions: All training sessions that hold an item.
    """

    ids: Any
    locales: Any
    sessions: Ints
    num_sessions: int

    def counts(self, vocabulary: Vocabulary) -> Ints:
        """How many sessions, of whatever locale, hold each item of a vocabulary, shape ``(N,)``."""
        codes = vocabulary.encode(self.ids)
        counts: Ints = np.bincount(codes, self.sessions, minlength=len(vocabulary)).astype(np.int64)
        return counts


def read_training(files: Sequence[Path]) -> Training:
    """Count items in sessions files, labelled or bare, ``next_item`` included; a session counts once for an item.

    Raises:
        DataError: a file cannot be read, or none holds a session.
    """
    tables, number = [], 0
    with connected() as con:
        for file in files:
            sessions = read_sessions_file(con, file)
            items, some = sessions.prev_items, sessions.prev_items.length() > 0
            if "next_item" in sessions.columns:
                items, some = items.concat(ibis.array([sessions.next_item])), some | sessions.next_item.notnull()
            held = sessions.select("locale", id=items.unique().unnest()).filter(lambda one: one.id.notnull())
            tables.append(con.to_pyarrow(held.group_by("locale", "id").aggregate(sessions=held.count())))
            number += con.to_pyarrow(some.sum()).as_py() or 0
    table = pa.concat_tables(tables).group_by(["locale", "id"]).aggregate([("sessions", "sum")])
    if not number:
        raise DataError(f"{', '.join(file.name for file in files)}: no session that holds an item; check --train")
    return Training(
        table["id"].cast(pa.string()).combine_chunks(),
        table["locale"].cast(pa.string()).combine_chunks(),
        table["sessions_sum"].to_numpy().astype(np.int64),
        number,
    )


def popularity_groups(counts: Ints) -> NDArray[np.int8]:
    """Places in `GROUPS` of items, shape ``(N,)`` (Abdollahpouri et al., UMAP 2021).

    The head are the most frequent items that together make a fifth of all visits, the tail those that make the last
    fifth, and those that training does not hold. Of equals the smaller code counts as more frequent.
    """
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]  # visits of what is more frequent
    groups = np.full(len(counts), len(GROUPS) - 1, dtype=np.int8)
    groups[order] = np.searchsorted(np.array(_SHARES) * counts.sum(), before, side="right")
    groups[counts == 0] = len(GROUPS) - 1
    return groups


def dense_ranks(counts: Ints) -> Ints:
    """Rank of each item by falling count from 1, shape ``(N,)``: equals share one, and the next rank follows it."""
    _, places = np.unique(-counts, return_inverse=True)
    ranks: Ints = places.astype(np.int64) + 1
    return ranks
