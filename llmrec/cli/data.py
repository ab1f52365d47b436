"""``llmrec data``: raw files to a checked store, synthetic data, sessions held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from llmrec.console import notice
from llmrec.console import out as out_console
from llmrec.files import uri_of
from llmrec.settings import option

__all__ = ["HoldoutJob", "ImportJob", "PickJob", "SynthJob", "holdout", "import_", "pick", "synth"]


@dataclass(frozen=True, kw_only=True)
class ImportJob:
    """What to import.

    Example: llmrec data import ~/amazon-m2 stores/m2
    """

    source: Path = option(..., "Folder with the raw files, or the authors' repository.", argument=True)
    out: Path = option(
        ...,
        "Store to write. An older store there is replaced when this one is complete.",
        argument=True,
        output="folder",
    )
    seed: int = option(0, "Random seed for drawing validation sessions.", minimum=0)
    validation_share: float = option(0.1, "Share of the training sessions to keep for validation.", below=1)
    engine: Literal["duckdb", "spark"] | None = option(
        None, "Where to compute: in this process, or on a Spark cluster, where source and store are URIs."
    )
    master: str | None = option(
        None, "Spark master: spark://HOST:7077, yarn … Default: what spark-submit says, or this machine."
    )


def import_(job: ImportJob) -> Any:
    """Import, and print what was found; errors are those of `llmrec.data.importing.import_dataset`."""
    from llmrec.data.findings import render_summary
    from llmrec.data.importing import import_dataset

    summary = import_dataset(**vars(job))
    out_console.print(render_summary(summary))
    spread = f"llmrec stats {uri_of(job.out)} --engine spark"
    notice(f"next: {spread}" if job.engine == "spark" else f"next: llmrec generate --data {job.out} --k 3")
    return summary


@dataclass(frozen=True, kw_only=True)
class SynthJob:
    """What to make up.

    Example: llmrec data synth raw/small --size small --report
    """

    out: Path = option(..., "Folder for the files, in the official CSV form.", argument=True, output="folder")
    size: Literal["tiny", "small", "full"] = option("tiny", "How many: full has 3.6 M sessions, small 1/50 of that.")
    seed: int = option(0, "Random seed. The same seed and size give the same bytes.", minimum=0)
    report: bool = option(False, "Compare the made-up data with the paper's figures.")


def synth(job: SynthJob) -> Any:
    """Write synthetic data; errors are those of `llmrec.synth.synthesize`."""
    from llmrec.synth import measure_synthetic, render_report, synthesize, write_report

    synthesize(job.out, size=job.size, seed=job.seed)
    figures = None
    if job.report:
        figures = measure_synthetic(job.out)
        write_report(figures, job.out)
        out_console.print(render_report(figures))
    notice(f"next: llmrec data import {job.out} STORE")
    return figures


@dataclass(frozen=True, kw_only=True)
class HoldoutJob:
    """What to hold out.

    A session without next_item gives its last item as target, if two others remain.

    Example: llmrec data holdout sessions.parquet runs/holdout --share 0.1

    Example: llmrec data holdout sessions_train.csv runs/shop --grouped --products products_train.csv
    """

    file: Path = option(..., "Sessions: CSV or Parquet, with or without next_item.", argument=True)
    out: Path = option(
        ..., "Folder for train.parquet, sessions.parquet and targets.parquet.", argument=True, output="folder"
    )
    share: float = option(0.1, "Share of each locale's sessions to hold out.")
    seed: int = option(0, "Random seed.", minimum=0)
    locales: Sequence[str] | None = option(None, "Keep only this locale. Can be repeated.", flag="--locale")
    grouped: bool = option(False, "Keep sessions that continue one another on the same side.")
    last: bool = option(False, "Hold out the last sessions of the file, not drawn ones: a split by time.")
    cold: float = option(0.0, "Share of targets that no session to learn from may hold.")
    engine: Literal["duckdb", "spark"] | None = option(
        None, "Where to draw: in this process, or by hash on a Spark cluster, where FILE and OUT are URIs."
    )
    master: str | None = option(
        None, "Spark master: spark://HOST:7077, yarn … Default: what spark-submit says, or this machine."
    )
    products: Path | None = option(
        None, "Copy these products beside them: `llmrec data import` reads the folder as a shop with a test split."
    )


def holdout(job: HoldoutJob) -> Any:
    """Hold out sessions; errors are those of `llmrec.data.holdout.hold_out`."""
    from llmrec.data.holdout import hold_out

    made = hold_out(**vars(job))
    notice(
        f"{made.num_train:,} sessions to learn from, {made.num_held_out:,} held out, in {uri_of(job.out) or job.out}"
    )
    if job.engine == "spark":
        notice(f"next: llmrec rank covisit --engine spark --train {uri_of(made.train)} --save URI")
    elif job.products is not None:
        notice(f"next: llmrec data import {job.out} STORE; its split 'test' is what was held out")
    else:
        notice(f"next: llmrec rank covisit --train {made.train} --sessions {made.sessions} --out RUN")
    return made


@dataclass(frozen=True, kw_only=True)
class PickJob:
    """What to keep.

    Task 1 of the paper uses UK, DE and JP; Task 2 uses ES, FR and IT.

    Example: llmrec data pick stores/m2/sessions_development.parquet runs/small.parquet --locale ES --locale IT
    """

    file: Path = option(..., "Sessions: CSV or Parquet, with or without next_item.", argument=True)
    out: Path = option(..., "File to write (Parquet).", argument=True, output="file")
    locales: Sequence[str] = option(..., "Locale to keep. Can be repeated.", flag="--locale")


def pick(job: PickJob) -> dict[str, int]:
    """Write the sessions of some locales; errors are those of `llmrec.data.pick.pick_locales`."""
    from llmrec.data.pick import pick_locales

    kept = pick_locales(**vars(job))
    notice(f"{kept:,} sessions in {job.out}")
    return {"n_sessions": kept}
