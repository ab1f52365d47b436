"""OK, NEAR or FAIL for one cell: beside the paper where the protocol is the paper's, beside our own record always."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from llmrec.paper.reproduction.recipe import Band

__all__ = ["CellVerdict", "Verdict", "judge"]


class Verdict(Enum):
    """What came of a cell, from good to bad; only `FAIL` and `ERROR` end in exit status 1."""

    OK = "OK"
    NEAR = "NEAR"
    NEW = "NEW"  # measured, and nothing to hold it against: another protocol than the paper's, no record of ours
    RUN = "run written"  # somebody else holds the targets
    NO_DATA = "no data"
    ERROR = "ERROR"
    FAIL = "FAIL"

    @property
    def is_bad(self) -> bool:
        """Whether it makes a reproduction fail."""
        return self in (Verdict.FAIL, Verdict.ERROR)


@dataclass(frozen=True)
class CellVerdict:
    """A verdict and what it was held against."""

    verdict: Verdict
    reason: str = ""


def judge(
    value: float,
    *,
    published: float | None,
    same_protocol: bool,
    recorded: float | None,
    band: Band,
    again: Band,
) -> CellVerdict:
    """Judge one measured value; the worse of two verdicts counts.

    A value of another protocol is never judged by the paper's number: being far from it would not be wrong and being
    near it would not be right.

    Args:
        value: Measured now.
        published: The paper's value, or None.
        same_protocol: Whether protocol, method and data are the paper's.
        recorded: What was measured before, with the same protocol on the same data, or None.
        band: Allowed distance to the paper.
        again: Allowed distance to the record.
    """
    judged = []
    if published is not None and same_protocol:
        judged.append(_within(value, published, band, "the paper's"))
    if recorded is not None:
        judged.append(_within(value, recorded, again, "recorded"))
    if not judged:
        return CellVerdict(Verdict.NEW, "nothing to hold it against")
    order = [Verdict.OK, Verdict.NEAR, Verdict.FAIL]
    return max(judged, key=lambda one: order.index(one.verdict))


def _within(value: float, aim: float, band: Band, what: str) -> CellVerdict:
    reason = f"{what} {aim:.4f}" if abs(aim) < 10 else f"{what} {aim:,.0f}"
    if band.ok.allow(aim, value):
        return CellVerdict(Verdict.OK, reason)
    if band.near.allow(aim, value):
        return CellVerdict(Verdict.NEAR, reason)
    return CellVerdict(Verdict.FAIL, f"{reason}, moved by {value - aim:+.4g}" if what == "recorded" else reason)
