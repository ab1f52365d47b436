"""From a row of a recipe to its measurement: run its commands, score what they wrote, or count the data."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from llmrec.evaluation.evaluate import evaluate_run
from llmrec.evaluation.metrics import MAX_RANKED
from llmrec.evaluation.parts import ALL_SESSIONS
from llmrec.evaluation.provenance import collect_provenance
from llmrec.evaluation.results import Result, refuse_partial
from llmrec.evaluation.runs import read_run
from llmrec.evaluation.scoring import OVERALL
from llmrec.evaluation.targets import join_titles, read_targets
from llmrec.paper.reproduction.counted import count_cells
from llmrec.paper.reproduction.recipe import Protocol, Row, TableRecipe
from llmrec.paper.reproduction.records import Cell, Measurement
from llmrec.paper.reproduction.source import DataFolder, chosen_files, differences
from llmrec.paper.reproduction.steps import StepRunner, shown
from llmrec.paper.reproduction.templates import fill, places_of

__all__ = ["Unscored", "cells_of", "measure_row", "values_of"]

_EXAMPLES: Final = 4  # as many as Figure 3 shows


class Unscored(Exception):  # noqa: N818 - nothing is wrong: somebody else holds the targets
    """A run was written and there is nothing to score it against; says with which command that is done."""


def measure_row(runner: StepRunner, recipe: TableRecipe, row: Row, protocol: Protocol, data: DataFolder) -> Measurement:
    """Measure one row.

    Raises:
        StepFailed: a command failed.
        Unscored: the run is written, and its targets are not there.
        ConfigError: a run is partial, which stands in no table.
        DataError: run and targets do not belong together.
    """
    started = time.monotonic()
    values = values_of(runner.out, row, protocol, data.path)
    prepared = [runner.run(step, values).command for step in _needed(protocol, row, values)]
    steps = [runner.run(step, values) for step in row.method.steps]
    scoring = time.monotonic()
    examples: Sequence[tuple[str, str]] = ()
    if row.method.kind == "statistics":
        (cells, seconds), last = count_cells(row, data.path), shown(["llmrec", "stats", str(data.path)])
    elif row.method.kind == "examples":
        examples, last = _examples(protocol, values), ""
        cells, seconds = {"examples": Cell(len(examples))}, 0.0
    elif not Path(fill(protocol.targets, values)[0]).is_file():
        run = fill("{run}", values)[0]
        raise Unscored(shown(["llmrec", "evaluate", run, "--targets", "TARGETS", *_cutoffs(row)]))
    else:
        result, last = _scored(row, protocol, values)
        cells, seconds = cells_of(result, row.columns), time.monotonic() - scoring
    seconds += sum(step.seconds for step in steps)
    made = collect_provenance(row.method.recipe, None, data.fingerprint, started)
    return Measurement(
        table=recipe.name,
        row=row.name,
        protocol=protocol.name,
        data=data.path.resolve().name,
        fingerprint=data.fingerprint_of(
            {*protocol.needs, *row.method.needs, *chosen_files(protocol, data.path).values()}
        ),
        cells=cells,
        commands=[one for one in (*prepared, *(step.command for step in steps), last) if one],
        differs=differences(protocol, row.method, data),
        seconds=round(seconds, 1),
        commit=made["git_commit"],
        device=made["device"],
        versions=made["versions"],
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        examples=examples,
    )


def _needed(protocol: Protocol, row: Row, values: Mapping[str, Any]) -> list[str]:
    """Those preparing commands that write what the row's commands, its scoring or a later one of these read."""
    read = [word for step in (*row.method.steps, protocol.targets) for word in fill(step, values)]
    needed: list[str] = []
    for step in reversed(protocol.prepare):
        if any(word.startswith(made) for made in _made_by(step, values) for word in read):
            needed.insert(0, step)
            read += fill(step, values)
    return needed


def _made_by(step: str, values: Mapping[str, Any]) -> list[str]:
    return [word for word in fill(step, values) if word.startswith(values["work"])]


def values_of(out: Path, row: Row, protocol: Protocol, data: Path) -> dict[str, Any]:
    """What the places of the row's commands stand for."""
    shared = str(protocol.values.get("work_name", protocol.name))  # what is learnt once and ranked for several splits
    own = any("row" in places_of(step) for step in row.method.steps)  # a method of several rankers
    name = row.name if own else row.method.name
    return {
        **protocol.values,
        **{place: str(data / file) for place, file in chosen_files(protocol, data).items()},
        "data": str(data),
        "work": str(out / "work" / shared),
        "run": str(out / "runs" / protocol.name / f"{name}.parquet"),
        "model": str(out / "models" / shared / name),
        "row": row.name,
        "method": row.method.name,
        "resume": (),
        "overwrite": (),
    }


def _scored(row: Row, protocol: Protocol, values: Mapping[str, Any]) -> tuple[Result, str]:
    """The result of a run, and the command that prints it."""
    (run,), (targets,) = fill("{run}", values), fill(protocol.targets, values)
    train = fill("{train}", values) if row.method.kind == "ranking" and "train" in values else []
    looked_up = Path(fill("{store}/products.parquet", values)[0]) if row.method.kind == "titles" else None
    result = evaluate_run(
        Path(run),
        Path(targets),
        products=looked_up,
        train=[Path(one) for one in train],
        by=("locale",),
        cutoffs=_cutoffs_of(row),
    )
    refuse_partial(result)
    flags = ["--products", str(looked_up)] if looked_up else []
    return result, shown(
        [
            "llmrec",
            "evaluate",
            run,
            "--targets",
            targets,
            *flags,
            *_several("--train", train),
            "--by",
            "locale",
            *_cutoffs(row),
        ]
    )


def _cutoffs_of(row: Row) -> list[int]:
    """Cutoffs that a row has columns of, beside 100."""
    found = {column.partition("/")[0].partition("@")[2] for column in row.columns}
    return sorted({int(one) for one in found if one.isdecimal()} - {MAX_RANKED})


def _cutoffs(row: Row) -> list[str]:
    return _several("--cutoffs", [str(cutoff) for cutoff in _cutoffs_of(row)])


def _several(flag: str, values: Sequence[str]) -> list[str]:
    return [flag, *values] if values else []


def _examples(protocol: Protocol, values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Written titles and truths of some Spanish sessions, at even distances (Fig. 3 shows Spanish ones)."""
    (run,), (targets,), (products,) = (
        fill(one, values) for one in ("{run}", protocol.targets, "{store}/products.parquet")
    )
    written, goals = read_run(Path(run)), read_targets(Path(targets))
    titles = goals.titles
    if titles is None and goals.items is not None:
        titles = join_titles(written.locales, goals.items, Path(products))
    truths = [] if titles is None else titles.to_pylist()
    spanish = [row for row, name in enumerate(written.locales.to_pylist()) if name == "ES" and truths[row]]
    chosen = [spanish[len(spanish) * place // _EXAMPLES] for place in range(min(_EXAMPLES, len(spanish)))]
    return [(written.predictions[row].as_py(), truths[row]) for row in chosen]


def cells_of(result: Result, columns: Sequence[str]) -> dict[str, Cell]:
    """Cells of a result, for those of ``columns`` (``METRIC/LOCALE``, ``overall``, ``warm`` or ``cold``) that it has.

    BLEU becomes a fraction, as the paper prints it.
    """
    cells = {}
    by_locale = result.breakdowns.get("locale", {})
    for column in columns:
        metric, _, where = column.partition("/")
        part = result.parts.get(where) or by_locale.get(ALL_SESSIONS if where == OVERALL else where)
        scores = result.overall if where == OVERALL else result.locales.get(where, part)
        if scores is None or metric not in scores.metrics:
            continue
        scale = 0.01 if metric.startswith("bleu") else 1.0
        interval = part.intervals.get(metric) if part is not None else None
        low, high = (None, None) if interval is None else (interval.low * scale, interval.high * scale)
        cells[column] = Cell(scores.metrics[metric] * scale, scores.num_sessions, low, high)
    return cells
