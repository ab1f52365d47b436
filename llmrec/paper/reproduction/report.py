"""Paper, ours, difference, what differs: the same lines as Markdown and as a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from llmrec.output import Kind, check, claimed, write_text
from llmrec.paper.reproduction.board import NOTHING, board_table, shown_cell, shown_number, sources_of
from llmrec.paper.reproduction.job import ReproduceJob
from llmrec.paper.reproduction.recipe import settings_of
from llmrec.paper.reproduction.records import Measurement
from llmrec.paper.reproduction.reproduce import RowOutcome, TableOutcome, reproduce
from llmrec.paper.reproduction.verdict import Verdict
from llmrec.reporting import page
from llmrec.reporting.blocks import Block, Code, Heading, Notes, Paragraph, Plot, Table, to_markdown
from llmrec.reporting.plots import plot_beside

__all__ = ["cells_of", "made_by", "render_tables", "reproduce_and_report", "write_page"]

HEADER = ("cell", "paper", "ours", "difference", "verdict", "what differs")


@dataclass
class Doubts:
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


def reproduce_and_report(job: ReproduceJob) -> tuple[list[TableOutcome], Path | None]:
    """Reproduce, and write ``report.md`` and ``report.html`` into the output folder.

    Returns:
        What came of the tables, and the page; no page where there is no data.
    """
    folder = job.folder
    written: list[tuple[Path, Kind]] = [] if job.data is None else [(folder, "place")]
    with claimed(*written):
        for name in ("report.md", "report.html"):
            check(folder / name)
        outcomes = reproduce(job)
        if job.data is None:
            return outcomes, None
        write_text(folder / "report.md", render_tables(outcomes))
        write_page(folder / "report.html", outcomes)
    return outcomes, folder / "report.html"


def cells_of(outcomes: Sequence[TableOutcome]) -> list[dict[str, Any]]:
    """Every cell with its verdict, what was measured and what the paper says, as JSON holds it."""
    return [
        {
            "table": outcome.recipe.name,
            "row": row.row.name,
            "protocol": None if row.protocol is None else row.protocol.name,
            "column": column,
            "verdict": cell.verdict.value,
            "reason": cell.reason or row.message,
            "paper": row.row.paper_value(column),
            **(asdict(row.measured.cells[column]) if row.measured and column in row.measured.cells else {}),
        }
        for outcome in outcomes
        for row in outcome.rows
        for column, cell in row.cells.items()
    ]


def table_lines(outcome: TableOutcome, notes: Doubts) -> list[list[str]]:
    """Lines of `HEADER`, one for each cell; a row without data is one line for each published value."""
    return [line for row in outcome.rows for line in _row_lines(row, notes)]


def _row_lines(outcome: RowOutcome, notes: Doubts) -> list[list[str]]:
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
        lines.append([name, shown_number(paper), shown_cell(cell), distance, verdict, notes.numbers(why)])
    return lines


def render_tables(outcomes: Sequence[TableOutcome]) -> str:
    """All tables as Markdown, each with its notes and how its rows were made."""
    return to_markdown([block for outcome in outcomes for block in (*_table(outcome), *_how(outcome))])


def _table(outcome: TableOutcome, *plots: Plot) -> list[Block]:
    recipe, notes = outcome.recipe, Doubts()
    lines = table_lines(outcome, notes)
    blocks: list[Block] = [Heading(recipe.title), Paragraph(f"{recipe.place}. {summary_of(outcome)}")]
    blocks += [Paragraph(recipe.note.strip(), note=True)] if recipe.note else []
    if recipe.others:
        return [*blocks, *(block for name in _protocols(outcome) for block in _board(outcome, name))]
    return [*blocks, *plots, Table(HEADER, lines), *([Notes(notes.texts, numbered=True)] if notes.texts else [])]


def _protocols(outcome: TableOutcome) -> list[str]:
    """Names of the protocols that were run; where none was, those that others' rows stand beside."""
    ran = dict.fromkeys(row.protocol.name for row in outcome.rows if row.protocol is not None)
    return list(ran) or [others.protocols[0] for others in outcome.recipe.others[:1]]


def _board(outcome: TableOutcome, protocol: str) -> list[Block]:
    """Rows of others and ours under one protocol, each of ours with the worst verdict of its cells."""
    recipe = outcome.recipe
    rows = [row for row in outcome.rows if row.protocol is not None and row.protocol.name == protocol]
    columns = list(dict.fromkeys(column for row in recipe.rows.values() for column in row.columns))
    order = list(Verdict)
    ours = [
        (
            row.row.label,
            {} if row.measured is None else row.measured.cells,
            max((cell.verdict for cell in row.cells.values()), key=order.index).value,
        )
        for row in rows
    ]
    said = [f"{row.row.label}: {row.message}" for row in rows if row.message]
    said += [text for row in rows if row.measured is not None for text in row.measured.differs]
    said += [] if rows else [row.message for row in outcome.rows[:1]]
    summary = rows[0].protocol.summary.strip() if rows and rows[0].protocol else "Nothing of ours was measured."
    notes = [*sources_of(recipe, protocol), *dict.fromkeys(said)]
    return [Paragraph(f"{protocol}: {summary}"), Table(*board_table(recipe, protocol, columns, ours)), Notes(notes)]


def summary_of(outcome: TableOutcome) -> str:
    """How many cells came out how."""
    counts = dict.fromkeys(Verdict, 0)
    for row in outcome.rows:
        for judged in row.cells.values():
            counts[judged.verdict] += 1
    summary = ", ".join(f"{number} {verdict.value}" for verdict, number in counts.items() if number)
    return f"Cells: {summary}."


def _measured(outcome: TableOutcome) -> list[Measurement]:
    return [row.measured for row in outcome.rows if row.measured is not None]


def _how(outcome: TableOutcome) -> list[Block]:
    """How rows were made, and by which commands; rows that were counted at once stand together."""
    groups: dict[tuple[str, ...], list[Measurement]] = {}
    for one in _measured(outcome):
        groups.setdefault(tuple(one.commands), []).append(one)
    return [
        block
        for commands, members in groups.items()
        for block in (
            Paragraph(f"{_named(members)} ({made_by(max(members, key=lambda one: one.seconds))}):"),
            Code("\n".join(commands), language="bash"),
        )
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
    page.write_page(path, "The paper's tables, reproduced", [block for one in outcomes for block in _blocks(one)])


def _blocks(outcome: TableOutcome) -> list[Block]:
    blocks = _table(outcome, *_plots(outcome))
    examples: dict[str, Sequence[Sequence[str]]] = {"The paper's examples": outcome.recipe.examples}
    examples |= {f"Ours, {row.row.label}": row.measured.examples for row in outcome.rows if row.measured is not None}
    for title, pairs in examples.items():
        blocks += [Heading(title, 3), Table(("generated", "truth"), pairs, align="l")] if pairs else []
    blocks += _how(outcome)
    settings = _settings(outcome)
    return blocks + ([Table(("row", "setting", "value", "in the paper"), settings, align="l")] if settings else [])


def _settings(outcome: TableOutcome) -> list[list[str]]:
    return [
        [row.row.label, name, str(value), place]
        for row in outcome.rows
        if row.measured is not None
        for name, (value, place) in settings_of(row.row.method).items()
    ]


def _plots(outcome: TableOutcome) -> list[Plot]:
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
        summary = ", ".join(
            f"{label}: paper {shown_number(a)}, ours {shown_number(b)}" for label, (a, b) in points.items()
        )
        blocks.append(Plot(figure, f"{metric} of the paper and ours. {summary}"))
    return blocks
