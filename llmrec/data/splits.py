"""Development and validation: 90/10 by session, seeded, stratified by locale (paper App. A)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import ibis
import ibis.expr.types as ir
from ibis.backends.duckdb import Backend

from llmrec.data.connection import stored

__all__ = ["in_validation", "validation_limits", "validation_size"]

_BEGIN: Final = 3  # digits of a hash that part a locale's sessions into few of which one part is put in order


@ibis.udf.scalar.builtin  # type: ignore[untyped-decorator]
def md5(text: str) -> str:  # type: ignore[empty-body]
    """DuckDB's own: MD5 in hexadecimal, the same in every version and on every machine."""


def validation_size(num_sessions: int, share: float) -> int:
    """Sessions of a locale that validation takes: the share, a half rounded up."""
    return int(num_sessions * share + 0.5)


def validation_limits(con: Backend, sessions: ir.Table, *, seed: int, share: float) -> dict[str, str]:
    """Largest hash that validation takes in each locale, so that it holds exactly `validation_size` sessions.

    Args:
        con: Where ``sessions`` lives.
        sessions: Table with ``session_id`` and ``locale``.
        seed: Another seed draws another validation set.
        share: Fraction of each locale's sessions, in (0, 1).

    Returns:
        Hash by locale; a locale too small to give a session is left out.
    """
    drawn = stored(con, "drawn", sessions.select("locale", draw=_draw(sessions, seed)))
    begun = drawn.group_by("locale", begin=drawn.draw.substr(0, _BEGIN)).aggregate(num=drawn.count())
    parts: dict[str, dict[str, int]] = {}
    for row in con.to_pyarrow(begun).to_pylist():
        parts.setdefault(row["locale"], {})[row["begin"]] = row["num"]
    found = {locale: _begin_of_limit(nums, share) for locale, nums in sorted(parts.items())}
    places = {locale: one for locale, one in found.items() if one is not None}
    if not places:
        return {}
    begins, ranks = (ibis.map(list(places), [one[part] for one in places.values()]) for part in (0, 1))
    near = drawn.filter(drawn.draw.substr(0, _BEGIN) == begins.get(drawn.locale, ""))
    ordered = near.mutate(place=ibis.row_number().over(group_by="locale", order_by="draw") + 1)
    last = ordered.filter(ordered.place == ranks.get(ordered.locale, 0))
    return {row["locale"]: row["draw"] for row in con.to_pyarrow(last.select("locale", "draw")).to_pylist()}


def _begin_of_limit(nums: Mapping[str, int], share: float) -> tuple[str, int] | None:
    """How the limit of a locale begins, and its rank among the hashes that begin so; None where there is none."""
    rank = validation_size(sum(nums.values()), share)
    for begin in sorted(nums) if rank else ():
        if rank <= nums[begin]:
            return begin, rank
        rank -= nums[begin]
    return None


def in_validation(sessions: ir.Table, limits: Mapping[str, str], *, seed: int) -> ir.BooleanValue:
    """Whether a session belongs to validation, given `validation_limits` of the same table and seed."""
    if not limits:
        return ibis.literal(False)
    # Every hash is above the empty text, so a locale without a limit gives nothing to validation.
    limit = ibis.map(list(limits), list(limits.values())).get(sessions.locale, "")
    return _draw(sessions, seed) <= limit


def _draw(sessions: ir.Table, seed: int) -> ir.StringValue:
    return md5(ibis.literal(f"{seed}:") + sessions.session_id.cast("string"))
