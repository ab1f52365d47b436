"""Any sessions or products file, as every verb reads it."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmrec.data.connection import connected
from llmrec.data.products import read_products_file
from llmrec.data.sessions import read_sessions_file, stage_sessions
from llmrec.errors import DataError

# ibis 12 still calls what DuckDB 2 renamed
pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")

HEADER = "prev_items,next_item,locale\n"
GOOD = "['B0A' 'B0B'],B0C,UK\n"


def rows(path):
    with connected() as con:
        return con.to_pyarrow(read_sessions_file(con, path).order_by("session_id")).to_pylist()


def write(folder, text, name="sessions_train.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_types_are_never_guessed(tmp_path):
    path = write(tmp_path, HEADER + "['0001' '1e5'],0007,NA\n\"['null'\n 'B0B']\",null,DE\n")
    assert rows(path) == [
        {"session_id": 0, "prev_items": ["0001", "1e5"], "next_item": "0007", "locale": "NA"},
        {"session_id": 1, "prev_items": ["null", "B0B"], "next_item": "null", "locale": "DE"},
    ]


def test_csv_and_parquet_read_the_same(tmp_path):
    csv = write(tmp_path, "\ufeffprev_items,locale,extra\r\n['a' 'b'],UK,1\r\n[],DE,2\r\n,FR,3\r\n")
    table = pa.table({"prev_items": [["a", "b"], [], None], "locale": ["UK", "DE", "FR"]})
    pq.write_table(table, tmp_path / "x.parquet")
    expected = [(0, ["a", "b"], "UK"), (1, [], "DE"), (2, [], "FR")]
    for path in (csv, tmp_path / "x.parquet"):
        assert [(row["session_id"], row["prev_items"], row["locale"]) for row in rows(path)] == expected


@pytest.mark.parametrize("end", [GOOD[:-1], "['B0A'],B0C,US", "['B0A'],B0C,U\n"])
def test_a_last_row_without_a_line_break_is_read_unless_its_locale_is_cut(tmp_path, end):
    assert [row["session_id"] for row in rows(write(tmp_path, HEADER + GOOD * 2 + end))] == [0, 1, 2]


def test_a_store_s_session_ids_are_kept(tmp_path):
    path = write(tmp_path, "session_id," + HEADER + "7," + GOOD + "9," + GOOD)
    assert [row["session_id"] for row in rows(path)] == [7, 9]


def test_a_path_with_pattern_characters_and_an_apostrophe_is_one_file(tmp_path):
    folder = tmp_path / "it's [all]*"
    folder.mkdir()
    assert len(rows(write(folder, HEADER + GOOD, "s[1]?.csv"))) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            HEADER + GOOD * 3 + "['B0A' 'B0,B0C,UK\n",
            r"row 4: prev_items is not a list of ids: \"\['B0A' 'B0\"; .*cut short",
        ),
        (HEADER + GOOD + "['B0A' ... 'B0B'],B0C,UK\n", "row 2: .*numpy shortened it"),
        (HEADER + GOOD + "['B0A'],B0", "row 2: 2 columns where the header has 3; the file may be cut short"),
        (HEADER + "\"['B0A'\n 'B0B']\",x,UK\n['B0A'],B0,UK,9\n", "row 2: 4 columns .*needs quotes"),
        (HEADER + GOOD + "\"['B0A'\n 'B0", "row 2: a quoted value is not closed"),
        ("prev_item,next_item,locale\n" + GOOD, "no column 'prev_items'; did you mean 'prev_item'"),
        (HEADER + GOOD * 2 + GOOD[:-2], "row 3: locale 'U'; the file may be cut short"),
        (HEADER + GOOD * 2 + GOOD[:-3], "row 3: locale ''; the file may be cut short"),
        ("session_id," + HEADER + "1," + GOOD + "s2," + GOOD, "row 2: session_id is no whole number"),
        ("prev_items,locale,locale\n", "'locale' stands there twice"),
        ("", "the file is empty"),
        (HEADER.encode() + "['B0A'],é,UK\n".encode("latin1"), "row 1: not UTF-8"),
    ],
)
def test_a_bad_file_is_one_line_with_file_row_and_way_out(tmp_path, text, message):
    with pytest.raises(DataError, match=message) as caught:
        rows(write(tmp_path, text))
    assert str(caught.value).startswith("sessions_train.csv")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "expected", "repaired"),
    [
        (["A", "B"], ["A", "B"], False),
        (["A B"], ["A B"], False),
        ([" A", "B"], ["A", "B"], True),
        (["A\n"], ["A"], True),
        (["A", None], ["A"], True),
        (["A", "", "B"], ["A", "B"], True),
        ([""], [], True),
        (["é", "B"], ["é", "B"], False),
        ([], [], False),
        (None, [], False),
    ],
)
def test_lists_of_parquet_are_cleaned_where_they_need_it(tmp_path, given, expected, repaired):
    lists = pa.array([["C"], given], pa.list_(pa.string()))
    pq.write_table(pa.table({"prev_items": lists, "locale": ["UK", "UK"]}), tmp_path / "x.parquet")
    with connected() as con:
        found = con.to_pyarrow(stage_sessions(con, tmp_path / "x.parquet").order_by("row")).to_pylist()[1]
    assert (found["prev_items"], found["repaired"]) == (expected, repaired)


def test_a_parquet_file_with_a_changed_byte_is_one_line_or_is_read(tmp_path):
    lists, locales = [[f"B{row}", "B7"] for row in range(60)], ["UK", "DE"] * 30
    pq.write_table(pa.table({"prev_items": lists, "locale": locales}), tmp_path / "whole.parquet")
    whole, refused = (tmp_path / "whole.parquet").read_bytes(), 0
    for place in range(8, len(whole), len(whole) // 120):
        changed = write(tmp_path, whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :], "x.parquet")
        try:
            rows(changed)
        except DataError as error:
            refused += str(error).startswith("x.parquet: ")
    assert refused > 20


def test_a_cut_parquet_file_is_refused(tmp_path):
    pq.write_table(pa.table({"prev_items": [["a"]], "locale": ["UK"]}), tmp_path / "x.parquet")
    cut = write(tmp_path, (tmp_path / "x.parquet").read_bytes()[:-20], "cut.parquet")
    with pytest.raises(DataError, match=r"cut\.parquet: not a whole Parquet file"):
        rows(cut)


def test_prev_items_of_another_type_is_refused(tmp_path):
    pq.write_table(pa.table({"prev_items": [1], "locale": ["UK"]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="holds int64; it must be lists of ids"):
        rows(tmp_path / "x.parquet")


def test_another_kind_of_file_and_a_missing_one(tmp_path):
    with pytest.raises(DataError, match=r"neither \.csv nor \.parquet"):
        rows(write(tmp_path, "", "x.json"))
    with pytest.raises(DataError, match="no such file"):
        rows(tmp_path / "none.csv")


def test_row_numbers_hold_in_a_large_file_read_by_several_threads(tmp_path):
    count = 310_000
    long = "\"['A{0}' 'B{0}' 'C{0}'\n 'D{0}']\",UK\n"
    lines = [long.format(row) if row % 3 else f"['A{row}'],DE\n" for row in range(count)]
    path = write(tmp_path, "prev_items,locale\n" + "".join(lines))
    with connected() as con:
        table = read_sessions_file(con, path)
        in_place = table.prev_items[0] == "A" + table.session_id.cast("string")
        assert con.to_pyarrow(table.aggregate(n=table.count(), right=in_place.sum())).to_pylist() == [
            {"n": count, "right": count}
        ]
    lines[count - 10] = "['A' 'B,UK\n"
    with pytest.raises(DataError, match=f"row {count - 9}: prev_items"):
        rows(write(tmp_path, "prev_items,locale\n" + "".join(lines)))
    lines[count - 10] = "['A']\n"
    with pytest.raises(DataError, match=f"row {count - 9}: 1 columns"):
        rows(write(tmp_path, "prev_items,locale\n" + "".join(lines)))


def test_products_are_cleaned_and_the_first_of_a_key_is_kept(tmp_path):
    path = write(
        tmp_path,
        "id,locale,title,price,brand\n"
        '007,UK,"A ""big"" box",40000000.07,NA\n 007,UK ,second,1,x\n007,DE,Kiste,2.5,nan\n'
        ",UK,no id,1,x\nB,UK,,dear,\n",
        "products.csv",
    )
    with connected() as con:
        found = con.to_pyarrow(read_products_file(con, path)).to_pylist()
    assert [(row["id"], row["locale"], row["title"], row["price"], row["brand"], row["desc"]) for row in found] == [
        ("007", "UK", 'A "big" box', None, "NA", None),
        ("007", "DE", "Kiste", 2.5, "nan", None),
        ("B", "UK", "", None, None, None),
    ]
