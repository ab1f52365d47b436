"""What is counted in sessions, as ibis expressions that any engine runs.

Weights are added up as whole numbers of `UNIT` in float64, exact below 2^53: a sum does not depend on the order of its
terms, hence neither on the number of threads nor on the engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa

from llmrec.rankers.sessions import CodedSessions

__all__ = [
    "UNIT",
    "both_ways",
    "events_of",
    "followers",
    "neighbour_weights",
    "newest_sessions",
    "pair_sums",
    "steps_of",
]

UNIT: Final = 2.0**-20


def events_of(sessions: CodedSessions) -> pa.Table:
    """One row for each item of each training session.

    Returns:
        ``session`` and ``position`` (from 0), ``item`` (code), ``length`` of the session, ``labelled``; ``counts``,
        how much the session counts, where some count less than once.
    """
    rows = sessions.rows
    columns = {
        "session": pa.array(rows.astype(np.int32)),
        "position": pa.array((np.arange(len(rows)) - sessions.offsets[rows]).astype(np.int32)),
        "item": pa.array(sessions.items.astype(np.int32)),
        "length": pa.array(sessions.lengths[rows].astype(np.int32)),
        "labelled": pa.array(sessions.with_label[rows]),
    }
    if sessions.weights is not None:
        columns["counts"] = pa.array(sessions.weights[rows])
    return pa.table(columns)


def steps_of(sessions: CodedSessions) -> pa.Table:
    """One row for each two consecutive items of a training session: ``source``, ``target`` (codes), ``place``, and how
    much the session ``counts``, where some count less than once.
    """
    items, (first, second) = sessions.items.astype(np.int32), sessions.apart(1)
    columns = {"source": items[first], "target": items[second], "place": first}
    return pa.table(
        columns if sessions.weights is None else columns | {"counts": sessions.weights[sessions.rows[first]]}
    )


def followers(steps: ir.Table) -> ir.Table:
    """How often each item directly follows another, itself included: ``source``, ``target``, ``weight``.

    ``first`` is the place where the pair stands first.

    Args:
        steps: Table of `steps_of`.
    """
    number = steps.count().cast("float64")
    if "counts" in steps.columns:
        number = (steps.counts / UNIT).round().cast("float64").sum() * UNIT
    return steps.group_by("source", "target").agg(weight=number, first=steps.place.min())


def neighbour_weights(
    events: ir.Table,
    forward: Sequence[float],
    backward: Sequence[float],
    labelled_weight: float,
    repeats: bool,
) -> ir.Table:
    """Weight of each item as a neighbour of another, above 0: ``source``, ``target``, ``weight``.

    Args:
        events: Table of `events_of`.
        forward: What a target one, two, … places after the source adds.
        backward: The same for a target before the source.
        labelled_weight: Factor for pairs that end with a ``next_item``.
        repeats: Whether an item is its own neighbour where it comes again.
    """
    return both_ways(pair_sums(events, forward, backward, labelled_weight, repeats))


def pair_sums(
    events: ir.Table,
    forward: Sequence[float],
    backward: Sequence[float],
    labelled_weight: float,
    repeats: bool,
) -> ir.Table:
    """What two items add up to in whole `UNIT`: ``low``, ``high`` (codes), ``up`` for ``high`` as a neighbour of
    ``low``, ``down`` the other way; arguments as of `neighbour_weights`.
    """
    pairs = _pairs(events, max(len(forward), len(backward)))
    if not repeats:
        pairs = pairs.filter(pairs.source != pairs.target)
    after = _by_distance(pairs, forward, labelled_weight)
    before = _by_distance(pairs, backward, labelled_weight)
    rising, same = pairs.source < pairs.target, pairs.source == pairs.target
    # one group for both directions of a pair: half the groups of counting each direction by itself
    return pairs.group_by(
        low=ibis.least(pairs.source, pairs.target), high=ibis.greatest(pairs.source, pairs.target)
    ).agg(
        up=ibis.cases((same, after + before), (rising, after), else_=before).sum(),
        down=ibis.cases((same, _whole(0)), (rising, before), else_=after).sum(),
    )


def both_ways(summed: ir.Table) -> ir.Table:
    """A row for each direction of what `pair_sums` gave: ``source``, ``target``, ``weight``, above 0."""
    up = summed.select(source="low", target="high", weight=summed.up * UNIT)
    down = summed.select(source="high", target="low", weight=summed.down * UNIT)
    return up.union(down).filter(lambda pair: pair.weight > 0)


def newest_sessions(events: ir.Table, number: int) -> ir.Table:
    """The last ``number`` sessions, in training order, that hold each item: ``item``, ``session``."""
    held = events.select("item", "session").distinct()
    placed = held.mutate(place=ibis.row_number().over(group_by="item", order_by=held.session.desc()))
    return placed.filter(placed.place < number).drop("place")


def _pairs(events: ir.Table, window: int) -> ir.Table:
    """Items of one session at most ``window`` apart: ``source``, later ``target``, ``distance``, ``label``."""
    first, second = events, events.view()
    # an equality is part of the hash that joins; a range is looked at for each two items of a session
    apart = (
        [second.position == first.position + 1]
        if window == 1
        else [second.position > first.position, second.position <= first.position + window]
    )
    counts = {"counts": first.counts} if "counts" in events.columns else {}
    return first.join(second, [first.session == second.session, *apart]).select(
        source=first.item,
        target=second.item,
        distance=second.position - first.position,
        label=second.labelled & (second.position == second.length - 1),
        **counts,
    )


def _by_distance(pairs: ir.Table, weights: Sequence[float], labelled_weight: float) -> Any:
    """Weight of each pair in whole `UNIT`, by its distance."""
    if not weights:
        return _whole(0)
    plain, labelled = (
        ibis.cases(
            *(
                (pairs.distance == place, _whole(round(weight * factor / UNIT)))
                for place, weight in enumerate(weights, 1)
            ),
            else_=_whole(0),
        )
        for factor in (1.0, labelled_weight)
    )
    whole = plain if labelled_weight == 1 else ibis.cases((pairs.label, labelled), else_=plain)
    return (whole * pairs.counts).round().cast("float64") if "counts" in pairs.columns else whole


def _whole(number: int) -> Any:
    """A whole number in float64: what is written as 1.0 is a decimal to both engines, which is slower to add up."""
    return ibis.literal(number, "int64").cast("float64")
