"""The plain reference: sessions and cases of a log, one event after the other."""

from __future__ import annotations

from typing import Any, NamedTuple


class Event(NamedTuple):
    """A row of a log; ``time`` in seconds."""

    user: str
    item: str
    time: int
    type: str = "view"
    locale: str = "UK"


def sessions_of(events: list[Event], gap_s: int = 1800, weights: dict[str, float] | None = None) -> list[list[Any]]:
    """Sessions as lists of (time, row, event)."""
    kept = [(one.time, row, one) for row, one in enumerate(events) if weights is None or weights.get(one.type)]
    made: list[list[Any]] = []
    for key in sorted({(one.user, one.locale) for *_, one in kept}):
        mine = sorted(step for step in kept if (step[2].user, step[2].locale) == key)
        for step in mine:
            if made and (made[-1][-1][2].user, made[-1][-1][2].locale) == key and step[0] - made[-1][-1][0] <= gap_s:
                made[-1].append(step)
            else:
                made.append([step])
    return made


def one_in_a_row(session: list[Any], weights: dict[str, float], reloads: bool) -> list[Any]:
    """A session without what a heavier event of the same item follows, then without repeats."""
    left = []
    for step, following in zip(session, [*session[1:], None], strict=True):
        grows = following is not None and following[2].item == step[2].item
        if not (grows and weights[following[2].type] > weights[step[2].type]):
            left.append(step)
    if not reloads:
        return left
    return [step for place, step in enumerate(left) if place == 0 or left[place - 1][2].item != step[2].item]


def cases_of(
    sessions: list[list[Any]], test: int | None, *, prefixes: str = "last", targets: tuple[str, ...] = ()
) -> tuple[list[Any], list[Any]]:
    """Training and test cases as (prev_items, next_item, locale), by the targets' times."""
    learnt, tested = [], []
    for steps in sessions:
        goals = [place for place, step in enumerate(steps) if place and (not targets or step[2].type in targets)]
        if len(steps) < 2:
            continue
        if test is None or steps[-1][0] < test:
            learnt.append((steps, goals[-1] if goals else len(steps) - 1))
        else:
            wanted = goals if prefixes == "all" else goals[-1:]
            tested += [(steps, place) for place in wanted if steps[place][0] >= test]
    return _told(learnt), _told(tested)


def _told(cases: list[Any]) -> list[Any]:
    ordered = sorted(cases, key=lambda case: case[0][case[1]][:2])
    return [
        ([step[2].item for step in steps[:place]], steps[place][2].item, steps[place][2].locale)
        for steps, place in ordered
    ]
