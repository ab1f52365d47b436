"""Two runs of a folder beside each other: the paired interval of each difference, or why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llmrec.errors import LlmrecError
from llmrec.evaluation.evaluate import evaluate_run
from llmrec.evaluation.parts import MEAN_OF_LOCALES
from llmrec.evaluation.results import Result, read_result
from llmrec.serving.page.page_messages import Difference, Paired
from llmrec.serving.page.run_folder import RunFolder

__all__ = ["PairedRuns"]

_MOST: Final = 100_000  # sessions whose answers are read and resampled while other requests wait


class _WithoutError(Exception):
    """There is no interval; says why."""


@dataclass(frozen=True)
class PairedRuns:
    """Runs of a folder, and where targets may be.

    Attributes:
        folder: The runs.
        beside: Files in whose folders targets may be: sessions and products of a store.
        products: Where titles of targets are looked up.
    """

    folder: RunFolder
    beside: Sequence[Path]
    products: Path | None = None

    def difference(self, first: str, second: str) -> Paired:
        """The first run minus the second, by part of the sessions and metric, with 95 % intervals."""
        try:
            return Paired(differences=self._differences(first, second))
        except (_WithoutError, LlmrecError, OSError) as error:
            return Paired(differences=[], why_not=self.folder.without_places(str(error)))

    def _differences(self, first: str, second: str) -> list[Difference]:
        (run, result), (other, their) = self._scored(first), self._scored(second)
        targets = self._targets(result, their, run)
        products = None if (targets.parent / "products.parquet").is_file() else self.products
        found = evaluate_run(run, targets, products, other, by=["locale"])
        return [
            Difference(
                part=name, metric=metric, difference=one.difference, low=one.low, high=one.high, p=part.p_values[metric]
            )
            for name, part in found.breakdowns["locale"].items()
            if name != MEAN_OF_LOCALES
            for metric, one in part.differences.items()
        ]

    def _scored(self, name: str) -> tuple[Path, Result]:
        """A run's file and its result."""
        file = self.folder.result_file(name)
        if file is None:
            raise _WithoutError(f"there is no run '{name}' any more; look at the runs anew")
        result = read_result(file)
        run = self.folder.beside(file, result.run)
        if run is None:
            raise _WithoutError(f"{result.run} is not beside its result; the figures alone have no paired interval")
        if result.n_sessions > _MOST:
            raise _WithoutError(f"{result.n_sessions:,} sessions would hold the service up; a page takes {_MOST:,}")
        return run, result

    def _targets(self, result: Result, other: Result, run: Path) -> Path:
        if result.targets != other.targets:
            raise _WithoutError(f"one was scored on {_named(result)}, the other on {_named(other)}")
        name = Path(result.targets).name
        near = [one.with_name(name) for one in self.beside if name]
        found = next((one for one in near if one.is_file()), None) or self.folder.beside(run, name)
        if found is None:
            raise _WithoutError(f"{_named(result)} is not at hand; put it beside the runs")
        return found


def _named(result: Result) -> str:
    return result.targets or "targets that were no file"
