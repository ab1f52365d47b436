"""What was measured for one row of a table: values, and everything needed to measure it again; JSON on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

from msgspec import Meta

from llmrec.errors import DataError
from llmrec.records import Count, read_record, write_record

__all__ = ["RECORDED", "Cell", "Measurement", "read_folder", "read_measurement", "record_path", "write_measurement"]

RECORDED: Final = Path(__file__).resolve().parents[3] / "docs" / "measured"  # in a checkout; the wheel has none
VERSION: Final = 1


@dataclass(frozen=True)
class Cell:
    """One measured number.

    Attributes:
        value: Fractions as the paper prints them (BLEU too), or a count.
        n: Sessions it is a mean over; None for a count.
        low: Lower end of its 95 % bootstrap interval over sessions; None where there is none.
        high: Upper end.
    """

    value: int | float
    n: Count | None = None
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if (self.low is None) != (self.high is None) or (self.low or 0) > (self.high or 0):
            raise ValueError(f"an interval from {self.low} to {self.high}")


@dataclass(frozen=True)
class Measurement:
    """Cells of one row, measured at once.

    Attributes:
        table: Recipe.
        row: Its row.
        protocol: Name of the protocol.
        data: Name of the data folder.
        fingerprint: Of what it holds, the same on every machine.
        cells: By column.
        commands: What was run, as typed; ``llmrec evaluate`` for the scoring is the last.
        differs: How protocol, method and data differ from the paper's, when it was measured.
        seconds: Of the row's own commands and the scoring; preparing, which rows share, is not counted.
        commit: Of this code.
        device: CPU, cores and GPUs.
        versions: Of the packages.
        finished: UTC.
        examples: Written title and truth, where the row is of examples.
        version: Of this record.
    """

    table: str
    row: str
    protocol: str
    data: str
    fingerprint: str
    cells: Mapping[str, Cell]
    commands: Sequence[str]
    differs: Sequence[str]
    seconds: Annotated[float, Meta(ge=0)]
    commit: str | None
    device: Mapping[str, Any]
    versions: Mapping[str, str] = field(default_factory=dict)
    finished: str = ""
    examples: Sequence[tuple[str, str]] = ()
    version: int = VERSION


def record_path(folder: Path, table: str, row: str, protocol: str) -> Path:
    """Where a measurement lies in a folder of them."""
    return folder / table / f"{row}.{protocol}.json"


def write_measurement(folder: Path, measured: Measurement) -> Path:
    """Write a measurement into a folder of them.

    Raises:
        DiskError: it cannot be written.
    """
    path = record_path(folder, measured.table, measured.row, measured.protocol)
    write_record(path, measured)
    return path


def read_measurement(path: Path) -> Measurement:
    """Read a measurement.

    Raises:
        DataError: it is none, of another version, or of another row than its name says.
    """
    again = "remove it and run llmrec reproduce again"
    measured = read_record(path, Measurement, again, version=VERSION)
    if path != record_path(path.parents[1], measured.table, measured.row, measured.protocol):
        raise DataError(f"{path}: of {measured.table}, {measured.row}, {measured.protocol}; {again}")
    return measured


def read_folder(folder: Path) -> dict[tuple[str, str, str], Measurement]:
    """All measurements of a folder, by table, row and protocol.

    Raises:
        DataError: a file in it is none.
    """
    read = [read_measurement(path) for path in sorted(folder.glob("*/*.json"))]
    return {(one.table, one.row, one.protocol): one for one in read}
