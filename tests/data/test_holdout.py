from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmrec.data.holdout import continued_groups, hold_out
from llmrec.data.importing import import_dataset
from llmrec.data.store import Store
from llmrec.errors import ConfigError, DataError


def write(path: Path, rows: list[tuple[list[str], str | None, str]]) -> Path:
    lists, targets, locales = zip(*rows, strict=True)
    table = {
        "prev_items": pa.array(lists, pa.list_(pa.string())),
        "next_item": pa.array(targets, pa.string()),
        "locale": pa.array(locales),
    }
    pq.write_table(pa.table(table), path)
    return path


def test_the_share_is_held_out_of_each_locale_and_no_session_is_lost(tmp_path: Path) -> None:
    rows = [([f"A{number}", "B"], f"T{number}", locale) for locale in ("DE", "FR") for number in range(20)]
    made = hold_out(write(tmp_path / "all.parquet", rows), tmp_path / "out", share=0.25, seed=3)
    assert (made.num_train, made.num_held_out) == (30, 10)
    sessions, targets = pq.read_table(made.sessions), pq.read_table(made.targets)
    assert sessions["locale"].to_pylist() == ["DE"] * 5 + ["FR"] * 5 == targets["locale"].to_pylist()
    # each session still has its own target: A7 leads to T7
    for items, target in zip(sessions["prev_items"].to_pylist(), targets["next_item"].to_pylist(), strict=True):
        assert items == [f"A{target[1:]}", "B"]
    assert "next_item" not in sessions.column_names
    kept = pq.read_table(made.train)["next_item"].to_pylist()
    held = targets["next_item"].to_pylist()
    assert sorted(kept + held) == sorted(target for _, target, _ in rows)


def test_a_bare_session_gives_its_last_item_if_two_stay(tmp_path: Path) -> None:
    rows: list[tuple[list[str], str | None, str]] = [(["A", "B", "C"], None, "UK"), (["A", "B"], None, "UK")] * 4
    made = hold_out(write(tmp_path / "bare.parquet", rows), tmp_path / "out", share=0.5)
    assert pq.read_table(made.sessions)["prev_items"].to_pylist() == [["A", "B"]] * 2
    assert pq.read_table(made.targets)["next_item"].to_pylist() == ["C", "C"]
    assert pq.read_table(made.train)["prev_items"].to_pylist().count(["A", "B", "C"]) == 2


def test_only_the_wanted_locales_are_kept(tmp_path: Path) -> None:
    rows: list[tuple[list[str], str | None, str]] = [(["A"], "B", locale) for locale in ("DE", "FR") * 5]
    file = write(tmp_path / "all.parquet", rows)
    made = hold_out(file, tmp_path / "out", share=0.4, locales=["FR"])
    assert (made.num_train, made.num_held_out) == (3, 2)
    with pytest.raises(DataError, match="no session of locale 'JP'; it has DE, FR"):
        hold_out(file, tmp_path / "other", locales=["JP"])


def test_the_same_seed_draws_the_same(tmp_path: Path) -> None:
    rows: list[tuple[list[str], str | None, str]] = [([f"A{number}"], "B", "DE") for number in range(50)]
    file = write(tmp_path / "all.parquet", rows)
    drawn = [
        pq.read_table(hold_out(file, tmp_path / str(turn), seed=seed).sessions).to_pylist()
        for turn, seed in enumerate((1, 1, 2))
    ]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("share", [0, 1, -0.5, 1.5])
def test_a_wrong_share_is_refused(tmp_path: Path, share: float) -> None:
    with pytest.raises(ConfigError, match="--share must lie between 0 and 1"):
        hold_out(tmp_path / "x.parquet", tmp_path / "out", share=share)


def test_nothing_to_hold_out_and_foreign_folders_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "one.parquet", [(["A", "B"], None, "DE")])
    with pytest.raises(DataError, match="no session with a target"):
        hold_out(file, tmp_path / "out", share=0.5)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="holds something else"):
        hold_out(file, tmp_path)


def grouped_rows() -> pa.Table:
    rows = [
        (["a", "b"], "c", "US"),  # 0
        (["a", "b", "c"], "d", "US"),  # goes on from 0
        (["a", "b", "c", "d"], "e", "US"),  # cut at four items from here on
        (["b", "c", "d", "e"], "f", "US"),  # goes on from 2 without its first item
        (["a", "b", "c"], "d", "DE"),  # another locale
        (["x", "y"], "z", "US"),
        (["c", "d"], "e", "US"),  # in the middle of others, as any session may be
        (["x"], "y", "US"),  # its two items begin 5
    ]
    lists, goals, locales = zip(*rows, strict=True)
    return pa.table({"prev_items": list(lists), "next_item": list(goals), "locale": list(locales)})


def test_sessions_that_go_on_from_one_another_are_one_group() -> None:
    groups = continued_groups(grouped_rows()).tolist()
    assert len({groups[row] for row in (0, 1, 2, 3)}) == 1
    assert groups[5] == groups[7]
    assert len(set(groups)) == 4  # 0-3, 4, 5 with 7, 6


def test_grouped_holds_out_whole_groups(tmp_path: Path) -> None:
    histories = [[f"u{user}i{place}" for place in range(length)] for user in range(20) for length in range(1, 6)]
    goals = [f"u{user}i{length}" for user in range(20) for length in range(1, 6)]
    file = tmp_path / "histories.parquet"
    pq.write_table(pa.table({"prev_items": histories, "next_item": goals, "locale": ["US"] * 100}), file)
    made = hold_out(file, tmp_path / "out", share=0.1, seed=3, grouped=True)
    assert (made.num_train, made.num_held_out) == (90, 10)  # two of twenty users of five rows each
    users = [
        {items[0][:-2] for items in pq.read_table(path)["prev_items"].to_pylist()}
        for path in (made.train, made.sessions)
    ]
    assert [len(one) for one in users] == [18, 2]
    assert not users[0] & users[1]


def test_last_splits_a_file_in_the_order_of_time(tmp_path: Path) -> None:
    rows: list[tuple[list[str], str | None, str]] = [([f"A{day}"], f"T{day}", "US") for day in range(8)]
    file = write(tmp_path / "all.parquet", rows)
    made = hold_out(file, tmp_path / "out", share=0.25, last=True)
    assert pq.read_table(made.targets)["next_item"].to_pylist() == ["T6", "T7"]
    assert pq.read_table(made.train)["next_item"].to_pylist() == [f"T{day}" for day in range(6)]
    with pytest.raises(ConfigError, match="--last and --grouped exclude each other"):
        hold_out(file, tmp_path / "other", last=True, grouped=True)


def test_cold_targets_are_in_no_session_to_learn_from(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [([f"i{item}" for item in rng.integers(40, size=3)], f"i{rng.integers(40)}", "US") for _ in range(400)]
    file = write(tmp_path / "sessions.parquet", rows)
    warm, cold = (hold_out(file, tmp_path / str(share), seed=1, cold=share) for share in (0.0, 0.25))
    assert pq.read_table(warm.sessions).equals(pq.read_table(cold.sessions))
    targets = set(pq.read_table(cold.targets)["next_item"].to_pylist())
    left = pq.read_table(cold.train).to_pylist()
    met = {item for row in left for item in (*row["prev_items"], row["next_item"])}
    gone = targets - met
    assert len(gone) == round(0.25 * len(targets))
    all_rows = pq.read_table(warm.train).to_pylist()
    assert left == [row for row in all_rows if not gone & {*row["prev_items"], row["next_item"]}]


def test_a_share_of_cold_targets_that_leaves_nothing_is_one_line(tmp_path: Path) -> None:
    file = write(tmp_path / "sessions.parquet", [(["a"], "b", "US")] * 20)
    with pytest.raises(DataError, match="no session without a cold target is left"):
        hold_out(file, tmp_path / "out", cold=1.0)
    with pytest.raises(ConfigError, match="--cold must lie between 0 and 1; got 2"):
        hold_out(file, tmp_path / "out", cold=2.0)


def test_a_session_without_a_locale_is_held_out_among_its_like(tmp_path):
    table = pa.table({"prev_items": [["a", "b", "c"]] * 20, "locale": pa.array(["UK"] * 10 + [None] * 10)})
    pq.write_table(table, tmp_path / "x.parquet")
    assert hold_out(tmp_path / "x.parquet", tmp_path / "held", share=0.5).num_held_out == 10


def test_with_products_the_folder_is_a_shop_whose_test_split_is_held_out(tmp_path: Path) -> None:
    rows = [([f"i{row % 7}", f"i{row % 5}"], f"i{row % 3}", "UK") for row in range(40)]
    file, products = write(tmp_path / "sessions.parquet", rows), tmp_path / "p.CSV"
    products.write_text("id,locale,title\n" + "".join(f"i{one},UK,Title {one}\n" for one in range(7)))
    made = hold_out(file, tmp_path / "held", share=0.25, products=products)
    assert hold_out(file, tmp_path / "held", share=0.25, products=products) == made
    import_dataset(tmp_path / "held", tmp_path / "store", validation_share=0.2)
    store = Store.load(tmp_path / "store")
    asked = pq.read_table(store.test("test").file)
    goals = pq.read_table(tmp_path / "store" / "targets_test.parquet")
    assert asked["prev_items"].to_pylist() == pq.read_table(made.sessions)["prev_items"].to_pylist()
    assert goals["next_item"].to_pylist() == pq.read_table(made.targets)["next_item"].to_pylist()
    counted = sum(
        len(pq.read_table(file)) for name in ("development", "validation") for file in store.labelled(name).files
    )
    assert counted == made.num_train


def test_products_that_are_none_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "sessions.parquet", [(["a", "b"], "c", "UK")] * 9)
    for odd in (tmp_path / "none.csv", file.parent, tmp_path / "p.json"):
        with pytest.raises(ConfigError, match="no such CSV or Parquet file"):
            hold_out(file, tmp_path / "held", products=odd)
