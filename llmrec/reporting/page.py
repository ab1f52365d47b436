"""One self-contained HTML page of tables, plots and examples: no script, no network, every text escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Final, NewType

from matplotlib.figure import Figure

from llmrec.evaluation.results import Result
from llmrec.evaluation.scoring import OVERALL
from llmrec.files import write_text
from llmrec.languages import language_of
from llmrec.reporting.plots import figure_svg, plot_bleu_by_locale
from llmrec.reporting.tables import breakdown_tables, notes_of, result_table

__all__ = [
    "Example",
    "Html",
    "examples_block",
    "figure_block",
    "heading",
    "paragraph",
    "provenance_block",
    "result_blocks",
    "table_block",
    "text_block",
    "titles_block",
    "write_html_report",
]

Html = NewType("Html", str)
"""Text that is HTML already: only the functions of this module make it."""

# the policy forbids whatever a page could load, also if a text ever slipped through unescaped
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"""
_STYLE: Final = """:root { --page: #fff; --ink: #1b1f24; --soft: #59636e; --line: #d5dae0; --band: #f4f6f8; }
@media (prefers-color-scheme: dark) {
  :root { --page: #14171b; --ink: #e8eaed; --soft: #a3acb7; --line: #363d46; --band: #1d2127; }
}
body { margin: 0; background: var(--page); color: var(--ink); line-height: 1.5;
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, "Noto Sans", sans-serif; }
:lang(ja) { font-family: "Hiragino Sans", "Yu Gothic UI", "Yu Gothic", Meiryo, "Noto Sans JP", "Noto Sans CJK JP",
  sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 1.5rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; } h2 { font-size: 1.35rem; margin: 2.5rem 0 .75rem; }
h3 { font-size: 1.1rem; margin: 1.75rem 0 .5rem; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding-bottom: .4rem; }
th, td { padding: .45rem .7rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { border-bottom: 2px solid var(--line); background: var(--band); }
.numbers td + td, .numbers th + th { text-align: right; white-space: nowrap; }
.numbers th + th { white-space: normal; }
figure { margin: 1.25rem 0; } figure > div { overflow-x: auto; }
figure svg { width: 100%; min-width: 34rem; height: auto; }
figcaption, .note { color: var(--soft); font-size: .92rem; }
td { overflow-wrap: anywhere; } td:first-child { overflow-wrap: normal; white-space: nowrap; }
td ol { margin: 0; padding-left: 1.2rem; }
pre { background: var(--band); border: 1px solid var(--line); padding: .7rem .9rem; white-space: pre-wrap;
  overflow-wrap: anywhere; font-size: .88rem; }"""


@dataclass(frozen=True)
class Example:
    """A session as a reader sees it: titles from the oldest to the newest, what was written, what came next."""

    locale: str
    previous: Sequence[str]
    generated: str
    target: str


def heading(text: str, level: int = 2) -> Html:
    """Heading of a section (2) or of a part of it (3)."""
    return Html(f"<h{level}>{escape(text)}</h{level}>")


def paragraph(text: str, note: bool = False) -> Html:
    """Paragraph; a ``note`` is smaller and greyer."""
    return Html(f'<p class="note">{escape(text)}</p>' if note else f"<p>{escape(text)}</p>")


def table_block(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "", numbers: bool = True) -> Html:
    """Table; with ``numbers`` every column but the first stands to the right."""
    titled = f"<caption>{escape(caption)}</caption>" if caption else ""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "\n".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return _table(' class="numbers"' if numbers else "", titled, head, body)


def _table(attributes: str, caption: str, head: str, body: str) -> Html:
    return Html(
        f'<div class="scroll"><table{attributes}>{caption}<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def figure_block(figure: Figure, alt: str, caption: str = "") -> Html:
    """Plot as inline SVG; ``alt`` says what it shows to those who do not see it."""
    shown = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return Html(f'<figure><div role="img" aria-label="{escape(alt)}">{figure_svg(figure)}</div>{shown}</figure>')


def examples_block(examples: Sequence[Example]) -> Html:
    """Table of sessions: previous titles, written title, target; each in the language of its locale."""
    rows = []
    for example in examples:
        language = f' lang="{language_of(example.locale)}"'
        titles = "".join(f"<li>{escape(title)}</li>" for title in example.previous)
        cells = f"<td{language}><ol>{titles}</ol></td><td{language}>{escape(example.generated)}</td>"
        rows.append(f"<tr><td>{escape(example.locale)}</td>{cells}<td{language}>{escape(example.target)}</td></tr>")
    names = ("locale", "previous titles, newest last", "written", "target")
    return _table("", "", "".join(f'<th scope="col">{name}</th>' for name in names), "\n".join(rows))


def titles_block(previous: Sequence[str], titles: Sequence[tuple[str, str]], locale: str) -> Html:
    """One session with many titles for it, below each other: previous titles, then each title behind its name."""
    language = f' lang="{language_of(locale)}"'
    listed = "".join(f"<li>{escape(title)}</li>" for title in previous)
    rows = [f"<tr><td>viewed, newest last</td><td{language}><ol>{listed}</ol></td></tr>"]
    rows += [f"<tr><td>{escape(name)}</td><td{language}>{escape(title)}</td></tr>" for name, title in titles]
    return _table("", "", '<th scope="col">by</th><th scope="col">title</th>', "\n".join(rows))


def text_block(text: str, locale: str) -> Html:
    """A text with its line breaks, in the language of its locale."""
    return Html(f'<pre lang="{language_of(locale)}">{escape(text)}</pre>')


def provenance_block(provenance: Mapping[str, Any]) -> Html:
    """Table of how a run was made."""
    rows = [[key.replace("_", " "), _plain(value)] for key, value in provenance.items() if value is not None]
    return table_block(("made by", ""), rows, numbers=False)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items() if inner is not None)
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return str(value)


def result_blocks(result: Result) -> list[Html]:
    """Section of one result: its table, notes, the plot of BLEU where a baseline stands beside, and provenance."""
    header, rows = result_table(result)
    blocks = [heading(result.run), table_block(header, rows)]
    blocks += [table_block(named, cells, title) for title, named, cells in breakdown_tables(result)]
    blocks += [paragraph(note, note=True) for note in notes_of(result)]
    comparison = result.comparison
    if comparison is not None and comparison.metric == "bleu":
        scores = {name: scores.metrics["bleu"] for name, scores in result.locales.items()}
        scores[OVERALL] = result.overall.metrics["bleu"]
        names = (result.run, comparison.baseline)
        alt = ", ".join(f"{name}: {score:.1f} against {comparison.scores[name]:.1f}" for name, score in scores.items())
        plot = plot_bleu_by_locale(scores, comparison.scores, comparison.intervals, names)
        blocks.append(figure_block(plot, f"BLEU of {names[0]} and {names[1]}. {alt}"))
    if result.provenance:
        blocks.append(provenance_block(result.provenance))
    return blocks


def write_html_report(path: Path, title: str, blocks: Sequence[Html]) -> None:
    """Write a page made of blocks, in their order.

    Args:
        path: The HTML file.
        title: Its title and first heading.
        blocks: From the functions of this module.

    Raises:
        DiskError: the place cannot be written.
    """
    write_text(path, _PAGE.format(title=escape(title), style=_STYLE, body="\n".join(blocks)))
