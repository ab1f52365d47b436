import ibis
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.data.lists import clean_ids, excerpt, is_list, is_plain, plain_ids, printed_ids

# ibis 12 still calls what DuckDB 2 renamed
pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")

CON = ibis.duckdb.connect()
ID = st.text(st.characters(blacklist_categories=("C", "Z"), blacklist_characters="\\\"'"), min_size=1, max_size=12)
APOSTROPHE_ID = st.builds(lambda left, right: f"{left}'{right}", ID, ID)


def parse(texts):
    """Ids of each text, or None where it is refused."""
    table = ibis.memtable(
        {"position": range(len(texts)), "text": texts}, schema={"position": "int64", "text": "string"}
    )
    parsed = is_list(table.text).ifelse(clean_ids(printed_ids(table.text)), ibis.null("array<string>"))
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


LIST_LIKE = st.text(st.sampled_from("[]', \"\n\x0bA\\é."), max_size=12).map(lambda text: f"['{text}']")


@settings(max_examples=50, deadline=None)
@given(st.lists(LIST_LIKE | st.lists(ID, max_size=6).map(str), min_size=20, max_size=40))
def test_the_quick_reading_of_plain_lists_gives_what_the_general_one_gives(texts):
    table = ibis.memtable({"text": texts})
    plain = CON.to_pyarrow(table.filter(is_plain(table.text)).select("text", ids=plain_ids(table.text))).to_pylist()
    assert parse([row["text"] for row in plain] or ["[]"]) == ([row["ids"] for row in plain] or [[]])


def test_what_the_datasets_hold_is_plain():
    texts = ["['B0A' 'B0B'\n 'B0A']", "['B0A', 'B0B']", "['B0A']", "[' B0A']", "['']", '["B0A"]', "[]", "['B0A'"]
    table = ibis.memtable({"text": texts}).mutate(plain=lambda one: is_plain(one.text))
    assert CON.to_pyarrow(table.plain).to_pylist() == [True, True, True, False, False, False, False, False]


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_list_of_clean_ids_or_refused(text):
    for ids in parse([text]):
        assert ids is None or all(one and one == one.strip(" \t\n\r\v\f") for one in ids)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("['B0A' 'B0B'\n 'B0A']", ["B0A", "B0B", "B0A"]),
        ("[ 'B0A',\r\n 'B0B' ]\n", ["B0A", "B0B"]),
        ("[\"B0A\" '0007']", ["B0A", "0007"]),
        ("[' B0A ' '' 'B0B']", ["B0A", "B0B"]),
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
    shown = excerpt("['B0A'\n 'B0B'" + " 'B0C'" * 50 + " 'END")
    assert "\n" not in shown
    assert len(shown) <= 60
    assert shown.startswith("['B0A' 'B0B'")
    assert shown.endswith("'END")
