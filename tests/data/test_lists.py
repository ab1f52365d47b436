import sys
import unicodedata

import ibis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.data import lists

# ibis 12 still calls what DuckDB 2 renamed
pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")

CON = ibis.duckdb.connect()
ID = st.text(
    st.characters(blacklist_categories=("C", "Z"), blacklist_characters="\\\"'"), min_size=1, max_size=12
).filter(lambda one: one not in lists.MISSING)
APOSTROPHE_ID = st.builds(lambda left, right: f"{left}'{right}", ID, ID)


def parse(texts):
    """Ids of each text, or None where it is refused."""
    table = ibis.memtable(
        {"position": range(len(texts)), "text": texts}, schema={"position": "int64", "text": "string"}
    )
    parsed = lists.is_list(table.text).ifelse(
        lists.clean_ids(lists.printed_ids(table.text)), ibis.null("array<string>")
    )
    rows = CON.to_pyarrow(table.select("position", parsed=parsed).order_by("position")).to_pylist()
    return [row["parsed"] for row in rows]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(ID | APOSTROPHE_ID, max_size=40), min_size=1, max_size=10))
def test_what_numpy_and_python_print_is_read_back(sessions):
    with np.printoptions(threshold=10_000):
        printed = [str(np.array(session, dtype=object)) for session in sessions]
    assert parse(printed) == sessions
    assert parse([str(session) for session in sessions]) == sessions


@settings(max_examples=25, deadline=None)
@given(st.lists(ID, min_size=1, max_size=12), st.data())
def test_a_list_cut_short_is_refused(session, data):
    text = str(np.array(session, dtype=object))
    assert parse([text[: data.draw(st.integers(0, len(text) - 1))]]) == [None]


ODD = st.sampled_from([None, "", *lists.MISSING, " nan", "nano", "B0A", "B0 A", "\ufeffB0A", "B\x00A"]) | st.text(
    " \t\n\r\v\f\x01!aé\u3000\xa0\ufeff\x85\x9f", max_size=5
)


def by_rule(text):
    bare = (text or "").strip(lists.BLANKS)
    return None if bare in ("", *lists.MISSING) else bare


LIST_LIKE = st.text(st.sampled_from("[]', \"\n\x0bA\\é."), max_size=12).map(lambda text: f"['{text}']")


NUMPY_LIST = st.lists(ID, max_size=6).map(lambda ids: str(np.array(ids, dtype=object)))


@pytest.mark.parametrize(("fits", "read"), [(lists.is_plain, lists.plain_ids), (lists.is_one_line, lists.one_line_ids)])
@settings(max_examples=50, deadline=None)
@given(st.lists(LIST_LIKE | NUMPY_LIST | st.lists(ID, max_size=6).map(str), min_size=20, max_size=40))
def test_the_quick_readings_of_usual_lists_give_what_the_general_one_gives(fits, read, texts):
    table = ibis.memtable({"text": texts})
    plain = CON.to_pyarrow(table.filter(fits(table.text)).select("text", ids=read(table.text))).to_pylist()
    assert parse([row["text"] for row in plain] or ["[]"]) == ([row["ids"] for row in plain] or [[]])


def test_what_the_datasets_hold_is_plain():
    texts = ["['B0A' 'B0B'\n 'B0A']", "['B0A', 'B0B']", "['B0A']", "[' B0A']", "['']", '["B0A"]', "[]", "['B0A'"]
    table = ibis.memtable({"text": texts}).mutate(plain=lambda one: lists.is_plain(one.text))
    assert CON.to_pyarrow(table.plain).to_pylist() == [True, True, True, False, False, False, False, False]


def test_a_list_on_one_line_has_ascii_ids_and_single_blanks():
    texts = [
        "['B0A' 'B0B']",
        "['B0A']",
        "['B0A'\n 'B0B']",
        "['B0A', 'B0B']",
        "['B0A'  'B0B']",
        "['É']",
        "['a\\']",
        "[]",
    ]
    table = ibis.memtable({"text": texts}).mutate(one_line=lambda one: lists.is_one_line(one.text))
    assert CON.to_pyarrow(table.one_line).to_pylist() == [True, True] + 6 * [False]


@settings(max_examples=50, deadline=None)
@given(st.lists(ODD, min_size=10, max_size=30))
def test_one_rule_for_ids_of_duckdb_and_of_arrow(texts):
    table = ibis.memtable({"place": range(len(texts)), "text": texts}, schema={"place": "int64", "text": "string"})
    bare, changed, control = lists.stripped(table.text, lists.is_usual(table.text))
    rows = CON.to_pyarrow(table.select("place", bare=bare, changed=changed, control=control).order_by("place"))
    expected = [by_rule(text) for text in texts]
    assert rows["bare"].to_pylist() == expected
    assert rows["changed"].to_pylist() == [one != text for one, text in zip(expected, texts, strict=True)]
    controls = [one if any(unicodedata.category(letter) == "Cc" for letter in one or "") else None for one in expected]
    assert rows["control"].to_pylist() == controls
    stripped, num_changed = lists.stripped_array(pa.array(texts, pa.string()))
    assert (stripped.to_pylist(), num_changed) == (expected, sum(rows["changed"].to_pylist()))
    assert lists.are_usual(["B0A", "x-1/2"])
    assert not any(lists.are_usual([text]) for text in texts if text is not None and by_rule(text) != text)


def test_blanks_are_what_unicode_calls_white_space_and_what_nobody_sees():
    spaces = {chr(code) for code in range(sys.maxunicode + 1) if chr(code).isspace()}
    assert spaces < {*lists.BLANKS}
    assert {unicodedata.category(one) for one in {*lists.BLANKS} - spaces} == {"Cf"}


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_list_of_clean_ids_or_refused(text):
    for ids in parse([text]):
        assert ids is None or all(one and one == by_rule(one) for one in ids)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("['B0A' 'B0B'\n 'B0A']", ["B0A", "B0B", "B0A"]),
        ("[ 'B0A',\r\n 'B0B' ]\n", ["B0A", "B0B"]),
        ("[\"B0A\" '0007']", ["B0A", "0007"]),
        ("[' B0A ' '' 'B0B']", ["B0A", "B0B"]),
        ("['\ufeffB0A\u200b' '\u3000' 'B\xa00\xa0']", ["B0A", "B\xa00"]),
        ("['nan' 'nano' 'Nan' 'NaN' 'n' 'None' '<NA>' ' nan']", ["nano", "Nan", "n"]),
        ("[]", []),
        ("['B0A' 'B0", None),
        ("['B0A' ... 'B0B']", None),
        ("['B0A''B0B']", None),
        ("[B0A, B0B]", None),
        ("['B0A\n' 'B0B']", None),
        ("['B0\\x41']", None),
        ("__import__('os').getcwd()", None),
        ("['B0A'] + ['B0B']", None),
        ("", None),
    ],
)
def test_each_form_is_read_or_refused(text, expected):
    assert parse([text]) == [expected]


def test_an_excerpt_is_one_line_and_keeps_both_ends():
    shown = lists.excerpt("['B0A'\n 'B0B'" + " 'B0C'" * 50 + " 'END")
    assert "\n" not in shown
    assert len(shown) <= 60
    assert shown.startswith("['B0A' 'B0B'")
    assert shown.endswith("'END")
