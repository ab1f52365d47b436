"""Paper, ours, difference, what differs: the same lines as Markdown and as a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from llmrec.files import write_text
from llmrec.paper.reproduction.recipe import settings_of
from llmrec.paper.reproduction.records import Cell, Measurement
from llmrec.paper.reproduction.reproduce import ReproduceJob, RowOutcome, TableOutcome, reproduce
from llmrec.paper.reproduction.verdict import Verdict
from llmrec.reporting.page import (
    Html,
    figure_block,
    heading,
    paragraph,
    table_block,
    write_html_report,
)
from llmrec.reporting.plots import plot_beside

__all__ = ["Notes", "made_by", "markdown_table", "render_tables", "reproduce_and_report", "shown_number", "write_page"]

HEADER = ("cell", "paper", "ours", "difference", "verdict", "what differs")
NOTHING = "–"


@dataclass
class Notes:
    """Sentences that cells refer to by number, each listed once."""

    texts: list[str] = field(default_factory=list)

    def numbers(self, texts: Sequence[str]) -> str:
        """Numbers of some sentences, as ``1, 3``; new ones are added."""
        found = []
        for text in (" ".join(one.split()) for one in texts):
            if text not in self.texts:
                self.texts.append(text)
            found.append(self.texts.index(text) + 1)
        return ", ".join(map(str, sorted(set(found))))


def reproduce_and_report(job: ReproduceJob) -> tuple[str, bool, Path | None]:
    """Reproduce, and write ``report.md`` and ``report.html`` into the output folder.

    Returns:
        The Markdown, whether a cell failed, and the page; no page where there is no data.
    """
    outcomes = reproduce(job)
    text = render_tables(outcomes)
    failed = any(outcome.failed for outcome in outcomes)
    if job.data is None:
        return text, failed, None
    folder = job.folder
    write_text(folder / "report.md", text)
    write_page(folder / "report.html", outcomes)
    return text, failed, folder / "report.html"


def shown_number(value: float | None, sign: bool = False) -> str:
    """A fraction with four decimals, a mean with as many as it has, a count with none."""
    if value is None:
        return NOTHING
    plus = "+" if sign else ""
    if abs(value) <= 1 and not (isinstance(value, int) or value in (-1, 0, 1)):
        return f"{value:{plus}.4f}"
    whole = float(value).is_integer()
    return f"{value:{plus},.0f}" if whole else f"{value:{plus},.4f}".rstrip("0")


def _ours(cell: Cell | None) -> str:
    if cell is None:
        return NOTHING
    if cell.low is None or cell.high is None:
        return shown_number(cell.value)
    return f"{shown_number(cell.value)} [{shown_number(cell.low)}, {shown_number(cell.high)}]"


def table_lines(outcome: TableOutcome, notes: Notes) -> list[list[str]]:
    """Lines of `HEADER`, one for each cell; a row without data is one line for each published value."""
    return [line for row in outcome.rows for line in _row_lines(row, notes)]


def _row_lines(outcome: RowOutcome, notes: Notes) -> list[list[str]]:
    row, measured = outcome.row, outcome.measured
    said = [outcome.message] if measured is None else [*measured.differs, *row.method.open]
    lines = []
    for column, judged in outcome.cells.items():
        paper = row.paper_value(column)
        cell = None if measured is None else measured.cells.get(column)
        distance = shown_number(cell.value - paper, sign=True) if cell is not None and paper is not None else NOTHING
        verdict = judged.verdict.value
        if judged.verdict in (Verdict.OK, Verdict.NEAR, Verdict.FAIL):
            verdict += f" ({judged.reason})"
        why = [*said, *row.doubts] if paper is not None else said
        if measured is not None and cell is None:
            why = [judged.reason]
        name = f"{row.label}, {column.replace('/', ' ')}"
        lines.append([name, shown_number(paper), _ours(cell), distance, verdict, notes.numbers(why)])
    return lines


def markdown_table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its first column to the left and numbers to the right."""
    ruler = "|---|" + "---:|" * (len(header) - 1)
    return "\n".join([_line(header), ruler, *map(_line, lines)])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in cells)} |"


def render_tables(outcomes: Sequence[TableOutcome]) -> str:
    """All tables as Markdown, each with its notes and how its rows were made."""
    parts = []
    for outcome in outcomes:
        notes = Notes()
        lines = table_lines(outcome, notes)
        parts += [f"## {outcome.recipe.title}", f"{outcome.recipe.place}. {summary_of(outcome)}"]
        parts += [outcome.recipe.note.strip()] if outcome.recipe.note else []
        parts += [markdown_table(HEADER, lines)]
        parts += ["\n".join(f"{number}. {text}" for number, text in enumerate(notes.texts, 1))] if notes.texts else []
        for names, made, commands in _how(outcome):
            parts += [f"{names} ({made}):", "```bash\n" + "\n".join(commands) + "\n```"]
    return "\n\n".join(parts) + "\n"


def summary_of(outcome: TableOutcome) -> str:
    """How many cells came out how."""
    counts = dict.fromkeys(Verdict, 0)
    for row in outcome.rows:
        for judged in row.cells.values():
            counts[judged.verdict] += 1
    told = ", ".join(f"{number} {verdict.value}" for verdict, number in counts.items() if number)
    return f"Cells: {told}."


def _measured(outcome: TableOutcome) -> list[Measurement]:
    return [row.measured for row in outcome.rows if row.measured is not None]


def _how(outcome: TableOutcome) -> list[tuple[str, str, list[str]]]:
    """Rows, how they were made, and by which commands; rows that were counted at once stand together."""
    groups: dict[tuple[str, ...], list[Measurement]] = {}
    for one in _measured(outcome):
        groups.setdefault(tuple(one.commands), []).append(one)
    return [
        (_named(members), made_by(max(members, key=lambda one: one.seconds)), list(commands))
        for commands, members in groups.items()
    ]


def _named(members: Sequence[Measurement]) -> str:
    names = [one.row for one in members]
    return ", ".join(names) if len(names) < 3 else f"{names[0]} … {names[-1]}"


def made_by(measured: Measurement) -> str:
    """Seconds, commit, device and data of a measurement, in one line."""
    commit = (measured.commit or "unknown")[:7] + ("-dirty" if (measured.commit or "").endswith("-dirty") else "")
    device = measured.device.get("cpu", "unknown")
    gpus = measured.device.get("gpus") or []
    where = f"{len(gpus)} × {gpus[0]}" if gpus else f"{measured.device.get('cores', '?')} cores of {device}"
    return f"{measured.seconds:,.0f} s, commit {commit}, {where}, data {measured.fingerprint[:12]}"


def write_page(path: Path, outcomes: Sequence[TableOutcome]) -> None:
    """The same as one self-contained page, with a plot where paper and ours stand beside each other.

    Raises:
        DiskError: it cannot be written.
    """
    blocks: list[Html] = []
    for outcome in outcomes:
        blocks += _blocks(outcome)
    write_html_report(path, "The paper's tables, reproduced", blocks)


def _blocks(outcome: TableOutcome) -> list[Html]:
    recipe, notes = outcome.recipe, Notes()
    lines = table_lines(outcome, notes)
    blocks = [heading(recipe.title), paragraph(f"{recipe.place}. {summary_of(outcome)}")]
    blocks += [paragraph(recipe.note, note=True)] if recipe.note else []
    blocks += _plot(outcome)
    blocks += [table_block(HEADER, lines)]
    blocks += [paragraph(f"{number}. {text}", note=True) for number, text in enumerate(notes.texts, 1)]
    if recipe.examples:
        blocks += [heading("The paper's examples", 3)]
        blocks += [table_block(("generated", "truth"), [list(pair) for pair in recipe.examples], numbers=False)]
    for row in outcome.rows:
        if row.measured is not None and row.measured.examples:
            blocks += [heading(f"Ours, {row.row.label}", 3)]
            pairs = [list(pair) for pair in row.measured.examples]
            blocks += [table_block(("generated", "truth"), pairs, numbers=False)]
    made = [[names, how, " && ".join(commands)] for names, how, commands in _how(outcome)]
    blocks += [table_block(("rows", "made by", "commands"), made, numbers=False)] if made else []
    settings = _settings(outcome)
    return blocks + (
        [table_block(("row", "setting", "value", "in the paper"), settings, numbers=False)] if settings else []
    )


def _settings(outcome: TableOutcome) -> list[list[str]]:
    return [
        [row.row.label, name, str(value), place]
        for row in outcome.rows
        if row.measured is not None
        for name, (value, place) in settings_of(row.row.method).items()
    ]


def _plot(outcome: TableOutcome) -> list[Html]:
    """Paper and ours for each metric over all sessions, where both are known."""
    blocks = []
    metrics = dict.fromkeys(column for row in outcome.rows for column in row.cells if column.endswith("/overall"))
    for column in metrics:
        points = {
            row.row.label: (row.row.paper_value(column), row.measured.cells[column].value)
            for row in outcome.rows
            if row.measured is not None and column in row.measured.cells
        }
        if not points:
            continue
        metric = column.partition("/")[0]
        figure = plot_beside(points, ("paper", "ours"), f"{metric}, all sessions (fraction)")
        told = ", ".join(
            f"{label}: paper {shown_number(a)}, ours {shown_number(b)}" for label, (a, b) in points.items()
        )
        blocks.append(figure_block(figure, f"{metric} of the paper and ours. {told}"))
    return blocks
