"""Text of files, people and servers on its way out, made harmless for what shows it: it stays text there, no more.

A title, a locale, an id, a file's name, a setting or what a server says may hold anything. Those who show text pass it
through here: `llmrec.console` for the terminal, `llmrec.reporting` for its pages, plots and Markdown. Where a program
reads what is written (Parquet, JSON, raw CSV, a run) the text stays as it is.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

__all__ = ["for_csv", "for_json", "for_markdown", "for_plot", "for_terminal", "shortened", "visible"]

# Control characters but tab and line feed, what turns the direction of text, line ends of Unicode, halves of pairs, and
# what XML forbids.
_HIDDEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb\ufffe\uffff\ud800-\udfff]"
)
_HIDDEN_OR_BREAK: Final = re.compile(f"{_HIDDEN.pattern[:-1]}\t\n]")
_RIGHT: Final = "\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff"
_TO_THE_LEFT: Final = re.compile(f"[{_RIGHT}](?:[{_RIGHT}\\W\\d_]*[{_RIGHT}])?")
_ISOLATED: Final = "\u2067{}\u2069"

_MARKS: Final = re.compile(r"[\\`*]|<(?=[A-Za-z/!?])|&(?=#?\w+;)|(?<=\])(?=[(\[:])|(?<![^\W_])_|_(?![^\W_])|~~")
_ENTITIES: Final = {"<": "&lt;", "&": "&amp;"}  # a backslash before these is not read by every Markdown
_BLOCK: Final = re.compile(r"^(\d{1,9})(?=[.)](?:\s|$))|^(?=>|#+(?:\s|$)|[+-](?:[\s-]|$)|=+$)")  # headings, lists …
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
PLOT_CHARACTERS: Final = 100  # a longer label makes a picture that no memory holds


def visible(text: str, *, breaks: bool = False) -> str:
    r"""The text with what is hidden in it spelt out: ESC as ``\x1b``, a right-to-left override as ``\u202e``.

    Args:
        text: Any text.
        breaks: Whether line breaks and tabs stay as they are; else they are spelt out, too, and it is one line.
    """
    return (_HIDDEN if breaks else _HIDDEN_OR_BREAK).sub(lambda found: ascii(found[0])[1:-1], text)


def shortened(text: str, most: int) -> str:
    """The text without its middle where it has more than ``most`` characters, and how many are left out."""
    if len(text) <= most:
        return text
    head = most * 2 // 3
    return f"{text[:head]} … {len(text) - most:,} characters … {text[len(text) - (most - head) :]}"


def for_terminal(text: str) -> str:
    """For a terminal: nothing in it moves the cursor, colours, or links, and no title turns the line around it.

    Text written from right to left stands between marks that isolate its direction.
    """
    shown = visible(text, breaks=True)
    return shown if shown.isascii() else _TO_THE_LEFT.sub(lambda found: _ISOLATED.format(found[0]), shown)


def for_json(value: Any, *, ascii_only: bool = False) -> str:
    r"""A value as JSON for a terminal: when it is read, the same value; what is hidden is written as ``\uXXXX``."""
    text = json.dumps(value, ensure_ascii=ascii_only, indent=2)
    return _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def for_html(value: Any) -> Any:
    """For a page: what is hidden is spelt out; Jinja escapes the rest, and leaves what says that it is HTML."""
    return visible(value, breaks=True) if isinstance(value, str) and not hasattr(value, "__html__") else value


def for_plot(text: str, most: int = PLOT_CHARACTERS) -> str:
    """For a plot: one short line; a leading underscore, which hides a series from Matplotlib's legend, is moved."""
    line = visible(text)
    line = line if len(line) <= most else f"{line[: most // 2]}…{line[-(most // 2 - 1) :]}"
    return f" {line}" if line.startswith("_") else line


def for_markdown(text: str, *, cell: bool = False) -> str:
    """For Markdown: one line in which nothing is a link, code, emphasis or HTML; in a table's cell no bar ends it."""
    line = _MARKS.sub(_escaped, visible(" ".join(text.split())))
    return line.replace("|", r"\|") if cell else _BLOCK.sub(r"\1\\", line)


def _escaped(found: re.Match[str]) -> str:
    return _ENTITIES.get(found[0]) or f"\\{found[0]}"


def for_csv(value: Any) -> Any:
    """For a table that people open in a spreadsheet: a text that one would take for a formula starts with ``'``."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
