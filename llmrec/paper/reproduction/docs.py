"""``docs/reproduction.md``: what was measured and recorded, never typed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llmrec.errors import ConfigError
from llmrec.output import write_text
from llmrec.paper.reproduction.board import board_table, shown_cell, shown_number, sources_of
from llmrec.paper.reproduction.recipe import FOLDER, Row, TableRecipe, load_table, table_names
from llmrec.paper.reproduction.records import Measurement, read_folder
from llmrec.paper.reproduction.report import made_by
from llmrec.reporting.blocks import Block, Code, Heading, Markdown, Notes, Paragraph, Table, to_markdown

__all__ = ["render_docs_page", "write_docs_page"]

_INTRODUCTION = """# Reproduction: what was measured

`llmrec reproduce` writes this page from the records in [docs/measured](../docs/measured). No number is typed. A test
compares page and records.

| | |
|---|---|
| Figures | fractions, as the paper prints them (BLEU too); brackets hold 95 % bootstrap intervals over sessions |
| Seconds | of machines that did other things at the same time |
| Another protocol than the paper's | its figures are compared with our own record, never with the paper |

To measure again, and to add what is missing:

```bash
llmrec reproduce public --data ../shared/data/amazon-m2 --resume --record --write-docs docs/reproduction.md
llmrec reproduce industrial --data ../shared/data/industrial --resume --record --write-docs docs/reproduction.md
llmrec reproduce minionerec --data ../shared/data/industrial --resume --record --write-docs docs/reproduction.md
llmrec reproduce all --data stores/m2 --resume --record --write-docs docs/reproduction.md
```

`--plan` first tells the time and memory of each row. Each command goes on where it was stopped. `--only ROW` runs one
row. `--launch accelerate_configs/a6000x8.yaml` trains on several devices. The exit status is 1 if a number left its
band. `llmrec reproduce TABLE` without data says which files a table needs, and where to get them.
"""
_OPEN = Markdown('<details markdown="1"><summary>Commands, seconds and commits</summary>')
_CLOSE = Markdown("</details>")


def write_docs_page(path: Path, recorded: Path) -> None:
    """Write the page.

    Raises:
        DataError: a record is malformed.
        DiskError: the page cannot be written.
    """
    write_text(path, render_docs_page(recorded))


def render_docs_page(recorded: Path, recipes: Path = FOLDER) -> str:
    """The page of all recorded measurements, by recipe and row.

    Raises:
        ConfigError: a record is of a row that no recipe has.
        DataError: a record is malformed.
    """
    records = read_folder(recorded)
    blocks: list[Block] = [Paragraph(Markdown(_INTRODUCTION.strip()))]
    known = set()
    for name in table_names(recipes):
        recipe = load_table(name, recipes)
        rows = [(row, records[key]) for row in recipe.rows.values() for key in _keys(recipe, row) if key in records]
        known |= {key for row in recipe.rows.values() for key in _keys(recipe, row)}
        if rows:
            blocks += _section(recipe, rows)
    if left := [key for key in records if key not in known]:
        raise ConfigError(f"{recorded}: {' '.join(left[0])} is of no recipe; remove its record")
    return to_markdown(blocks)


def _keys(recipe: TableRecipe, row: Row) -> list[tuple[str, str, str]]:
    return [(recipe.name, row.name, protocol.name) for protocol in row.protocols]


def _section(recipe: TableRecipe, rows: Sequence[tuple[Row, Measurement]]) -> list[Block]:
    blocks: list[Block] = [Heading(recipe.title), Paragraph(f"{recipe.place[:1].upper()}{recipe.place[1:]}.")]
    blocks += [Paragraph(recipe.note.strip())] if recipe.note else []
    groups: dict[tuple[str, tuple[str, ...]], list[tuple[Row, Measurement]]] = {}
    for row, one in rows:
        groups.setdefault((one.protocol, row.columns), []).append((row, one))
    said: set[str] = set()  # what several panels of a figure share is said once
    for (name, columns), members in groups.items():
        protocol = next(one for one in members[0][0].protocols if one.name == name)
        blocks += map(Paragraph, _new([protocol.summary.strip() + _sessions(members)], said))
        shown = [column for column in columns if any(column in one.cells for _, one in members)]
        header, lines = board_table(recipe, name, shown, [])
        blocks.append(Table(header, lines + [line for row, one in members for line in _lines(row, one, shown)]))
        if fresh := _new(sources_of(recipe, name), said):
            blocks.append(Notes(fresh))
        notes = [text for _, one in members for text in one.differs]
        notes += [f"{row.label}: {text}" for row, _ in members for text in row.doubts]
        if fresh := _new([" ".join(text.split()) for text in notes], said):
            blocks += [Paragraph("What differs from the paper:"), Notes(fresh)]
        blocks += _how(members, said)
    return blocks


def _new(texts: Sequence[str], said: set[str]) -> list[str]:
    """Those that were not said yet; they are now."""
    fresh = [text for text in dict.fromkeys(texts) if text not in said]
    said.update(fresh)
    return fresh


def _sessions(members: Sequence[tuple[Row, Measurement]]) -> str:
    """How many sessions a scored protocol has."""
    sizes = {cell.n for _, one in members for key, cell in one.cells.items() if key.endswith("/overall") and cell.n}
    return f" Sessions: {', '.join(f'{size:,}' for size in sorted(sizes))}." if sizes else ""


def _lines(row: Row, measured: Measurement, columns: Sequence[str]) -> list[list[str]]:
    """Our line, and the paper's below it where it has one."""
    ours = [row.label, *(shown_cell(measured.cells.get(column)) for column in columns)]
    if all(value is None for value in row.published):
        return [ours]
    return [ours, ["… in the paper", *(shown_number(row.paper_value(column)) for column in columns)]]


def _how(members: Sequence[tuple[Row, Measurement]], said: set[str]) -> list[Block]:
    """Commands, folded: those that every row shares once, then each row's own, with how it was made."""
    shared = [command for command in members[0][1].commands if all(command in one.commands for _, one in members)]
    lines = _new(shared, said) if len(members) > 1 else []
    for row, one in members:
        if own := [command for command in one.commands if command not in said]:
            said.update(own)
            lines += [f"# {row.label}: {made_by(one)}", *own]
    if len(members) > 1 and lines == shared:  # counted at once
        lines.append(f"# {made_by(max((one for _, one in members), key=lambda one: one.seconds))}")
    return [Paragraph(_OPEN), Code("\n".join(lines), language="bash"), Paragraph(_CLOSE)] if lines else []
