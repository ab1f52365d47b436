"""Text stays text, wherever it goes."""

from __future__ import annotations

import csv
import io
import json
import time

import markdown_it
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec import display
from tests.hostile import HOSTILE, UNSAFE

ANY_TEXT = st.text(st.characters(), max_size=40) | st.sampled_from(HOSTILE[:-1])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\u202etxt.exe", "\\u202etxt.exe"),
        ("\ud800 \x85 \u2028", "\\ud800 \\x85 \\u2028"),
        ("日本語 🙂 é [/] $", "日本語 🙂 é [/] $"),
    ],
)
def test_what_is_hidden_is_spelt_out(text: str, shown: str) -> None:
    assert display.visible(text) == shown
    assert display.visible(shown) == shown


def test_line_breaks_stay_where_they_are_meant() -> None:
    assert display.visible("a\n\tb\r", breaks=True) == "a\n\tb\\r"


def test_a_long_text_keeps_both_ends_and_says_what_is_missing() -> None:
    assert display.shortened("x" * 50 + "y" * 50, 30) == "x" * 20 + " … 70 characters … " + "y" * 10
    assert display.shortened("x" * 30, 30) == "x" * 30


def test_text_from_right_to_left_does_not_turn_what_is_around_it() -> None:
    assert display.for_terminal("locale אבג 12 (ד), 3 rows") == "locale \u2067אבג 12 (ד\u2069), 3 rows"
    assert display.for_terminal("אx12") == "\u2067א\u2069x12"


@settings(max_examples=300, deadline=None)
@given(ANY_TEXT)
def test_a_terminal_gets_no_command(text: str) -> None:
    shown = display.for_terminal(text)
    assert not set(shown) & set(UNSAFE)
    assert shown.count("\u2067") == shown.count("\u2069")
    shown.encode()


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(ANY_TEXT, ANY_TEXT, max_size=3), st.booleans())
def test_json_is_harmless_and_exact(value: dict[str, str], ascii_only: bool) -> None:
    text = display.for_json(value, ascii_only=ascii_only)
    assert json.loads(text) == value
    assert not set(text) & set(UNSAFE)
    assert text.isascii() or not ascii_only


@settings(max_examples=300, deadline=None)
@given(ANY_TEXT | st.text(st.sampled_from("[]()`*_#>+-=<!&;:|\\~ \n1.ax"), max_size=12))
def test_markdown_shows_the_text_and_nothing_else(text: str) -> None:
    """A CommonMark reader finds one paragraph or cell with the text in it."""
    expected = display.visible(" ".join(text.split()))
    parser = markdown_it.MarkdownIt("commonmark").enable("table").enable("strikethrough")
    cell = f"| a | b |\n|---|---|\n| {display.for_markdown(text, cell=True)} | c |"
    for source, number, place in ((display.for_markdown(text), int(bool(expected)), 0), (cell, 4, 2)):
        inline = [token for token in parser.parse(source) if token.type == "inline"]
        assert len(inline) == number
        inline = inline[place : place + 1]
        children = [child for token in inline for child in token.children or []]
        assert {child.type for child in children} <= {"text", "text_special"}
        assert "".join(child.content for child in children).strip() == expected.strip()


def test_a_spreadsheet_finds_no_formula() -> None:
    formulas = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1"]
    file = io.StringIO(newline="")
    csv.writer(file).writerow([display.for_csv(value) for value in [*formulas, "UK", "a=1", -1, None]])
    file.seek(0)
    assert next(csv.reader(file)) == [*(f"'{text}" for text in formulas), "UK", "a=1", "-1", ""]


def test_a_plot_gets_one_short_line_that_its_legend_shows() -> None:
    for text in HOSTILE:
        shown = display.for_plot(text)
        assert len(shown) <= display.PLOT_CHARACTERS + 1
        assert "\n" not in shown
        assert not shown.startswith("_")


def test_a_megabyte_takes_no_time() -> None:
    started = time.process_time()
    for text in ("x" * 10**6, "א " * 500_000, "א" + " " * 10**6, "\x1b" * 10**5, "]" * 10**6, "`" * 10**5):
        for shown in (display.for_terminal, display.for_html, display.for_plot, display.for_markdown, display.for_csv):
            shown(text)
    assert time.process_time() - started < 5
