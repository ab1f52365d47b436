"""CSV is held to its form before it is read, and ids to one rule wherever they are."""

import csv
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.data import csv_form
from llmrec.data.connection import connected
from llmrec.data.csv_form import refuse_loose_rows
from llmrec.data.products import load_products
from llmrec.data.raw import explained, parquet_table, read_raw
from llmrec.data.sessions import read_products, read_sessions, read_sessions_file
from llmrec.errors import DataError
from llmrec.schema import PRODUCT_COLUMNS

# ibis 12 still calls what DuckDB 2 renamed
pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")

HEADER = "prev_items,next_item,locale\n"
GOOD = "['B0A' 'B0B'],B0C,UK\n"
PIECES = ['"', ",", "\n", "\r\n", "\r", "\0", '""', '","', " ", "ab", "\ufeff", "é"]


def read(path):
    with connected() as con, explained(path):
        return con.to_pyarrow(con.create_table("read", read_raw(con, path, ()))).to_pylist()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + GOOD + GOOD[:-1] + ",\n", "row 2: 4 columns where the header has 3"),
        (HEADER + GOOD + "['B0A'],B0\0C,UK\n", "row 2: a NUL byte"),
        (HEADER + "\"['B0A'\n 'B0B']\" ,B0C,UK\n", "row 1: a quote inside a value"),
        (HEADER + GOOD + " \"['B0A']\",B0C,UK\n", "row 2: a quote inside a value"),
        (HEADER + GOOD + "['B0A'],B0C,U\"K\n", "row 2: a quote inside a value"),
        (HEADER + GOOD + "['B0A'],B0C,UK\r\n", "line breaks of several kinds"),
        (HEADER + GOOD * 2 + "['B0A'],B0C,\udcff\n", "row 3: not UTF-8"),
        (HEADER + GOOD + "['B0A'],B0C\n", "row 2: 2 columns where the header has 3"),
        (HEADER + "\n\n" + GOOD + "\n['B0A'],B0C\n", "row 2: 2 columns"),
        (HEADER + GOOD + "['B0A'],B0C,\"UK", "row 2: a quoted value is not closed"),
    ],
)
def test_what_is_no_csv_to_a_strict_reader_is_one_line_with_file_and_row(tmp_path, monkeypatch, text, message):
    path = tmp_path / "x.csv"
    path.write_bytes(text.encode(errors="surrogateescape"))
    for size in (1, 7, 1 << 16):  # a mark may stand at the end of a part, and what is beside it in the next one
        monkeypatch.setattr(csv_form, "_CHUNK", size)
        with pytest.raises(DataError, match=message) as caught:
            refuse_loose_rows(path, 3, text=True)
        assert "\n" not in str(caught.value)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=14))
def test_what_is_read_is_what_a_strict_reader_reads(tmp_path_factory, pieces):
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    text = "a,b\n1,2\n" + "".join(pieces)
    path.write_bytes(text.encode())
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row][1:]
        strict = None if "\0" in text or {2} != {len(row) for row in rows} else rows
    except csv.Error:
        strict = None
    try:
        ours = read(path)
    except DataError:
        return
    assert strict is not None
    assert ours == [{"a": one or None, "b": other or None} for one, other in strict]


def test_an_id_with_a_control_character_inside_is_refused_with_its_row(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text(HEADER + GOOD + "['B0A' 'B0\x1bB'],B0C,UK\n", encoding="utf-8")
    with connected() as con, pytest.raises(DataError, match=r"x\.csv, row 2: a control .*B0A B0\\x1bB"):
        read_sessions_file(con, path)
    (tmp_path / "p.csv").write_text("id,locale,title\nA\x7fB,UK,cup\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"p\.csv, row 1: a control"):
        load_products(tmp_path / "p.csv", ["id"])


@pytest.mark.parametrize("folder", ["locale=FR", "next_item=x", "title=y", "prev_items=z", "id='q' [all]*?", "x=1"])
def test_the_names_of_folders_are_no_columns(tmp_path, folder):
    place = tmp_path / folder
    place.mkdir()
    sessions = {"prev_items": [["a"]], "next_item": ["b"], "locale": ["UK"]}
    pq.write_table(pa.table({"session_id": [0], **sessions}), place / "s.parquet")
    columns = {"id": ["a"], "locale": ["UK"], "title": ["cup"]}
    rest = {name: ["1"] for name in PRODUCT_COLUMNS[3:]}
    pq.write_table(pa.table(columns | rest), place / "p.parquet")
    with connected() as con:
        for table in (read_sessions_file(con, place / "s.parquet"), read_sessions(con, [place / "s.parquet"])):
            row = con.to_pyarrow(table).to_pylist()[0]
            assert {name: row.pop(name) for name in sessions} == {name: one[0] for name, one in sessions.items()}
            assert row == {"session_id": 0}
        row = con.to_pyarrow(read_products(con, place / "p.parquet")).to_pylist()[0]
    assert {name: row[name] for name in columns} == {"id": "a", "locale": "UK", "title": "cup"}
    assert load_products(place / "p.parquet", ["id", "locale", "title"]).to_pylist() == [
        {"id": "a", "locale": "UK", "title": "cup"}
    ]
    assert parquet_table(place / "s.parquet").column_names == ["session_id", *sessions]


def test_bytes_that_are_no_text_are_refused_in_a_column_that_nobody_reads(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(b"prev_items,locale,note\n['a'],UK,x\n['b'],UK,\xff\n")
    with connected() as con, pytest.raises(DataError, match=r"x\.csv, row 2: not UTF-8"):
        read_sessions_file(con, path)


def test_a_parquet_column_that_stands_there_twice_is_refused(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array(["a"])] * 2, ["locale", "locale"]), path)
    with pytest.raises(DataError, match="column 'locale' stands there twice"):
        parquet_table(path)
