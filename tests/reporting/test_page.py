import io
import re
from html import escape
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure
from rich.console import Console

from llmrec.errors import ConfigError
from llmrec.evaluation.bootstrap import Interval
from llmrec.evaluation.scoring import score_titles
from llmrec.languages import VARIABLE
from llmrec.reporting.blocks import (
    Code,
    Heading,
    Notes,
    Paragraph,
    Plot,
    Table,
    Text,
    provenance_table,
    to_markdown,
    to_terminal,
)
from llmrec.reporting.page import render_page, write_page
from llmrec.reporting.plots import (
    figure_svg,
    plot_bleu_by_locale,
    plot_heatmap,
    plot_long_tail,
    plot_training_curves,
    save_figure,
)
from llmrec.reporting.tables import comparison_plot, result_blocks, with_interval
from tests.browser import needs_chromium, open_page

HOSTILE = "<script>alert(1)</script>\" onload='x' & {body}"
VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Collects tags, texts and attributes, and holds that every element is closed in its turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def parsed(html):
    page = Page()
    page.feed(html)
    page.close()
    assert page.open == []
    return page


def drawn() -> dict[str, Figure]:
    scores, base = {"UK": 26.5, "overall": 25.0}, {"UK": 25.0, "overall": 26.0}
    intervals = {"UK": Interval(1.5, 0.5, 2.5, 100), "overall": Interval(-1.0, -2.0, 0.2, 100)}
    return {
        "bleu": plot_bleu_by_locale(scores, base, intervals),
        "alone": plot_bleu_by_locale(scores),
        "curves": plot_training_curves([(1, 4.0), (2, 3.0)], [(2, 3.5)]),
        "tail": plot_long_tail({"": ([1, 10, 100], [1000, 100, 10])}, "length (items)", "sessions"),
        "heat": plot_heatmap([[1, np.nan], [0.25, 1]], ["UK", "DE"], "share of products"),
    }


def test_a_page_is_closed_escaped_and_loads_nothing(tmp_path):
    wanted = ["a b c d e"] * 4
    result = score_titles(
        HOSTILE, [HOSTILE, "JP"] * 2, wanted, wanted, baseline=(HOSTILE, ["a b c d x"] * 4), samples=10,
        provenance={"command": [HOSTILE]},
    )  # fmt: skip
    blocks = [
        Heading(HOSTILE),
        Paragraph(HOSTILE),
        Notes([HOSTILE]),
        Code(HOSTILE, locale="JP"),
        Table([HOSTILE], [[HOSTILE]], caption=HOSTILE),
        Table([HOSTILE, HOSTILE], [["JP", Text([HOSTILE], "JP")], ["JP", Text(HOSTILE, "JP")]], align="l"),
        *result_blocks(result),
        *comparison_plot(result),
        provenance_table(result.provenance),
        *(Plot(figure, HOSTILE, HOSTILE) for figure in drawn().values()),
    ]
    write_page(tmp_path / "report.html", HOSTILE, blocks)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = parsed(html)
    assert not {"script", "img", "image", "link", "iframe", "foreignobject"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    targets = [value for name, value in page.attributes if name in ("href", "xlink:href", "src")]
    assert targets
    assert all(target.startswith("#") for target in targets)
    assert "url(http" not in html
    assert "default-src 'none'" in html
    assert page.texts.count(HOSTILE) >= 20


@needs_chromium
def test_a_phone_scrolls_tables_and_plots_but_never_the_page(tmp_path):
    long = "nrefs:1|case:mixed|eff:no|tok:13a|smooth:none|version:2.6.0" * 2
    blocks = [
        Heading("Ein Titel, wie er in Berichten steht, Donaudampfschifffahrtsgesellschaft"),
        Table(["a name", *["a long column"] * 9], [["a row of numbers"] + ["0.1234 [0.1000, 0.2000]"] * 9], long),
        Table(["by", "title", "target"], [["who", long, Text([long], "JP")]], align="l"),
        Notes([long]),
        Code(f"llmrec evaluate {long}", "bash"),
        Code(long, locale="JP"),
        *(Plot(figure, "a plot", long) for figure in drawn().values()),
    ]
    framed = f'<iframe width="390" height="900" srcdoc="{escape(render_page("p", blocks))}"></iframe>'
    outer = tmp_path / "outer.html"
    told = "document.title = document.querySelector('iframe').contentDocument.documentElement.scrollWidth"
    outer.write_text(f"<!doctype html>{framed}<script>onload = () => {{ {told} }}</script>", encoding="utf-8")
    assert "<title>390</title>" in open_page(outer, tmp_path).document


def test_examples_carry_the_language_of_their_locale():
    texts = {"JP": (["傘", "黒い傘"], "青い傘", "赤い傘"), "US": (["mug"], "cup", "pot")}
    rows = [[locale, *(Text(one, locale) for one in some)] for locale, some in texts.items()]
    page = parsed(render_page("p", [Table(("locale", "previous", "written", "target"), rows, align="l")]))
    assert [value for name, value in page.attributes if name == "lang"] == ["en"] + ["ja"] * 3 + ["en"] * 3
    assert page.tags.count("li") == 3


@needs_chromium
def test_lines_of_a_title_break_where_its_language_ends_words(tmp_path, monkeypatch):
    """Beside long texts a column of characters keeps a width to read, one of words its longest word."""
    own = tmp_path / "languages.yaml"
    own.write_text("locales: {CN: {language: zh, bleu: zh, words: characters}}", encoding="utf-8")
    monkeypatch.setenv(VARIABLE, str(own))
    texts = [Text("黑色折叠伞" * 4, "CN"), Text("Regenschirm schwarz " * 4, "DE"), Text("x " * 900, "UK")]
    page = tmp_path / "page.html"
    measure = "document.title = [...document.querySelectorAll('td')].map(cell => cell.clientWidth).join()"
    html = render_page("p", [Table(("of", "a", "b", "c"), [["row", *texts]], align="l")])
    page.write_text(
        f"{html}<script>onload = () => {{ {measure} }}</script>".replace("Content-Security-Policy", "x"),
        encoding="utf-8",
    )
    characters, spaces, _ = map(int, re.findall(r"<title>([\d,]+)", open_page(page, tmp_path).document)[0].split(","))
    assert characters >= 8 * 16
    assert spaces >= len("Regenschirm") * 6


def test_a_result_with_a_baseline_has_its_plot_and_one_without_has_none():
    titles = ["a b c d e"] * 3
    alone = score_titles("run", ["UK"] * 3, titles, titles)
    assert comparison_plot(alone) == []
    beside = score_titles("run", ["UK"] * 3, titles, titles, baseline=("last", ["a b c d x"] * 3), samples=10)
    page = parsed(render_page("p", comparison_plot(beside)))
    assert "svg" in page.tags
    # 4/5, 3/4, 2/3 and 1/2 of the n-grams match
    expected = 100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** (1 / 4)
    (label,) = [value for name, value in page.attributes if name == "aria-label"]
    assert f"overall: 100.0 against {expected:.1f}" in label


def test_provenance_leaves_out_what_is_not_known():
    made = {"seed": 0, "recipe": None, "command": ["gen.py", "--k", "3"], "settings": {"k": 3, "limit": None}}
    page = parsed(render_page("p", [provenance_table(made)]))
    assert page.texts.count("gen.py --k 3") == 1
    assert "0" in page.texts
    assert "recipe" not in page.texts
    assert page.texts.count("k 3") == 1


def test_one_table_is_markdown_html_and_a_terminals():
    table = Table(
        ("who", "what", "BLEU"), [["a|b", "two\nlines", "1.00"], ["c", Text(["x", "y"], "UK"), "–"]], "cap", "llr"
    )
    assert to_markdown([Heading("T", 3), table, Notes(["one", "two"], numbered=True), Code("ls", "bash")]) == (
        "### T\n\ncap\n\n| who | what | BLEU |\n|---|---|---:|\n| a\\|b | two lines | 1.00 |\n| c | x / y | – |\n\n"
        "1. one\n2. two\n\n```bash\nls\n```\n"
    )
    page = parsed(render_page("p", [table]))
    assert page.tags.count("th") == 3 + 2
    assert page.tags.count("td") == 2 * 2
    assert [value for name, value in page.attributes if name == "class"][2:5] == ["l", "l", "r"]
    told = Console(width=80, file=io.StringIO(), force_terminal=False)
    told.print(to_terminal(Table(("[/b]", "n"), [["[red]a title[/]", "1"]], "[bold]")))
    assert all(text in told.file.getvalue() for text in ("[/b]", "[red]a title[/]", "[bold]"))  # no markup is read
    shown = to_terminal(table)
    assert (str(shown.title), [column.justify for column in shown.columns]) == ("cap", ["left", "left", "right"])
    assert [str(cell) for cell in shown.columns[2].cells] == ["1.00", "–"]


def test_a_difference_carries_its_sign_and_as_many_digits_as_its_metric():
    assert with_interval("mrr@100", Interval(0.25, 0.125, 0.5, 9)) == "0.2500 [0.1250, 0.5000]"
    assert with_interval("bleu", Interval(-1.0, -2.5, 0.25, 9), "+") == "-1.00 [-2.50, +0.25]"


@pytest.mark.parametrize("name", list(drawn()))
def test_a_plot_is_the_same_svg_each_time_with_text_in_the_ink_of_the_page(name):
    svg = figure_svg(drawn()[name])
    assert svg == figure_svg(drawn()[name])
    page = parsed(svg)
    assert page.tags[0] == "svg"
    assert "text" in page.tags
    assert "currentColor" in svg
    assert "<image" not in svg
    assert not re.search(r'<g id="', svg)


def test_axes_are_labelled_with_units():
    labels = {
        name: [axes.get_xlabel() + axes.get_ylabel() + axes.get_title() for axes in figure.axes]
        for name, figure in drawn().items()
    }
    assert labels["bleu"] == ["BLEU (0-100)", "difference in BLEU points\n(95 % paired bootstrap)"]
    assert labels["curves"] == ["optimizer steploss (nats per token)"]
    assert labels["tail"] == ["length (items)sessions"]
    assert labels["heat"] == ["share of products"]


def test_a_heatmap_writes_each_value_in_its_cell():
    (axes,) = plot_heatmap([[1, np.nan], [0.25, 0.5]], ["UK", "DE"], "share").axes
    cells = {(text.get_position(), text.get_text()) for text in axes.texts}
    assert cells == {((0.5, 0.5), "1.00"), ((0.5, 1.5), "0.250"), ((1.5, 1.5), "0.500")}
    with pytest.raises(ConfigError, match="2 labels needs a square matrix"):
        plot_heatmap([[1.0]], ["UK", "DE"], "share")


def test_plots_are_saved_by_their_ending(tmp_path):
    figure = drawn()["curves"]
    save_figure(figure, tmp_path / "a.png")
    save_figure(figure, tmp_path / "a.svg")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (tmp_path / "a.svg").read_bytes()
    with pytest.raises(ConfigError, match=r"\.png or \.svg"):
        save_figure(figure, tmp_path / "a.pdf")
