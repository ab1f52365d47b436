"""Rows that others measured, above ours: one table for each protocol, a line a system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llmrec.paper.reproduction.recipe import TableRecipe
from llmrec.paper.reproduction.records import Cell

__all__ = ["NOTHING", "board_table", "shown_cell", "shown_number", "sources_of"]

NOTHING = "–"


def shown_number(value: float | None, sign: bool = False) -> str:
    """A fraction with four decimals, a mean with as many as it has, a count with none."""
    if value is None:
        return NOTHING
    plus = "+" if sign else ""
    if abs(value) <= 1 and not (isinstance(value, int) or value in (-1, 0, 1)):
        return f"{value:{plus}.4f}"
    whole = float(value).is_integer()
    return f"{value:{plus},.0f}" if whole else f"{value:{plus},.4f}".rstrip("0")


def shown_cell(cell: Cell | None) -> str:
    """A measured number, with its interval where it has one."""
    if cell is None:
        return NOTHING
    if cell.low is None or cell.high is None:
        return shown_number(cell.value)
    return f"{shown_number(cell.value)} [{shown_number(cell.low)}, {shown_number(cell.high)}]"


def board_table(
    recipe: TableRecipe,
    protocol: str,
    columns: Sequence[str],
    ours: Sequence[tuple[str, Mapping[str, Cell], str | None]],
) -> tuple[list[str], list[list[str]]]:
    """Header and lines of a table of others' rows and ours.

    Args:
        recipe: Of the table.
        protocol: Name of the protocol of our rows.
        columns: To show.
        ours: Label, cells and verdict of each of our rows; the verdict column is left out where all are None.
    """
    judged = any(verdict is not None for _, _, verdict in ours)
    header = ["", *(column.replace("/overall", "").replace("/", " ") for column in columns)]
    lines = [
        [f"{others.what}: {label}", *(shown_number(others.value(label, column)) for column in columns)]
        for others in recipe.others
        if protocol in others.protocols
        for label in others.rows
    ]
    lines = [[*line, NOTHING] if judged else line for line in lines]
    for label, cells, verdict in ours:
        line = [label, *(shown_cell(cells.get(column)) for column in columns)]
        lines.append([*line, verdict or NOTHING] if judged else line)
    return [*header, "verdict"] if judged else header, lines


def sources_of(recipe: TableRecipe, protocol: str) -> list[str]:
    """Where the rows of others come from, a sentence each."""
    return [
        f"{one.what[:1].upper()}{one.what[1:]}: {' '.join(one.source.split())}"
        for one in recipe.others
        if protocol in one.protocols
    ]
