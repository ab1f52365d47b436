"""Synthetic sessions: walks over a locale's product graph, thousands of sessions at once.

A walk starts at a line by its popularity. A step repeats an item, or goes to another variant of the line, to a line
beside it (the same family at nearly the same price), to a line of a sister family at the same rank of price (an
accessory in the same budget), or drifts anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Ints
from llmrec.ragged import flat_ranges, offsets_of
from llmrec.synth.product_lines import SyntheticCatalogue
from llmrec.synth.words import Lexicon

__all__ = ["LocaleGraph", "Walks", "build_graph", "draw_lengths", "walk"]

Floats = NDArray[np.float64]

_MIN_LENGTH: Final = 2  # as in the released test files
_TAIL: Final = (12, 400)  # a few sessions are very long: "larger than 100" (paper §3)
_TAIL_SHARE: Final = 0.0012

# Chances of a step that repeats nothing: variant, neighbouring line, accessory line, drift.
_MOVES: Final = (0.20, 0.47, 0.17, 0.16)
_NEIGHBOURS: Final = (1, -1, 2, -2, 3)  # places along a family's order of prices, the likeliest first
_FAMILY_LINES: Final = 4  # with fewer lines a family's neighbours are the families beside it
_NEIGHBOUR_CHANCES: Final = (0.40, 0.25, 0.17, 0.11, 0.07)
# Chance that step 1, 2, 3 … repeats an item of the session; some repeat the item just before. Set so that about
# .35 of the sessions hold a repeat (paper Fig. 2d).
_REPEAT: Final = (0.07, 0.11, 0.13, 0.13)
_REPEAT_LAST: Final = 0.4
_COLD_ATTEMPTS: Final = 8
_POPULARITY: Final = 0.75  # exponent of the long tail of lines (paper Fig. 2a)


@dataclass(frozen=True)
class LocaleGraph:
    """A locale's lines in order of family and price, and where a walk can go from each.

    Attributes:
        first: Shape ``(P,)``; product number of a line's slot 0.
        open: Shape ``(P,)``; slots that training may use.
        size: Shape ``(P,)``; all slots.
        cumulative: Shape ``(P,)``; popularity of the lines, summed up to 1.
        neighbours: Shape ``(P, 5)``; positions of lines beside it, likeliest first.
        accessories: Shape ``(P, 3)``; positions of lines of the sister families.
        held_out: Shape ``(P,)``; position of the nearest line with reserved slots.
    """

    first: Ints
    open: Ints
    size: Ints
    cumulative: Floats
    neighbours: Ints
    accessories: Ints
    held_out: Ints


@dataclass(frozen=True)
class Walks:
    """Sessions as one flat array: session ``i`` is ``items[offsets[i]:offsets[i + 1]]``, product numbers.

    ``targets`` has shape ``(S,)`` and is never among the session's own items.
    """

    offsets: Ints
    items: Ints
    targets: Ints


def build_graph(catalogue: SyntheticCatalogue, locale: str, lexicon: Lexicon, rng: np.random.Generator) -> LocaleGraph:
    """Lay out a locale's lines and draw their popularity."""
    numbers = catalogue.sold[locale]
    lines = catalogue.lines
    family = lines.family[numbers]
    position = np.arange(len(numbers))
    starts = np.searchsorted(family, np.arange(len(lexicon.families)))
    counts = np.bincount(family, minlength=len(lexicon.families))
    rank = position - starts[family]
    alone = counts[family] < _FAMILY_LINES
    steps = [
        np.where(alone, (position + step) % len(numbers), starts[family] + (rank + step) % counts[family])
        for step in _NEIGHBOURS
    ]
    weights = (rng.permutation(len(numbers)) + 3.0) ** -_POPULARITY
    return LocaleGraph(
        first=lines.first[numbers],
        open=lines.size[numbers] - lines.reserved[numbers],
        size=lines.size[numbers],
        cumulative=np.cumsum(weights) / weights.sum(),
        neighbours=np.stack(steps, axis=1),
        accessories=_accessories(family, rank, starts, counts, lexicon),
        held_out=_nearest(lines.reserved[numbers] > 0),
    )


def _accessories(family: Ints, rank: Ints, starts: Ints, counts: Ints, lexicon: Lexicon) -> Ints:
    departments = [one.department for one in lexicon.families]
    columns = []
    for step in (1, 2, 3):
        sisters = []
        for number, department in enumerate(departments):
            group = [other for other, its in enumerate(departments) if its == department]
            sisters.append(group[(group.index(number) + step) % len(group)])
        sister = np.array(sisters)[family]
        there = starts[sister] + rank * counts[sister] // counts[family]
        beside = (starts[family] + rank + step) % len(family)
        columns.append(np.where(counts[sister] > 0, there, beside))
    return np.stack(columns, axis=1)


def _nearest(wanted: NDArray[np.bool_]) -> Ints:
    """Position of the nearest true value for each position."""
    places = np.flatnonzero(wanted)
    position = np.arange(len(wanted))
    after = np.minimum(np.searchsorted(places, position), len(places) - 1)
    before = np.maximum(after - 1, 0)
    closer = np.abs(places[before] - position) < np.abs(places[after] - position)
    return np.where(closer, places[before], places[after])


def draw_lengths(count: int, mean: float, rng: np.random.Generator) -> Ints:
    """Lengths of ``prev_items``: at least 2, geometric with a thin power-law tail, with the given mean.

    Returns:
        Shape ``(count,)``.
    """
    tail = np.arange(_TAIL[0], _TAIL[1] + 1)
    weights = tail**-3.0 / np.sum(tail**-3.0)
    body = (mean - _TAIL_SHARE * float(tail @ weights)) / (1 - _TAIL_SHARE)
    lengths = rng.geometric(1 / (body - _MIN_LENGTH + 1), size=count) - 1 + _MIN_LENGTH
    is_long = rng.random(count) < _TAIL_SHARE
    return np.where(is_long, rng.choice(tail, size=count, p=weights), lengths)


def walk(graph: LocaleGraph, lengths: Ints, rng: np.random.Generator, cold: bool = False) -> Walks:
    """Walk one session for each length, and one step more for its target.

    Args:
        graph: The locale.
        lengths: Shape ``(S,)``; items of each session.
        rng: Source of chance.
        cold: Targets are reserved products, which no other session holds (Task 3).
    """
    offsets = offsets_of(lengths)
    lines = np.zeros(offsets[-1], dtype=np.int64)
    slots = np.zeros(offsets[-1], dtype=np.int64)
    lines[offsets[:-1]], slots[offsets[:-1]] = _drift(graph, len(lengths), rng)
    for step in range(1, int(lengths.max(initial=1))):
        here = offsets[:-1][lengths > step] + step
        line, slot = _step(graph, lines[here - 1], slots[here - 1], rng)
        repeats = rng.random(len(here)) < _REPEAT[min(step, len(_REPEAT)) - 1]
        back = np.where(rng.random(len(here)) < _REPEAT_LAST, 1, rng.integers(1, step + 1, size=len(here)))
        lines[here] = np.where(repeats, lines[here - back], line)
        slots[here] = np.where(repeats, slots[here - back], slot)
    items = graph.first[lines] + slots
    last = offsets[1:] - 1
    if cold:
        return Walks(offsets, items, _cold_targets(graph, lines[last], slots[last], rng))
    return Walks(offsets, items, _new_targets(graph, offsets, items, (lines[last], slots[last]), rng))


def _drift(graph: LocaleGraph, count: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    line = np.minimum(np.searchsorted(graph.cumulative, rng.random(count)), len(graph.first) - 1)
    return line, _popular_slot(graph.open[line], rng)


def _popular_slot(slots: Ints, rng: np.random.Generator) -> Ints:
    """Slot in ``[0, slots)``, drawn by Zipf's law: the chance of slot s goes with log((s + 2) / (s + 1))."""
    drawn = np.floor(np.exp(rng.random(len(slots)) * np.log(slots + 1))).astype(np.int64) - 1
    return np.clip(drawn, 0, slots - 1)


def _step(graph: LocaleGraph, line: Ints, slot: Ints, rng: np.random.Generator) -> tuple[Ints, Ints]:
    count = len(line)
    move = np.searchsorted(np.cumsum(_MOVES[:-1]), rng.random(count))
    beside = np.searchsorted(np.cumsum(_NEIGHBOUR_CHANCES[:-1]), rng.random(count))
    sister = np.minimum(rng.geometric(0.6, size=count), graph.accessories.shape[1]) - 1
    drift, _ = _drift(graph, count, rng)
    move = np.where((move == 0) & (graph.open[line] == 1), 1, move)
    to = np.choose(move, [line, graph.neighbours[line, beside], graph.accessories[line, sister], drift])
    chosen = _popular_slot(graph.open[to], rng)
    near = (slot + rng.integers(1, 3, size=count)) % graph.open[to]  # the next colour or size
    stays = (to == line) & (rng.random(count) < 0.6)
    return to, np.where(stays, near, chosen)


def _cold_targets(graph: LocaleGraph, line: Ints, slot: Ints, rng: np.random.Generator) -> Ints:
    """Reserved products: steps are drawn again until they come to a line that has some, at last the nearest."""
    to = np.zeros(len(line), dtype=np.int64)
    todo = np.arange(len(line))
    for _ in range(_COLD_ATTEMPTS):
        to[todo], _ = _step(graph, line[todo], slot[todo], rng)
        todo = todo[graph.size[to[todo]] == graph.open[to[todo]]]
    to = graph.held_out[to]
    reserved = graph.size[to] - graph.open[to]
    return graph.first[to] + graph.open[to] + np.floor(rng.random(len(to)) * reserved).astype(np.int64)


def _new_targets(
    graph: LocaleGraph, offsets: Ints, items: Ints, last: tuple[Ints, Ints], rng: np.random.Generator
) -> Ints:
    """Targets that are not in their session: steps are drawn again until none is."""
    targets = np.zeros(len(offsets) - 1, dtype=np.int64)
    todo = np.arange(len(targets))
    lengths = np.diff(offsets)
    attempts = 0
    while len(todo):
        if attempts < 8:
            line, slot = _step(graph, last[0][todo], last[1][todo], rng)
        else:  # the neighbourhood is used up
            line = rng.integers(0, len(graph.first), size=len(todo))
            slot = np.floor(rng.random(len(todo)) * graph.open[line]).astype(np.int64)
        targets[todo] = graph.first[line] + slot
        seen = items[flat_ranges(offsets[todo], lengths[todo])] == np.repeat(targets[todo], lengths[todo])
        todo = todo[np.logical_or.reduceat(seen, offsets_of(lengths[todo])[:-1])]
        attempts += 1
    return targets
