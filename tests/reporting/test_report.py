import re
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure

from llmrec.errors import ConfigError
from llmrec.evaluation.bootstrap import Interval
from llmrec.evaluation.scoring import score_titles
from llmrec.reporting.page import (
    Example,
    examples_block,
    figure_block,
    heading,
    paragraph,
    provenance_block,
    result_blocks,
    table_block,
    write_html_report,
)
from llmrec.reporting.plots import (
    figure_svg,
    plot_bleu_by_locale,
    plot_heatmap,
    plot_long_tail,
    plot_training_curves,
    save_figure,
)

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
        heading(HOSTILE),
        paragraph(HOSTILE),
        table_block([HOSTILE], [[HOSTILE]], caption=HOSTILE),
        examples_block([Example("JP", [HOSTILE], HOSTILE, HOSTILE)]),
        *result_blocks(result),
        *(figure_block(figure, HOSTILE, HOSTILE) for figure in drawn().values()),
    ]
    write_html_report(tmp_path / "report.html", HOSTILE, blocks)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = parsed(html)
    assert not {"script", "img", "image", "link", "iframe", "foreignobject"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    targets = [value for name, value in page.attributes if name in ("href", "xlink:href", "src")]
    assert targets
    assert all(target.startswith("#") for target in targets)
    assert "url(http" not in html
    assert "default-src 'none'" in html
    assert page.texts.count(HOSTILE) >= 10


def test_examples_carry_the_language_of_their_locale():
    page = parsed(
        examples_block([Example("JP", ["傘", "黒い傘"], "青い傘", "赤い傘"), Example("US", ["mug"], "cup", "pot")])
    )
    assert [value for name, value in page.attributes if name == "lang"] == ["ja"] * 3 + ["en"] * 3
    assert page.tags.count("li") == 3


def test_a_result_with_a_baseline_has_its_plot_and_one_without_has_none():
    titles = ["a b c d e"] * 3
    alone = score_titles("run", ["UK"] * 3, titles, titles)
    assert "svg" not in parsed("".join(result_blocks(alone))).tags
    beside = score_titles("run", ["UK"] * 3, titles, titles, baseline=("last", ["a b c d x"] * 3), samples=10)
    page = parsed("".join(result_blocks(beside)))
    assert "svg" in page.tags
    # 4/5, 3/4, 2/3 and 1/2 of the n-grams match
    expected = 100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** (1 / 4)
    (label,) = [value for name, value in page.attributes if name == "aria-label"]
    assert f"overall: 100.0 against {expected:.1f}" in label


def test_provenance_leaves_out_what_is_not_known():
    page = parsed(
        provenance_block(
            {"seed": 0, "recipe": None, "command": ["gen.py", "--k", "3"], "settings": {"k": 3, "limit": None}}
        )
    )
    assert page.texts.count("gen.py --k 3") == 1
    assert "0" in page.texts
    assert "recipe" not in page.texts
    assert page.texts.count("k 3") == 1


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
