"""Do training sessions at URIs repeat those to rank, label included? `llmrec.data.overlap`, where the sessions lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from llmrec.arrays import Ints
from llmrec.cluster.training_events import cleaned_sequences, sessions_at
from llmrec.data.overlap import LONGEST, Overlap, beyond_chance, repeat_rates

__all__ = ["overlap_at"]


def overlap_at(session: Any, train: Sequence[str], asked: str) -> Overlap | None:
    """What `llmrec.data.overlap.find_overlap` finds, of sessions at URIs; a few numbers for each length come here.

    Raises:
        ConfigError: the cluster lacks something.
        DataError: sessions are missing or malformed.
    """
    known = _keyed(session, train, "slice(items, 1, greatest(size(items) - 1, 0))")
    wanted = _keyed(session, [asked], "items", "CAST(NULL AS STRING) AS next_item")
    sizes, twice = _by_length(wanted)
    rates = np.maximum(repeat_rates(twice, sizes), repeat_rates(*reversed(_by_length(known.dropDuplicates(["whole"])))))
    repeats = wanted.where("length > 0").join(known.select("key").distinct(), "key")
    found, firsts = np.zeros(LONGEST + 1, dtype=np.int64), {}
    counted = repeats.groupBy("length").agg({"*": "count", "session": "min"})
    for row in counted.select("length", "count(1)", "min(session)").collect():
        found[row[0]], firsts[row[0]] = row[1], row[2]
    if not found.any():
        return None
    length, expected = beyond_chance(found, sizes, rates)
    if length is None:
        return None
    first = firsts.get(length, min(firsts.values()))
    ((key,),) = wanted.where(f"session = {first}").select("key").collect()
    ((row,),) = known.where(f"key = {key}").agg({"session": "min"}).collect()
    return Overlap(int(found.sum()), int(sizes.sum()), expected, first + 1, row + 1)


def _keyed(session: Any, uris: Sequence[str], items: str, label: str = "next_item") -> Any:
    """``session``, ``key`` of locale and some items, ``whole`` of all items, and the ``length`` of those, capped."""
    found = sessions_at(session, uris).selectExpr("prev_items", label, "locale", "file", "row", "session")
    sequences = cleaned_sequences(found).selectExpr("session", "locale", "items", f"{items} AS some")
    return sequences.selectExpr(
        "session",
        "xxhash64(locale, some) AS key",
        "xxhash64(locale, items) AS whole",
        f"least(size(some), {LONGEST}) AS length",
    )


def _by_length(keyed: Any) -> tuple[Ints, Ints]:
    """How many sessions of each length there are, and how many of them another one repeats."""
    sizes, twice = np.zeros((2, LONGEST + 1), dtype=np.int64)
    keys = keyed.groupBy("key", "length").count()
    numbers = keys.selectExpr("length", "count AS number", "IF(count > 1, count, 0) AS twice").groupBy("length")
    for row in numbers.sum("number", "twice").collect():
        sizes[row[0]], twice[row[0]] = row[1], row[2]
    return sizes, twice
