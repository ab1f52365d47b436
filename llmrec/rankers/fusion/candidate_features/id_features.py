"""How near two ids were issued: a shop that numbers its products in turn lists variants of one product side by side."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmrec.rankers.fusion.candidates import Candidates
from llmrec.rankers.sessions import CodedSessions
from llmrec.vocabulary import ID_BASE
from llmrec.within import rank_within

__all__ = ["id_columns"]

Doubles = NDArray[np.float64]
Columns = dict[str, NDArray[np.float32]]

CLOSE: Final = 5.0  # of Amazon's ten places, the first five are equal
FAR: Final = 8.0  # beyond this many differing places nothing is told


def id_columns(numbers: Doubles, sessions: CodedSessions, found: Candidates, history: int) -> Columns:
    """Columns ``(C,)`` of a candidate's number against those of the session's most recent items.

    A distance is the logarithm of the difference to base `ID_BASE`: how many of the last places of the two ids differ.

    Args:
        numbers: Shape ``(N,)``; the items' ids as numbers.
        sessions: ``S`` sessions of known items.
        found: ``C`` candidates.
        history: Most recent items of a session that are compared.
    """
    recent = sessions.distinct().last(history)
    number = len(found)
    own = numbers[found.codes]
    last = np.full(number, np.nan, dtype=np.float32)
    least, total = last.copy(), np.zeros(number, dtype=np.float32)
    signed, near = np.zeros(number, dtype=np.float32), np.zeros(number, dtype=np.float32)
    for age in range(int(recent.lengths.max(initial=0))):
        places, items = recent.from_end(found.rows, age)
        gap = own[places] - numbers[items]
        distance = (np.log1p(np.abs(gap)) / np.log(ID_BASE)).astype(np.float32)
        if age == 0:
            last[places] = distance
            signed[places] = np.sign(gap) * (FAR - distance)
        least[places] = np.fmin(least[places], distance)
        total[places] += distance
        near[places] += distance < CLOSE
    columns: Columns = {
        "last": last,
        "least": least,
        "mean": total / np.maximum(recent.lengths, 1).astype(np.float32)[found.rows],
    }
    bounded = np.minimum(own, np.finfo(np.float32).max).astype(np.float32)  # ids of 26 places and more are the same
    columns |= {"newer": signed, "near": near, "number": bounded}
    columns["last_rank"] = rank_within(found.rows, -np.nan_to_num(last, nan=np.inf))
    columns["least_rank"] = rank_within(found.rows, -np.nan_to_num(least, nan=np.inf))
    return columns
