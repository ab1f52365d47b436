"""Runs of a folder: what was scored, and the reports that were written beside it."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llmrec.errors import LlmrecError
from llmrec.evaluation.parts import ALL_SESSIONS
from llmrec.evaluation.results import Result, read_result
from llmrec.serving.page.assets import FOLDER
from llmrec.serving.page.page_messages import ReportShown, RunShown, RunsShown

__all__ = ["REPORTS", "RunFolder"]

REPORTS: Final = f"{FOLDER}reports/"
_RESULT: Final = ".result.json"
_DEPTH: Final = 4
_MOST: Final = 200
_LARGEST: Final = 32 << 20  # bytes of a report


@dataclass(frozen=True)
class RunFolder:
    """A folder of runs.

    A report is read at a path that nobody guesses, for a browser sends no key where it opens a page.

    Attributes:
        folder: The folder.
        secret: What these paths are made of.
    """

    folder: Path
    secret: str

    def shown(self) -> RunsShown:
        """Results and reports, by name."""
        runs, skipped = [], []
        for file in self._files(_RESULT):
            try:
                runs.append(_run(self._name(file).removesuffix(_RESULT), read_result(file)))
            except (LlmrecError, OSError):
                skipped.append(self._name(file))
        reports = [
            ReportShown(name=self._name(file), path=REPORTS + self._token(file)) for file in self._files(".html")
        ]
        return RunsShown(folder=self.folder.name, runs=runs, reports=reports, skipped=skipped)

    def result_file(self, name: str) -> Path | None:
        """The result that `shown` called so; None where there is none of that name."""
        named = {self._name(file).removesuffix(_RESULT): file for file in self._files(_RESULT)}
        return named.get(name)

    def beside(self, file: Path, name: str) -> Path | None:
        """The file of a name beside another, or at the top; None where there is none in the folder."""
        for place in (file.parent / Path(name).name, self.folder / Path(name).name):
            if name and place.is_file() and place.resolve().is_relative_to(self.folder.resolve()):
                return place
        return None

    def without_places(self, text: str) -> str:
        """A text that does not say where the folder is."""
        return text.replace(f"{self.folder}/", "").replace(f"{self.folder.resolve()}/", "")

    def report(self, token: str) -> bytes | None:
        """A report's bytes; None for a token that was never told, or a file that is gone."""
        found = [
            file for file in self._files(".html") if hmac.compare_digest(self._token(file).encode(), token.encode())
        ]
        try:
            return None if not found or found[0].stat().st_size > _LARGEST else found[0].read_bytes()
        except OSError:
            return None

    def _files(self, ending: str) -> list[Path]:
        """Files of an ending, some folders deep; links that lead out of the folder are not followed."""
        home, found = self.folder.resolve(), []
        for depth in range(_DEPTH):
            found += [one for one in self.folder.glob("*/" * depth + f"*{ending}") if one.is_file()]
        return sorted(one for one in found if one.resolve().is_relative_to(home))[:_MOST]

    def _name(self, file: Path) -> str:
        return file.relative_to(self.folder).as_posix()

    def _token(self, file: Path) -> str:
        return hmac.new(self.secret.encode(), self._name(file).encode(), "sha256").hexdigest()


def _run(name: str, result: Result) -> RunShown:
    parts = result.breakdowns.get("locale", {})
    intervals = parts[ALL_SESSIONS].intervals if ALL_SESSIONS in parts else {}
    made_by: Any = result.provenance.get("ranker") or result.provenance.get("model") or ""
    return RunShown(
        name=name,
        kind=result.kind,
        num_sessions=result.n_sessions,
        metrics=dict(result.overall.metrics),
        locales={locale: dict(one.metrics) for locale, one in result.locales.items()},
        intervals={metric: (one.low, one.high) for metric, one in intervals.items()},
        partial=result.partial,
        targets=result.targets,
        made_by=str(made_by),
    )
