"""Cases out of sessions: what stands before a target, the target, and the side of the cut it is on."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import ibis
import ibis.expr.types as ir

__all__ = ["LEARN", "TEST", "VALIDATE", "Split", "cases", "counts"]

LEARN: Final = 0
VALIDATE: Final = 1
TEST: Final = 2


class Split(NamedTuple):
    """Where time cuts the sessions.

    Attributes:
        test: Begin of the test, in microseconds since 1970; None where nothing is tested.
        validation: Begin of the validation; None where it is drawn, or begins with the test.
        prefixes: Whether a test session's target is its last event, or each event but the first is one.
        typed: Whether targets must be of the types that may be one (``goal``).
    """

    test: int | None
    validation: int | None
    prefixes: Literal["last", "all"]
    typed: bool


def cases(sessions: ir.Table, split: Split) -> ir.Table:
    """Cases of sessions.

    Returns:
        ``side`` (`LEARN`, `VALIDATE` or `TEST`), ``time`` and ``row`` of the target, ``goal`` (whether it is of the
        types asked for), ``prev_items``, ``next_item``, ``locale``.
    """
    known = _marked(sessions, split)
    learnt = known.filter((known.side != TEST) & (known.last_place >= 1))
    learnt = learnt.mutate(place=ibis.cases((learnt.goal_place >= 1, learnt.goal_place), else_=learnt.last_place))
    if split.test is None:
        return _case(learnt)
    tested = known.filter((known.side == TEST) & (known.last_place >= 1))
    if split.prefixes == "all":
        tested = tested.mutate(place=ibis.range(1, tested.last_place + 1).unnest())
        tested = tested.filter(tested.steps[tested.place].goal)
    else:
        tested = tested.filter(tested.goal_place >= 1).mutate(place=lambda one: one.goal_place)
    tested = tested.filter(tested.steps[tested.place].time >= split.test)
    return _case(learnt).union(_case(tested))


def counts(sessions: ir.Table, split: Split) -> ir.Table:
    """One row: how many sessions are ``alone`` (of one item), ``crossing`` the cut, ``untested``, ``unlabelled``."""
    known = _marked(sessions, split)
    alone = known.last_place < 1
    tested = ~alone & (known.side == TEST)
    begin = split.test if split.test is not None else 0
    targeted = (known.goal_place >= 1) & (known.steps[known.goal_place].time >= begin)
    return known.aggregate(
        alone=alone.sum(),
        crossing=(tested & (known.steps[0].time < begin)).sum(),
        untested=(tested & ~targeted & ibis.literal(split.prefixes == "last")).sum(),
        unlabelled=(~alone & (known.side != TEST) & (known.goal_place < 1)).sum(),
    )


def _marked(sessions: ir.Table, split: Split) -> ir.Table:
    """Sessions with their ``side``, told by the last event, and the places of that and of the last possible target."""
    steps = sessions.steps
    last_place = steps.length() - 1
    last = steps[last_place].time
    sides = [
        (last >= begin, side) for begin, side in ((split.test, TEST), (split.validation, VALIDATE)) if begin is not None
    ]
    goal_place: ir.Value = last_place
    if split.typed:
        goal_place = steps.map(lambda step, place: ibis.cases((step.goal, place), else_=-1)).maxs()
    return sessions.mutate(
        side=ibis.cases(*sides, else_=LEARN) if sides else ibis.literal(LEARN),
        last_place=last_place,
        goal_place=goal_place,
    )


def _case(placed: ir.Table) -> ir.Table:
    target = placed.steps[placed.place]
    return placed.select(
        side=placed.side.cast("int8"),
        time=target.time,
        row=target.row,
        goal=target.goal,
        prev_items=placed.steps[: placed.place].map(lambda step: step.item),
        next_item=target.item,
        locale=placed.locale,
    )
