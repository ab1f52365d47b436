"""What is cut by expressions is what is cut in arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pytest

from llmrec.arrays import Ints
from llmrec.rankers.catalogue import Catalogue, catalogue_and_codes
from llmrec.rankers.counting.counts import events_of, neighbour_weights, newest_sessions, steps_of
from llmrec.rankers.counting.cuts import (
    ages_in,
    heaviest,
    held_counts,
    held_in_all,
    most_followed,
    most_held,
    steps_in,
    totals,
)
from llmrec.rankers.counting.engine import counted
from llmrec.rankers.counting.pair_sums import best_of_each
from llmrec.rankers.counting.popularity import Popularity, PopularitySettings
from llmrec.rankers.counting.rows import WeightedRows
from llmrec.rankers.counting.stan import Stan, StanSettings
from llmrec.rankers.sessions import CodedSessions
from llmrec.testing.ranker_contract import training_sessions

NUM_ITEMS = 24


@pytest.fixture(scope="module")
def coded() -> tuple[Catalogue, CodedSessions]:
    return catalogue_and_codes(training_sessions())


def columns(table: pa.Table, *names: str) -> list[Ints]:
    return [table[name].to_numpy() for name in names]


def run(coded: CodedSessions, expression: Callable[[ir.Table], ir.Table]) -> pa.Table:
    """An expression over events, which also say their session's locale."""
    events = events_of(coded).append_column("locale", pa.array(coded.locales[coded.rows]))
    return counted("duckdb", events, expression)


def test_steps_are_those_of_arrays_in_the_same_order(coded: tuple[Catalogue, CodedSessions]) -> None:
    here, there = steps_of(coded[1]), run(coded[1], lambda events: steps_in(events).order_by("place"))
    for one, other in zip(columns(here, "source", "target"), columns(there, "source", "target"), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (np.diff(there["place"].to_numpy()) > 0).all()


@pytest.mark.parametrize("number", [3, 100])
def test_the_heaviest_are_those_of_arrays_ties_included(number: int, coded: tuple[Catalogue, CodedSessions]) -> None:
    def sums(events: ir.Table) -> ir.Table:
        return neighbour_weights(events, (2.0, 1.0), (1.0,), 1.0, False)

    table = run(coded[1], lambda events: sums(events).order_by("source", "target"))
    rows = WeightedRows.of(table, "source", "target", NUM_ITEMS)
    best = best_of_each(replace(rows, weights=table["weight"].to_numpy()), 0, 0, number)
    cut = run(coded[1], lambda events: heaviest(sums(events), number).order_by("source", "target"))
    found = WeightedRows.of(cut, "source", "target", NUM_ITEMS, "weight")
    for one, other in zip(best.arrays("x").values(), found.arrays("x").values(), strict=True):
        np.testing.assert_array_equal(one, other)
    for ends, codes in (("source", rows.rows), ("target", rows.values)):
        total = run(coded[1], lambda events, ends=ends: totals(sums(events), ends).order_by("item"))
        expected = np.bincount(codes, table["weight"].to_numpy(), NUM_ITEMS)
        np.testing.assert_array_equal(expected[expected > 0], total["total"].to_numpy())


def test_what_is_held_most_is_what_the_catalogue_calls_popular(coded: tuple[Catalogue, CodedSessions]) -> None:
    catalogue, sessions = coded
    table = run(sessions, lambda events: most_held(held_counts(events), 9).order_by("locale", "place"))
    np.testing.assert_array_equal(table["item"].to_numpy().reshape(2, 9), catalogue.popular[:2, :9])
    every = run(sessions, lambda events: held_in_all(held_counts(events)).order_by("item"))
    np.testing.assert_array_equal(every["held"].to_numpy(), np.bincount(sessions.items))


def test_what_follows_most_is_the_padding_of_popularity() -> None:
    training = training_sessions()
    alone = training.take(np.arange(3))  # of which nothing follows once they are cut
    for sessions, settings in ((training, PopularitySettings(padding=7)), (alone, PopularitySettings(padding=2))):
        coded = catalogue_and_codes(sessions)[1]
        fitted = Popularity(settings).fit(sessions)
        table = run(coded, lambda events, settings=settings: most_followed(events, settings.padding, 1))
        np.testing.assert_array_equal(table["item"].to_numpy(), fitted._state()["padding"])


def test_ages_are_those_of_the_last_place(coded: tuple[Catalogue, CodedSessions]) -> None:
    fitted = Stan(StanSettings()).fit(training_sessions())
    table = run(coded[1], lambda events: ages_in(events).order_by(events.session.desc(), "item"))
    np.testing.assert_array_equal(table["age"].to_numpy(), fitted._state()["sessions.weights"])
    np.testing.assert_array_equal(table["item"].to_numpy(), fitted._state()["sessions.codes"])
    newest = run(coded[1], lambda events: newest_sessions(events, 1000).order_by("item", "session"))
    assert len(newest) == len(table)
