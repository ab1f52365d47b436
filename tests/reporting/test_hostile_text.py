"""Whatever a name or a title holds: a page, Markdown and a plot show it and do nothing with it."""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from llmrec.display import visible
from llmrec.evaluation.bootstrap import Interval
from llmrec.reporting import plots
from llmrec.reporting.blocks import Code, Heading, Markdown, Notes, Paragraph, Table, Text, to_markdown
from llmrec.reporting.page import render_page
from tests.hostile import HOSTILE, UNSAFE

SHORT = HOSTILE[:-1]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text)[:20])
def test_a_page_holds_no_control_character_and_no_markup_of_a_text(text: str) -> None:
    blocks = [
        Heading(text),
        Paragraph(text),
        Notes([text]),
        Code(text, locale=text),
        Table([text, text], [[text, Text([text], text)]], text),
    ]
    page = render_page(text, blocks)
    assert not set(page) & set(UNSAFE)
    assert "<script" not in page
    assert "<b>" not in page
    page.encode()


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text)[:20])
def test_markdown_has_the_lines_that_its_blocks_have(text: str) -> None:
    blocks = [Heading(text), Paragraph(text), Notes([text]), Code(text), Table([text, "b"], [[text, Text(text, "UK")]])]
    lines = to_markdown(blocks).removesuffix("\n").split("\n")
    assert len(lines) == 12 + len(visible(text, breaks=True).split("\n"))
    for row in lines[-3:]:
        assert len(re.findall(r"(?<!\\)\|", row)) == 3
    assert not set("".join(lines)) & set(UNSAFE)


def test_our_own_markdown_is_kept_and_code_cannot_end_its_fence() -> None:
    assert to_markdown([Paragraph(Markdown("**a** `b`")), Code("x\n```\n# y")]) == (
        "**a** `b`\n\n````\nx\n```\n# y\n````\n"
    )


def drawn(names: list[str]) -> list[object]:
    first = dict.fromkeys(names, 1.0)
    intervals = dict.fromkeys(names, Interval(0.1, 0.0, 0.2, 10))
    points = dict.fromkeys(names, ([1, 2], [3, 4]))
    pair = (names[0], names[-1])
    return [
        plots.plot_bleu_by_locale(first, first, intervals, pair),
        plots.plot_differences(intervals),
        plots.plot_beside(dict.fromkeys(names, (0.1, 0.2)), pair, names[0]),
        plots.plot_long_tail(points, names[0], names[0]),
        plots.plot_long_tails(points, names[0], names[0]),
        plots.plot_shares(dict.fromkeys(names, 0.5), names[0]),
        plots.plot_histogram([1.0, 2.0], names[0], names[0], 0.1),
        plots.plot_heatmap([[1.0] * len(names)] * len(names), names, names[0]),
    ]


@pytest.mark.parametrize("text", [" ".join(SHORT), *(one for one in HOSTILE if "$" in one or one[0] in "_x\x1b")])
def test_a_plot_of_any_name_is_drawn_without_a_word(text: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number, figure in enumerate(drawn([text, "UK"])):
            plots.save_figure(figure, tmp_path / f"{number}.png")
            svg = plots.figure_svg(figure)
            ET.parse(io.StringIO(svg))  # well-formed
            assert not set(svg) & set(UNSAFE)


def test_a_legend_names_every_series() -> None:
    svg = plots.figure_svg(plots.plot_long_tail({"_FR": ([1], [1]), "$DE$": ([1], [2])}, "x", "y"))
    assert "_FR" in svg
    assert "$DE$" in svg
