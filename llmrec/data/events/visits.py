"""Sessions out of events: each user's, by time, cut at rests; with ibis expressions that DuckDB and Spark both run."""

from __future__ import annotations

from typing import NamedTuple

import ibis
import ibis.expr.types as ir

__all__ = ["Cut", "bots", "grown", "people", "shortened_steps", "visits", "without_reloads"]


class Cut(NamedTuple):
    """Where sessions end, and whose events are left out.

    Attributes:
        gap: Rest that ends a session, in microseconds; None where its column alone says it.
        by_session: Whether there is such a column.
        max_events: A user with more is a bot; 0 where nobody is.
    """

    gap: int | None
    by_session: bool
    max_events: int


def bots(events: ir.Table, cut: Cut) -> ir.Table:
    """Users with more events than people have: ``user``, ``num``."""
    counted = events.group_by("user").aggregate(num=events.count())
    return counted.filter(counted.num > (cut.max_events or 2**62))


def people(events: ir.Table, cut: Cut) -> ir.Table:
    """Events of all others."""
    return events.anti_join(bots(events, cut), "user") if cut.max_events else events


def visits(events: ir.Table, cut: Cut) -> ir.Table:
    """Sessions with their steps.

    Args:
        events: ``user``, ``session``, ``locale``, ``item``, ``time``, ``row``, ``weight``, ``goal``; those of a user
            are all there.
        cut: Where sessions end.

    Returns:
        ``locale`` and ``steps``: a list of (``time``, ``row``, ``item``, ``weight``, ``goal``), by time and then row.
    """
    # Who changes the shop's locale begins another session: its items are of another catalogue.
    key = ["user", "locale", *(["session"] if cut.by_session else [])]
    visit: ir.Value = ibis.literal(0)
    if cut.gap is not None:
        order = ["time", "row"]
        before = events.time.lag().over(ibis.window(group_by=key, order_by=order))
        events = events.mutate(begins=ibis.coalesce((events.time - before > cut.gap).cast("int64"), 0))
        visit = events.begins.sum().over(ibis.cumulative_window(group_by=key, order_by=order))
    events = events.mutate(visit=visit)
    # Structs sort by their fields in this order, on both engines, without a second look at the events.
    step = ibis.struct({name: events[name] for name in ("time", "row", "item", "weight", "goal")})
    gathered = events.mutate(step=step).group_by(*key, "visit").aggregate(steps=lambda one: one.step.collect())
    return gathered.select("locale", steps=gathered.steps.sort())


def grown(sessions: ir.Table) -> ir.Table:
    """Sessions of `visits` without an event that a heavier one of its item follows: of view and purchase the latter."""
    steps = sessions.steps
    return sessions.mutate(
        steps=steps.filter(
            lambda step, place: (
                (place == steps.length() - 1)
                | (steps[place + 1].item != step.item)
                | (steps[place + 1].weight <= step.weight)
            )
        )
    )


def without_reloads(sessions: ir.Table) -> ir.Table:
    """Sessions that keep the first of several events of one item in a row."""
    steps = sessions.steps
    return sessions.mutate(steps=steps.filter(lambda step, place: (place == 0) | (steps[place - 1].item != step.item)))


def shortened_steps(sessions: ir.Table, max_items: int) -> ir.Table:
    """Sessions that keep no more than their last items."""
    steps = sessions.steps
    too_long = steps.length() > max_items
    return sessions.mutate(steps=ibis.cases((too_long, steps[-max_items:]), else_=steps))
