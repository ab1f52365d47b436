"""One self-contained HTML page of blocks: no script, no network, every text escaped by Jinja."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from llmrec.display import for_html
from llmrec.languages import language_of, locale_of
from llmrec.output import write_text
from llmrec.reporting.blocks import Block, Plot, Table
from llmrec.reporting.plots import figure_svg

__all__ = ["render_page", "stylesheet", "table_html", "write_page"]

_TEMPLATES: Final = Path(__file__).parent / "templates"


def write_page(path: Path, title: str, blocks: Sequence[Block]) -> None:
    """Write a page made of blocks, in their order.

    Args:
        path: The HTML file.
        title: Its title and first heading.
        blocks: What it holds.

    Raises:
        DiskError: the place cannot be written.
    """
    write_text(path, render_page(title, blocks))


def render_page(title: str, blocks: Sequence[Block]) -> str:
    """The page, see `write_page`."""
    named = [(type(block).__name__.lower(), block) for block in blocks]
    return _environment().get_template("page.html").render(title=title, blocks=named)


def stylesheet() -> str:
    """The style of every page, for one that is not made of blocks."""
    return (_TEMPLATES / "page.css").read_text(encoding="utf-8")


def table_html(table: Table) -> str:
    """A table alone, as a notebook shows it; its texts are escaped as those of a page."""
    drawn: Any = _environment().get_template("blocks.html").module
    return str(drawn.table(table)).strip()


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        finalize=for_html,  # whatever a template shows
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"language": language_of, "svg": _svg, "words": lambda locale: locale_of(locale).words}
    return made


def _svg(plot: Plot) -> Markup:
    return Markup(figure_svg(plot.figure))
