"""Sessions from data frames, lists, Arrow tables and files: alike, and one line that names the argument otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmrec.data.digests import sessions_files_fingerprint
from llmrec.errors import DataError
from llmrec.rankers.session_data import sessions
from llmrec.schema import ONE_LOCALE

ROWS: dict[str, list[Any]] = {
    "prev_items": [["B01", "B02"], ["B02"], []],
    "locale": ["UK", "DE", "UK"],
    "next_item": ["B03", None, "B01"],
}


def frame(**changed: list[Any]) -> pd.DataFrame:
    return pd.DataFrame({**ROWS, **changed})


@pytest.mark.parametrize(
    "data",
    [
        frame(),
        frame(prev_items=[np.array(one, dtype=object) for one in ROWS["prev_items"]]),
        frame(prev_items=[tuple(one) for one in ROWS["prev_items"]]),
        pa.table(ROWS),
        ROWS,
    ],
    ids=["frame", "arrays", "tuples", "arrow", "columns"],
)
def test_every_form_gives_the_same_sessions(data: Any) -> None:
    made = sessions(data)
    assert made.prev_items.to_pylist() == ROWS["prev_items"]
    assert made.locales.to_pylist() == ROWS["locale"]
    assert made.next_items.to_pylist() == ROWS["next_item"]
    assert repr(made) == "Sessions(3: UK 2, DE 1; next items known of 2)"


@pytest.mark.parametrize("kind", [str, Path, lambda path: [path]])
def test_files_give_them_too(kind: Any, tmp_path: Path) -> None:
    pq.write_table(pa.table(ROWS), tmp_path / "sessions.parquet")
    assert sessions(kind(tmp_path / "sessions.parquet")).training().sequences.to_pylist() == [
        ["B01", "B02", "B03"],
        ["B02"],
        ["B01"],
    ]


def test_lists_take_one_locale_one_each_or_none() -> None:
    lists = [["a"], ["b", "c"]]
    assert sessions(lists).locales.to_pylist() == [ONE_LOCALE] * 2
    assert sessions(lists, locale="UK").locales.to_pylist() == ["UK"] * 2
    assert sessions(lists, locale=["UK", "DE"]).locales.to_pylist() == ["UK", "DE"]
    assert len(sessions([])) == 0


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ("B01", "asked: no file 'B01'; ids are given as a list of lists: [['B01']]"),
        (["B01"], "asked: a list of lists of ids is wanted; for one session write [['B01', ...]]"),
        ([["B01", 7]], "asked, row 1: column 'prev_items' must hold lists of ids, which are text; got ['B01', 7]"),
        ([["B01"], [None]], "asked, row 2: an id is missing (None, NaN or empty); leave it out of its list"),
        ([["B01"], 5], "asked, row 2: a session is a list of ids; got 5"),
        (7, "asked: sessions are a data frame, lists of ids, an Arrow table or a file; got 7"),
        (frame(prev_items=[["a"], ["b", float("nan")], []]), "asked, row 2: an id is missing"),
        (frame(prev_items=[[1, 2], ["b"], []]), "asked, row 1: column 'prev_items' must hold lists of ids"),
        (frame(prev_items=["['a' 'b']", "['a']", "[]"]), "asked, row 1: column 'prev_items' must hold lists of ids"),
        (frame(locale=["UK", None, "UK"]), "asked, row 2: 'locale' is missing; give every session its locale"),
        (frame(locale=["UK", 3, "UK"]), "asked, row 2: column 'locale' must hold text; got 3"),
        (frame(next_item=["B01", 8, "B02"]), "asked, row 2: column 'next_item' must hold text; got 8"),
        (pd.DataFrame({"item": ["a"]}), "asked: no column 'prev_items' among item; sessions have columns"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_argument_and_row(data: Any, line: str) -> None:
    with pytest.raises(DataError) as raised:
        sessions(data, argument="asked")
    assert str(raised.value).startswith(line)


def test_a_locale_too_many_or_too_few_is_refused() -> None:
    with pytest.raises(DataError, match="has a column 'locale'; leave the argument locale out"):
        sessions(frame(), locale="UK")
    with pytest.raises(DataError, match="locale: 1 for the 2 sessions of data"):
        sessions([["a"], ["b"]], locale=["UK"])


def test_blanks_around_ids_go_and_nan_is_no_id(capsys):
    told = sessions([["a\u200b", "\xa0b"], ["c"]], locale=["UK ", "DE"])
    assert told.prev_items.to_pylist() == [["a", "b"], ["c"]]
    assert told.locales.to_pylist() == ["UK", "DE"]
    assert "blanks around 3 ids" in capsys.readouterr().err
    with pytest.raises(DataError, match="row 2: an id is missing"):
        sessions([["a"], ["b", "nan"]])


def test_sessions_of_a_file_and_of_a_table_are_known_by_the_same(tmp_path):
    table = pa.table({"prev_items": [["a", "b"], ["c"]], "locale": ["UK", "DE"]})
    pq.write_table(table, tmp_path / "x.parquet")
    assert sessions(table).fingerprint == sessions_files_fingerprint(tmp_path / "x.parquet")
