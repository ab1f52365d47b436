"""Texts that a terminal, a page, a plot, Markdown or a spreadsheet would take for more than text."""

from __future__ import annotations

from typing import Final

HOSTILE: Final = (
    "[/]",
    "[/red]",
    "[bold]x[/bold]",
    "[link=file:///etc/passwd]x[/link]",
    "\\[",
    ":smiley:",
    "\x1b[31mred",
    "\x1b]8;;http://evil.example\x1b\\x\x1b]8;;\x1b\\",
    "\x07\x08bell",
    "a\rb",
    "two\nlines\tand a tab",
    "\x85\u2028next line",
    "\u202etxt.exe",
    "\u2067\u05d0",
    "אבג 12 (ד) x",
    "$\\frac{$",
    "_hidden",
    "<script>alert(1)</script>",
    "&lt;b&gt; \"'",
    "| a |",
    "`x` **b** _i_ [x](http://evil.example) ![i](x) <http://evil.example>",
    "# heading",
    "=HYPERLINK(1)",
    "+1",
    "\ufeff\u200b",
    "\ud800",
    "{{ 7 * 7 }}{% for %}",
    "日本語 🙂",
    "x" * 1_000_000,
)
# What none of them may bring to a terminal.
UNSAFE: Final = "\x1b\x07\x08\r\x85\u2028\u202e\ud800\x00"
