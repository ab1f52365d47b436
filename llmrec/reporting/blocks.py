"""What a report is made of: headings, texts, tables and plots; it becomes Markdown, a page, or tables of a terminal."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmrec import console
from llmrec.display import for_markdown, visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "Block",
    "Code",
    "Heading",
    "Markdown",
    "Notes",
    "Paragraph",
    "Plot",
    "Table",
    "Text",
    "provenance_table",
    "to_markdown",
    "to_terminal",
]


class Markdown(str):
    """Text that is Markdown already: ours, with nothing of a file's in it. Any other text is no more than text."""

    __slots__ = ()


@dataclass(frozen=True)
class Text:
    """A cell in the language of its locale: one text, or several that are listed."""

    content: str | Sequence[str]
    locale: str

    def __str__(self) -> str:
        """The texts behind each other, where nothing can be listed."""
        return self.content if isinstance(self.content, str) else " / ".join(self.content)


@dataclass(frozen=True)
class Table:
    """Cells below their columns.

    Attributes:
        columns: Names of the columns.
        rows: A cell for each column; the first says what the row is.
        caption: What the table shows.
        align: ``l`` or ``r`` for each column; the last letter holds for all columns after it. ``l`` alone is a table of
            texts, which a narrow page sets row by row.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str | Text]]
    caption: str = ""
    align: str = "lr"

    @property
    def sides(self) -> str:
        """``l`` or ``r`` of every column."""
        return self.align.ljust(len(self.columns), self.align[-1])


@dataclass(frozen=True)
class Heading:
    """Heading of a section (2) or of a part of it (3)."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """Paragraph; a ``note`` is smaller and greyer on a page."""

    text: str
    note: bool = False


@dataclass(frozen=True)
class Notes:
    """Short sentences below each other."""

    texts: Sequence[str]
    numbered: bool = False


@dataclass(frozen=True)
class Code:
    """A text with its line breaks: commands (``language="bash"``), or a prompt in the language of its ``locale``."""

    text: str
    language: str = ""
    locale: str = ""


@dataclass(frozen=True)
class Plot:
    """A figure, which a page shows and Markdown leaves out; ``alt`` says what it shows to those who do not see it."""

    figure: Figure
    alt: str
    caption: str = ""


Block = Heading | Paragraph | Notes | Code | Plot | Table


def provenance_table(provenance: Mapping[str, Any]) -> Table:
    """How a run was made; what is not known is left out."""
    rows = [[key.replace("_", " "), _plain(value)] for key, value in provenance.items() if value is not None]
    return Table(("made by", ""), rows, align="l")


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items() if inner is not None)
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return str(value)


def to_terminal(table: Table) -> console.Table:
    """The table as a terminal shows it, the caption above."""
    rows = (tuple(map(str, row)) for row in table.rows)
    built = console.table(table.caption, table.columns, rows)
    for column, side in zip(built.columns, table.sides, strict=True):
        column.justify = "left" if side == "l" else "right"
    return built


def to_markdown(blocks: Sequence[Block]) -> str:
    """The blocks as Markdown, an empty line between them."""
    parts = [_markdown(block) for block in blocks if not isinstance(block, Plot)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _markdown(block: Block) -> str:
    match block:
        case Heading():
            return f"{'#' * block.level} {_text(block.text)}"
        case Paragraph():
            return _text(block.text)
        case Notes():
            marks = (f"{place}." if block.numbered else "-" for place in range(1, len(block.texts) + 1))
            return "\n".join(f"{mark} {_text(text)}" for mark, text in zip(marks, block.texts, strict=True))
        case Code():
            fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", block.text))])
            return f"{fence}{block.language}\n{visible(block.text, breaks=True)}\n{fence}"
        case Table():
            ruler = "".join("---|" if side == "l" else "---:|" for side in block.sides)
            lines = [_row(block.columns), f"|{ruler}", *map(_row, block.rows)]
            return "\n".join([*([_text(block.caption), ""] if block.caption else []), *lines])
        case _:
            return ""


def _row(cells: Sequence[str | Text]) -> str:
    shown = (_text(cell if isinstance(cell, str) else str(cell), cell=True) for cell in cells)
    return f"| {' | '.join(shown)} |"


def _text(text: str, *, cell: bool = False) -> str:
    return text if isinstance(text, Markdown) else for_markdown(text, cell=cell)
