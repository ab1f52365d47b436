"""Hyper-parameter search on Optuna: spaces in YAML, trials on disk that a killed search goes on from, the best kept."""

from __future__ import annotations

import fcntl
import itertools
import math
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from llmrec.console import out, track
from llmrec.errors import ConfigError, LlmrecError, nearest, require
from llmrec.files import read_yaml
from llmrec.output import disk_errors, write_text
from llmrec.records import line_text, parse_record, read_record, write_record
from llmrec.reporting.blocks import Table, to_terminal

__all__ = ["Search", "Space", "names_in", "print_trials", "read_named", "readable", "write_recipe"]

_MOST_POINTS: Final = 100_000  # each is listed before the first is tried
TRIALS: Final = "trials.jsonl"  # Optuna's journal: JSON, one line an event


@dataclass(frozen=True)
class Space:
    """What a search varies.

    Attributes:
        choices: Values to choose from, by setting; a list is kept as YAML text.
        ranges: ``(low, high, logarithmic)`` by setting; whole numbers where both ends are.
    """

    choices: Mapping[str, Sequence[Any]]
    ranges: Mapping[str, tuple[float, float, bool]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key, (low, high, logarithmic) in self.ranges.items():
            if low > high or (logarithmic and low <= 0):
                raise ConfigError(
                    f"'{key}' goes from {low} to {high}; give a low end below the high one, above 0 for log"
                )
        if not self.ranges and self.num_points > _MOST_POINTS:
            raise ConfigError(
                f"a grid of {self.num_points:,} settings; leave values out, {_MOST_POINTS:,} are the most"
            )

    @property
    def num_points(self) -> float:
        """Number of settings that the search could try; infinite where a range is continuous."""
        return math.inf if self.ranges else math.prod(len(values) for values in self.choices.values())

    def suggest(self, trial: Any) -> dict[str, Any]:
        """A trial's settings, drawn by the search."""
        chosen = {key: trial.suggest_categorical(key, list(values)) for key, values in self.choices.items()}
        for key, (low, high, logarithmic) in self.ranges.items():
            whole = isinstance(low, int) and isinstance(high, int)
            suggest = trial.suggest_int if whole else trial.suggest_float
            chosen[key] = suggest(key, low, high, log=logarithmic)
        return chosen


@dataclass(frozen=True)
class Search:
    """A search and its trials on disk.

    Attributes:
        study: Optuna's study.
        space: What is varied.
        journal: The study's events on disk.
    """

    study: Any
    space: Space
    journal: _Journal

    @classmethod
    def open(
        cls,
        folder: Path,
        name: str,
        space: Space,
        made_with: Mapping[str, Any],
        *,
        seed: int = 0,
        what: str = "search",
        flag: str = "--storage",
        record: Path | None = None,
    ) -> Search:
        """Start a search in a folder, or go on with the one that it holds.

        Args:
            folder: Folder; made where it is missing.
            name: Of the study.
            space: What is varied: a grid is gone through point by point, a range is searched.
            made_with: What all trials must share, by name; plain values.
            seed: Draws the trials.
            what: What the command calls it.
            flag: What names the folder on the command line.
            record: File that says what it was made with; the study itself if not given.

        Raises:
            ConfigError: the folder holds another search, or trials that cannot be read.
            MissingExtraError: Optuna is not installed.
        """
        optuna = require("optuna", "rank")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        journal = _Journal(folder / TRIALS, flag)
        study = _study(optuna, name, journal, folder, flag)
        found = study.user_attrs if record is None else _recorded(record, made_with, flag)
        for key, value in made_with.items():
            if found.get(key, value) != value:
                raise ConfigError(f"{folder}: holds a {what} with another {key}; give another {flag}, or remove it")
            if record is None:
                study.set_user_attr(key, value)
        if not _all_fit(study.trials, space):
            raise ConfigError(f"{folder / TRIALS}: holds trials of another space; give another {flag}, or remove it")
        if space.ranges:  # the seed alone would draw the first trials once more where a search goes on
            study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))
        else:
            study.sampler = optuna.samplers.GridSampler({key: [*values] for key, values in space.choices.items()}, seed)
        return cls(study, space, journal)

    @property
    def num_done(self) -> int:
        """Trials that have a score, or were stopped for a bad one."""
        return len(self._in("COMPLETE", "PRUNED"))

    def best_first(self) -> list[Any]:
        """Trials with a score, the highest first."""
        return sorted(self._in("COMPLETE"), key=lambda trial: -trial.value)

    def run(self, objective: Callable[[Any], float], trials: int) -> None:
        """Make trials until there are ``trials``, or every point of a grid has had its one.

        A trial that failed is made again: the sampler would take its point for visited.
        """
        held = {one.system_attrs.get("grid_id") for one in self._in("COMPLETE", "PRUNED", "WAITING")}
        for failed in self._in("FAIL"):
            if failed.system_attrs.get("grid_id", None) not in held | {None}:
                self._add({key: failed.system_attrs[key] for key in ("grid_id", "search_space")})
                held.add(failed.system_attrs["grid_id"])
        left = int(max(0, min(trials, self.space.num_points) - self.num_done))
        for _ in track(range(left), "trials", left):
            self._optimize(objective)

    def run_grid(self, objective: Callable[[int], float], again: Collection[int] = ()) -> None:
        """Make a trial of every point of a grid, in its order, that has none yet.

        Args:
            objective: Gives the score of a point by its number in the order of `itertools.product`.
            again: Points whose earlier trial does not count any more.
        """
        choices = self.space.choices
        points = list(itertools.product(*choices.values()))
        done = {one.system_attrs.get("grid_id") for one in self._in("COMPLETE")} - set(again)
        waiting = {one.system_attrs.get("grid_id") for one in self._in("WAITING")}  # a kill may leave one
        left = [number for number in range(len(points)) if number not in done]

        def scored(trial: Any) -> float:
            self.space.suggest(trial)
            return objective(self.study.trials[trial.number].system_attrs["grid_id"])

        for number in track(left, "trials", len(left)):
            if number not in waiting:
                fixed = dict(zip(choices, points[number], strict=True))
                self._add({"fixed_params": fixed, "grid_id": number, "search_space": dict(sorted(choices.items()))})
            self._optimize(scored)

    def _optimize(self, objective: Callable[[Any], float]) -> None:
        """Make one trial.

        Raises:
            DiskError: the journal could not be written, which Optuna takes for an error of its own.
        """
        try:
            self.study.optimize(objective, n_trials=1)
        except Exception as error:
            if self.journal.failed is None or error is self.journal.failed:
                raise
            raise self.journal.failed from error

    def _in(self, *states: str) -> list[Any]:
        return [trial for trial in self.study.trials if trial.state.name in states]

    def _add(self, attributes: Mapping[str, Any]) -> None:
        """Have a point tried next; the attributes are those by which the grid sampler knows its points."""
        trial = require("optuna", "rank").trial
        self.study.add_trial(trial.create_trial(state=trial.TrialState.WAITING, system_attrs=dict(attributes)))


class _Journal:
    """Optuna's events in a file that several processes may append to, one a line with its number and checksum."""

    def __init__(self, file: Path, flag: str) -> None:
        self._file, self._again = file, f"give another {flag}, or remove it"
        self._events: list[dict[str, Any]] = []
        self._end = 0  # of the lines that were read
        self.failed: LlmrecError | None = None

    def append_logs(self, logs: Sequence[dict[str, Any]]) -> None:
        """Write events, in the place of a line that a kill cut short."""
        try:
            self._append(logs)
        except LlmrecError as error:
            self.failed = error
            raise

    def _append(self, logs: Sequence[dict[str, Any]]) -> None:
        with disk_errors(self._file), self._file.open("a+b") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            first = len(list(self.read_logs(0))) + 1
            handle.truncate(self._end)
            handle.write("".join(line_text(log, line) for line, log in enumerate(logs, first)).encode())
            handle.flush()
            os.fsync(handle.fileno())

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Events from a number on."""
        if self._file.is_file():
            with self._file.open("rb") as handle:
                handle.seek(self._end)
                for line in itertools.takewhile(lambda line: line.endswith(b"\n"), handle):
                    number = len(self._events) + 1
                    where = f"{self._file}, line {number}"
                    event = parse_record(line, dict[str, Any], where, self._again, line=number, error=ConfigError)
                    self._events.append(event)
                    self._end += len(line)
        yield from self._events[log_number_from:]


def _study(optuna: Any, name: str, journal: _Journal, folder: Path, flag: str) -> Any:
    """The study of a folder, new or with its trials."""
    try:
        with disk_errors(folder):
            study = optuna.create_study(
                storage=optuna.storages.JournalStorage(journal),
                study_name=name,
                direction="maximize",
                pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1),
                load_if_exists=True,
            )
            _ = study.trials  # read them, and see whether they can be
    except LlmrecError:
        raise
    except Exception as error:  # Optuna takes each line at its word
        raise ConfigError(f"{folder / TRIALS}: cannot be read; give another {flag}, or remove it") from error
    return study


def _all_fit(trials: Iterable[Any], space: Space) -> bool:
    """Whether trials are the space's; damaged ones are not."""
    try:
        return all(_fits(trial, space) for trial in trials)
    except (LookupError, TypeError, AttributeError, ValueError):
        return False


def _fits(trial: Any, space: Space) -> bool:
    """Whether a trial is one of the space's; one that has ended well has all of its settings and one score."""
    known = {**space.choices, **space.ranges}
    held = all(
        space.ranges[key][0] <= value <= space.ranges[key][1] if key in space.ranges else value in space.choices[key]
        for key, value in trial.params.items()
    )
    point = trial.system_attrs.get("grid_id")
    held = held and (point is None or (isinstance(point, int) and "search_space" in trial.system_attrs))
    if trial.state.name != "COMPLETE":
        return held
    (score,) = trial.values
    return held and trial.params.keys() == known.keys() and math.isfinite(score)


def _recorded(record: Path, made_with: Mapping[str, Any], flag: str) -> dict[str, Any]:
    """What a file says that a search was made with; written where it is not there yet."""
    if not record.is_file():
        write_record(record, made_with)
    return read_record(record, dict[str, Any], f"give another {flag}, or remove it", error=ConfigError)


def names_in(folder: Path) -> list[str]:
    """Names of the spaces or grids of a folder that comes with the package."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def read_named(name: str, folder: Path, what: str, section: str, form: str) -> tuple[Path, dict[str, Any]]:
    """Read a space or grid by name or by path.

    Args:
        name: Name in ``folder``, or a path that ends in ``.yaml``.
        folder: Folder of those that come with the package.
        what: What it is called.
        section: Key of the mapping from settings to values.
        form: What it must look like, for the error line.

    Returns:
        Its path and that mapping, not empty.

    Raises:
        ConfigError: there is none, or it is malformed.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else folder / f"{name}.yaml"
    if not path.is_file():
        raise ConfigError(f"no {what} '{name}'{nearest(name, names_in(folder))}")
    content = read_yaml(path)
    values = content.get(section) if isinstance(content, dict) else None
    if not isinstance(values, dict) or not values:
        raise ConfigError(f"{path}: a {what} is a mapping with '{section}': {form}")
    return path, values


def readable(settings: Mapping[str, Any]) -> str:
    """Settings in one line."""
    return ", ".join(f"{key} {value}" for key, value in settings.items())


def write_recipe(path: Path, content: Mapping[str, Any]) -> None:
    """Write the best settings as a recipe.

    Raises:
        DiskError: the place cannot be written.
    """
    write_text(path, yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, width=110))


def print_trials(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table of trials on stdout, the best first."""
    out.print(to_terminal(Table(columns, [list(row) for row in rows], title)))
