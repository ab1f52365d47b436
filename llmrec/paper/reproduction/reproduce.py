"""``llmrec reproduce``: rows of tables one by one, finished ones kept, each held against the paper and our records."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from llmrec.console import notice, progress_bar, stderr
from llmrec.errors import ConfigError, LlmrecError, nearest
from llmrec.output import write_text
from llmrec.paper.reproduction.job import ReproduceJob
from llmrec.paper.reproduction.measure import Unscored, measure_row
from llmrec.paper.reproduction.recipe import FOLDER, Protocol, Row, TableRecipe, load_band, load_table, table_names
from llmrec.paper.reproduction.records import (
    Measurement,
    read_folder,
    read_measurement,
    record_path,
    write_measurement,
)
from llmrec.paper.reproduction.source import DataFolder, check_boards, missing_files, open_data
from llmrec.paper.reproduction.steps import StepFailed, StepRunner
from llmrec.paper.reproduction.verdict import CellVerdict, Verdict, judge

__all__ = ["RowOutcome", "TableOutcome", "load_tables", "reproduce", "rows_to_run"]

ALL: Final = "all"
_STAMP: Final = "data.txt"


@dataclass(frozen=True)
class RowOutcome:
    """What came of one row.

    Attributes:
        row: Of the recipe.
        protocol: The one that was run; None where the data has files for none.
        measured: Its measurement, or None.
        cells: Verdict of each column that was asked for.
        message: Why there is no measurement.
    """

    row: Row
    protocol: Protocol | None
    measured: Measurement | None
    cells: Mapping[str, CellVerdict]
    message: str = ""


@dataclass(frozen=True)
class TableOutcome:
    """What came of one table."""

    recipe: TableRecipe
    rows: Sequence[RowOutcome]

    @property
    def failed(self) -> bool:
        """Whether a cell moved, or could not be measured though its data is there."""
        return any(cell.verdict.is_bad for row in self.rows for cell in row.cells.values())


@dataclass
class _Call:
    """A call under way."""

    job: ReproduceJob
    data: DataFolder | None
    runner: StepRunner | None
    recorded: Mapping[tuple[str, str, str], Measurement]
    took: list[float] = field(default_factory=list)


def load_tables(names: Sequence[str], folder: Path = FOLDER) -> list[TableRecipe]:
    """Recipes by name, ``all`` for the paper's tables and figures.

    Raises:
        ConfigError: one is not known or malformed.
    """
    wanted = [
        one
        for name in names
        for one in ([each for each in table_names(folder) if _is_papers(each)] if name == ALL else [name])
    ]
    return [load_table(name, folder) for name in dict.fromkeys(wanted)]


def _is_papers(name: str) -> bool:
    return name.startswith(("table", "figure"))


def reproduce(job: ReproduceJob) -> list[TableOutcome]:
    """Measure the rows asked for and judge every cell.

    A row whose command fails is an error in its cells; the other rows are measured all the same.

    Raises:
        ConfigError: an unknown table or protocol, a pattern that fits nothing, or an ``out`` that holds other data's
            measurements.
        DataError: ``data`` is no folder with data, or not the board's that a protocol is of.
    """
    data, wanted_runs, recorded = rows_to_run(job)
    runner = None if data is None else StepRunner(_claimed(job, data), data.fingerprint, job.resume, job.launch)
    call = _Call(job, data, runner, recorded)
    outcomes = []
    with progress_bar() as bar:
        task = bar.add_task("reproduce", total=sum(len(runs) for _, runs in wanted_runs), note="")
        left = [(recipe, row) for recipe, runs in wanted_runs for row, _ in runs]
        for recipe, runs in wanted_runs:
            made = []
            for row, protocol in runs:
                remaining = _remaining(call, left)
                bar.update(task, description=f"{recipe.name} {row.name}", note=remaining)
                if not stderr.is_terminal and data is not None:
                    notice(f"{recipe.name} {row.name}: {remaining}")
                made.append(_outcome(call, recipe, row, protocol))
                left.pop(0)
                bar.advance(task)
            outcomes.append(TableOutcome(recipe, made))
    return outcomes


def rows_to_run(
    job: ReproduceJob,
) -> tuple[
    DataFolder | None,
    list[tuple[TableRecipe, list[tuple[Row, Protocol | None]]]],
    Mapping[tuple[str, str, str], Measurement],
]:
    """The data, each table's rows with the protocols they are run by, and earlier measurements.

    Raises:
        ConfigError: an unknown table or protocol, or a pattern that fits nothing.
        DataError: ``data`` is no folder with data, or not the board's that a protocol is of.
    """
    recipes = load_tables(job.tables, job.recipes)
    wanted = [(recipe, [row for row in recipe.rows.values() if wanted_columns(row, job.only)]) for recipe in recipes]
    wanted = [(recipe, rows) for recipe, rows in wanted if rows]
    if not wanted:
        raise ConfigError(f"--only {' '.join(job.only)}: fits no row; known: {', '.join(_names(recipes))}")
    _check_protocols(job, recipes)
    data = None if job.data is None else open_data(job.data)
    runs = [
        (recipe, [(row, one) for row in rows for one in _runnable(recipe, row, job, data)]) for recipe, rows in wanted
    ]
    if data is not None:
        check_boards(data, {one.name: one for _, each in runs for _, one in each if one is not None}.values())
    return data, runs, read_folder(job.records)


def _names(recipes: Iterable[TableRecipe]) -> list[str]:
    return list(dict.fromkeys(name for recipe in recipes for name in recipe.rows))


def wanted_columns(row: Row, only: Sequence[str]) -> list[str]:
    """Columns of a row that are asked for: a row's own name asks for all of them."""
    if not only:
        return list(row.columns)
    return [
        column
        for column in row.columns
        if any(fnmatchcase(row.name, one) or fnmatchcase(f"{row.name}/{column}", one) for one in only)
    ]


def _claimed(job: ReproduceJob, data: DataFolder) -> Path:
    """The output folder, which belongs to one data folder for good."""
    out = job.folder
    stamp = out / _STAMP
    if stamp.is_file() and stamp.read_bytes().strip() != data.fingerprint.encode():
        raise ConfigError(f"{out}: holds measurements of other data than {data.path}; choose another --out")
    write_text(stamp, data.fingerprint + "\n")
    return out


def _check_protocols(job: ReproduceJob, recipes: Sequence[TableRecipe]) -> None:
    known = dict.fromkeys(one.name for recipe in recipes for row in recipe.rows.values() for one in row.protocols)
    for name in job.protocols:
        if name not in known:
            raise ConfigError(
                f"--protocol {name}: not of these tables{nearest(name, known)}; known: {', '.join(known)}"
            )


def _runnable(recipe: TableRecipe, row: Row, job: ReproduceJob, data: DataFolder | None) -> list[Protocol | None]:
    """Protocols of a row that its table runs on this data; None alone where there are files for none."""
    there = [
        one
        for one in row.protocols
        if (not job.protocols or one.name in job.protocols) and not missing_files(one, row.method, data)
    ]
    return [*(there if recipe.every else there[:1])] or [None]


def _outcome(call: _Call, recipe: TableRecipe, row: Row, protocol: Protocol | None) -> RowOutcome:
    columns = wanted_columns(row, call.job.only)
    if protocol is None or call.data is None or call.runner is None:
        why = _how_to_get(row, call.data)
        return RowOutcome(row, None, None, dict.fromkeys(columns, CellVerdict(Verdict.NO_DATA, why)), why)
    started = time.monotonic()
    records = call.runner.out / "records"
    path = record_path(records, recipe.name, row.name, protocol.name)
    try:
        kept = read_measurement(path) if call.job.resume and path.is_file() else None
        measured = kept or measure_row(call.runner, recipe, row, protocol, call.data)
    except Unscored as unscored:
        message = f"targets are not there; with them: {unscored}"
        return RowOutcome(row, protocol, None, dict.fromkeys(columns, CellVerdict(Verdict.RUN, message)), message)
    except (StepFailed, LlmrecError) as error:
        message = " ".join(str(error).split())
        notice(f"{recipe.name} {row.name}: {message}")
        return RowOutcome(row, protocol, None, dict.fromkeys(columns, CellVerdict(Verdict.ERROR, message)), message)
    if kept is None:
        write_measurement(records, measured)
        call.took.append(time.monotonic() - started)
    earlier = call.recorded.get((recipe.name, row.name, protocol.name))
    cells = {column: _judged(recipe, row, column, measured, earlier, call.job.recipes) for column in columns}
    if call.job.record and measured.cells:
        write_measurement(call.job.records, measured)
    return RowOutcome(row, protocol, measured, cells)


def _judged(
    recipe: TableRecipe, row: Row, column: str, measured: Measurement, earlier: Measurement | None, recipes: Path
) -> CellVerdict:
    cell = measured.cells.get(column)
    if cell is None:
        if measured.differs or row.method.kind == "statistics":  # another shop has other locales
            return CellVerdict(Verdict.NO_DATA, f"This data has no {column}. Get it: {row.protocols[0].get.strip()}.")
        return CellVerdict(
            Verdict.ERROR, f"{column} was not measured; the run has {', '.join(measured.cells) or 'nothing'}."
        )
    comparable = earlier is not None and earlier.fingerprint == measured.fingerprint
    before = earlier.cells.get(column) if comparable and earlier is not None else None
    return judge(
        cell.value,
        published=row.aim(column),
        same_protocol=not measured.differs,
        recorded=None if before is None else before.value,
        band=load_band(recipe.bands.get(column, row.method.band), recipes),
        again=load_band(row.method.again, recipes),
    )


def _how_to_get(row: Row, data: DataFolder | None) -> str:
    lacks = []
    for protocol in row.protocols:
        missing = ", ".join(missing_files(protocol, row.method, data))
        where = "needs" if data is None else f"{data.path.name} lacks"
        lacks.append(f"{protocol.name} {where} {missing}: {protocol.get.strip()}.")
    return " Or: ".join(lacks)


def _remaining(call: _Call, left: Sequence[tuple[TableRecipe, Row]]) -> str:
    """How long the rows that are left will take: by our records where there are some, else as the rows so far."""
    mean = sum(call.took) / len(call.took) if call.took else None
    guesses = []
    for recipe, row in left:
        known = [one.seconds for key, one in call.recorded.items() if key[:2] == (recipe.name, row.name)]
        guesses.append(known[0] if known else mean)
    known = [guess for guess in guesses if guess is not None]
    if not known:
        return "how long is not known yet"
    total = sum(known) / len(known) * len(guesses)
    return f"about {total:.0f} s left" if total < 90 else f"about {total / 60:.0f} min left"
