"""A log's sessions and splits, against a reference that goes from event to event."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from llmrec.data.events.making import import_events
from llmrec.data.store import Store
from tests.data.events.naive import Event, cases_of, one_in_a_row, sessions_of

# ibis 12 still calls what DuckDB 2 renamed
pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")

BEGIN = 1_764_000_000  # 2025-11-24 16:00
WEIGHTS = {"view": 1.0, "cart": 2.0, "purchase": 3.0}
EVENTS = st.builds(
    Event,
    user=st.sampled_from(["ann", "bob", "eve"]),
    item=st.sampled_from(["P1", "P2", "P3", "P4"]),
    time=st.integers(0, 40).map(lambda part: BEGIN + part * 607),  # some rests are longer than 30 minutes
    type=st.sampled_from([*WEIGHTS, "search"]),
    locale=st.sampled_from(["UK", "UK", "DE"]),
)
LOGS = st.lists(EVENTS, min_size=30, max_size=120)
SLOW = settings(
    phases=[Phase.generate],  # to shrink takes minutes
    max_examples=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)


def write(path: Path, events: list[Event]) -> Path:
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["user_id", "product_id", "timestamp", "event_type", "locale"])
        writer.writerows((one.user, one.item, one.time, one.type, one.locale) for one in events)
    return path


def rows(path: Path) -> list[dict[str, Any]]:
    return pq.read_table(path).to_pylist()


def to_learn(store: Store) -> list[tuple[Any, ...]]:
    both = [row for file in store.labelled("train").files for row in rows(file)]
    return [
        (row["prev_items"], row["next_item"], row["locale"]) for row in sorted(both, key=lambda one: one["session_id"])
    ]


def to_test(store: Store) -> list[tuple[Any, ...]]:
    targets = store.targets("test")
    assert targets is not None
    pairs = zip(rows(store.test("test").file), rows(targets.file), strict=True)
    return [(row["prev_items"], goal["next_item"], row["locale"]) for row, goal in pairs]


@SLOW
@given(events=LOGS, prefixes=st.sampled_from(["last", "all"]), typed=st.booleans(), reloads=st.booleans())
def test_sessions_and_splits_are_those_of_the_plain_reference(tmp_path_factory, events, prefixes, typed, reloads):
    folder = tmp_path_factory.mktemp("log")
    middle = BEGIN + 20 * 607
    targets = ("purchase",) if typed else ()
    whole = [one_in_a_row(one, WEIGHTS, reloads) for one in sessions_of(events, weights=WEIGHTS)]
    expected = cases_of(whole, middle, prefixes=prefixes, targets=targets)
    if not all(expected):
        return
    import_events(
        write(folder / "log.csv", events),
        folder / "store",
        test_from="2025-11-24T19:22:20Z",  # 16:00 and 20 times 607 seconds
        weights="view=1,cart=2,purchase=3",
        target=",".join(targets) or None,
        prefixes=prefixes,
        drop_reloads=reloads,
        max_events=0,
    )
    store = Store.load(folder / "store")
    assert (to_learn(store), to_test(store)) == expected


def test_a_session_across_the_cut_is_tested_and_not_learnt_from(tmp_path):
    cut = BEGIN + 100_000
    ann = [Event("ann", item, cut - 900 + 600 * place) for place, item in enumerate(["A", "B", "C", "D"])]
    bob = [Event("bob", item, cut - 50_000 + place) for place, item in enumerate(["X", "Y"])]
    import_events(
        write(tmp_path / "log.csv", ann + bob),
        tmp_path / "store",
        test_from="2025-11-25T19:46:40Z",
        prefixes="all",
        validation_share=0.5,
    )
    store = Store.load(tmp_path / "store")
    assert to_learn(store) == [(["X"], "Y", "UK")]
    assert to_test(store) == [(["A", "B"], "C", "UK"), (["A", "B", "C"], "D", "UK")]  # A→B lies before the cut
    assert store.manifest.time_split is not None
    assert store.manifest.time_split.new_targets == 1
