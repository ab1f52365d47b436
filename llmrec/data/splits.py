"""Development and validation: 90/10 by session, seeded, stratified by locale (paper App. A)."""

from __future__ import annotations

from collections.abc import Mapping

import ibis
import ibis.expr.types as ir
from ibis.backends.duckdb import Backend
from ibis.util import gen_name

__all__ = ["in_validation", "validation_limits", "validation_size"]


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
    counted = con.to_pyarrow(sessions.group_by("locale").aggregate(num_sessions=sessions.count())).to_pylist()
    sizes = {row["locale"]: validation_size(row["num_sessions"], share) for row in counted}
    sizes = {locale: size for locale, size in sorted(sizes.items()) if size}
    if not sizes:
        return {}
    drawn = con.create_table(gen_name("drawn"), sessions.select("locale", draw=_draw(sessions, seed)), temp=True)
    # Hashes are spread evenly: the limit lies near the share, and hardly more than what is below it needs ordering.
    for most in (_text_of(1.2 * share + 0.01), _text_of(1)):
        below = drawn.filter(drawn.draw <= most)
        held = con.to_pyarrow(below.group_by("locale").aggregate(held=below.count())).to_pylist()
        enough = {row["locale"]: row["held"] for row in held}
        if all(enough.get(locale, 0) >= size for locale, size in sizes.items()):
            break
    ordered = below.mutate(place=ibis.row_number().over(group_by="locale", order_by="draw") + 1)
    last = ordered.filter(ordered.place == ibis.map(list(sizes), list(sizes.values())).get(ordered.locale, 0))
    return {row["locale"]: row["draw"] for row in con.to_pyarrow(last.select("locale", "draw")).to_pylist()}


def in_validation(sessions: ir.Table, limits: Mapping[str, str], *, seed: int) -> ir.BooleanValue:
    """Whether a session belongs to validation, given `validation_limits` of the same table and seed."""
    if not limits:
        return ibis.literal(False)
    # Every hash is above the empty text, so a locale without a limit gives nothing to validation.
    limit = ibis.map(list(limits), list(limits.values())).get(sessions.locale, "")
    return _draw(sessions, seed) <= limit


def _text_of(part: float) -> str:
    """Hash below which that part of all hashes lies."""
    return "f" * 32 if part >= 1 else f"{int(part * 16**8):08x}"


def _draw(sessions: ir.Table, seed: int) -> ir.StringValue:
    return md5(ibis.literal(f"{seed}:") + sessions.session_id.cast("string"))
