"""What rankers keep of counts that no machine's memory holds, as ibis expressions; codes of items are numbers.

`llmrec.rankers.counting.pair_sums`, `llmrec.rankers.catalogue` and the rankers do the same with arrays; tests hold both
ways equal.
"""

from __future__ import annotations

from typing import Final

import ibis
import ibis.expr.types as ir

__all__ = ["ages_in", "heaviest", "held_counts", "held_in_all", "most_followed", "most_held", "steps_in", "totals"]

_LONGEST: Final = 1 << 20  # items of a session; a place among all events is its number times this, and its position


def steps_in(events: ir.Table) -> ir.Table:
    """What `llmrec.rankers.counting.counts.steps_of` gives, of ``session``, ``position`` and ``item``; places rise as
    those do.
    """
    target = events.item.lead().over(group_by=events.session, order_by=events.position)
    steps = events.select(source=events.item, target=target, place=_place(events))
    return steps.filter(steps.target.notnull())


def heaviest(sums: ir.Table, number: int) -> ir.Table:
    """The ``number`` targets of each source of most ``weight``, ties to the smaller code."""
    placed = sums.mutate(place=ibis.row_number().over(group_by="source", order_by=[sums.weight.desc(), sums.target]))
    return placed.filter(placed.place < number).drop("place")


def totals(sums: ir.Table, ends: str) -> ir.Table:
    """What the weights of each ``source`` or ``target`` add up to: ``item``, ``total``."""
    return sums.group_by(item=sums[ends]).agg(total=sums.weight.sum())


def held_counts(events: ir.Table) -> ir.Table:
    """How often a locale's sessions hold an item: ``locale``, ``item``, ``held``."""
    return events.group_by("locale", "item").agg(held=events.count())


def held_in_all(held: ir.Table) -> ir.Table:
    """How often all sessions hold an item: ``item``, ``held``, from `held_counts`."""
    return held.group_by("item").agg(held=held.held.sum())


def most_held(held: ir.Table, number: int) -> ir.Table:
    """The ``number`` items of each locale that are held most often, ties to the smaller code, with their ``place``."""
    placed = held.mutate(place=ibis.row_number().over(group_by="locale", order_by=[held.held.desc(), held.item]))
    return placed.filter(placed.place < number)


def most_followed(events: ir.Table, number: int, least: int) -> ir.Table:
    """The ``number`` items that stand most often at position ``least`` or after, of equal ones the first: ``item``."""
    later = events.filter(events.position >= least)
    counted = later.group_by("item").agg(times=later.count(), first=_place(later).min())
    return counted.order_by([counted.times.desc(), counted.first]).limit(number).select("item")


def ages_in(events: ir.Table) -> ir.Table:
    """Each item of a session once, and how many items come after it where it stands last: ``age``."""
    return events.group_by("session", "item").agg(age=(events.length - 1 - events.position).min())


def _place(events: ir.Table) -> ir.IntegerValue:
    place: ir.IntegerValue = events.session.cast("int64") * _LONGEST + events.position
    return place
