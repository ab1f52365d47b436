"""Recipes of tables and figures: YAML under ``llmrec/paper/recipes``, checked when it is read.

A *protocol* says who learns from what and is scored on what; a *method* is the commands that make a run; a table names
its protocols, its columns, and for each row a method and what the paper published.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from llmrec.errors import ConfigError, nearest
from llmrec.files import read_yaml
from llmrec.paper.reproduction.templates import fill, places_of
from llmrec.settings import build, load_recipe

__all__ = [
    "FOLDER",
    "Band",
    "Method",
    "Others",
    "Protocol",
    "Row",
    "TableRecipe",
    "load_table",
    "settings_of",
    "table_names",
]

FOLDER: Final = Path(__file__).resolve().parents[1] / "recipes"
# What every step may name beside the values of its protocol.
STEP_PLACES: Final = ("data", "work", "run", "model", "method", "row", "resume", "overwrite")
_SHARED: Final = ("columns", "rows", "note", "every")  # what `rows_of` takes from another table
Kind = Literal["ranking", "titles", "statistics", "examples"]
T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """Largest distance of a class: the larger of ``absolute`` and ``relative`` times the value aimed at."""

    absolute: float = 0.0
    relative: float = 0.0

    def allow(self, aim: float, value: float) -> bool:
        """Whether ``value`` is near enough to ``aim``; rounding of the last printed digit does not count."""
        return abs(value - aim) <= max(self.absolute, self.relative * abs(aim)) + 1e-12


@dataclasses.dataclass(frozen=True, kw_only=True)
class Band:
    """How far from an aim is OK, and how far is NEAR; beyond is FAIL."""

    ok: Limits
    near: Limits


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
    """Who learns from what, and what is scored.

    Attributes:
        name: Its key in ``protocols.yaml``.
        summary: In one sentence.
        place: Where the paper sets it.
        needs: Files that the data folder must hold.
        either: Place in the commands to names of a file that it must hold, of which the first there is taken.
        board: Shop of `llmrec.data.download.boards` that the files of ``either`` must be of.
        get: How somebody without them gets them, as a command.
        sizes: Rows of the store's tables where it holds Amazon-M2; other data are other data, and it is said.
        prepare: Commands that make files under ``{work}``.
        values: What the places of a method's commands stand for.
        targets: File to score against; where it is not there, runs are written and not scored.
        differs: How it differs from the paper's; not empty: no cell is judged against the paper.
    """

    name: str
    summary: str
    place: str
    needs: tuple[str, ...]
    get: str
    either: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    board: str = ""
    sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    prepare: tuple[str, ...] = ()
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    targets: str = ""
    differs: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
    """Commands that make a run, or the name of what is counted.

    Attributes:
        name: Its key in ``methods.yaml``.
        kind: ``ranking`` or ``titles`` (a run is scored), ``statistics`` (the data is counted), ``examples``.
        steps: The commands; the last one writes ``{run}``.
        band: Name of the band for the distance to the paper.
        again: Name of the band for the distance to an earlier measurement of ours.
        needs: Files that the data folder must hold for it, beside those of its protocol.
        recipe: The recipe whose settings, each with its place in the paper, the steps use.
        open: What the paper does not say and was chosen here.
        differs: How it differs from the paper's method.
        counts: For ``statistics``: what of `llmrec.paper.statistics` is asked.
    """

    name: str
    kind: Kind
    band: str
    again: str
    steps: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    recipe: str | None = None
    open: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()
    counts: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a table: what is measured at once.

    Attributes:
        name: Its key.
        label: As the paper prints it.
        method: How it is measured.
        columns: What it has a value for, ``METRIC/LOCALE`` of a scored run; the table's where not its own.
        published: The paper's value for each column; None where it has none.
        protocols: Of these the first whose files are there is run; the table's where not its own.
        doubts: What is odd about the published values.
        corrected: What a column is judged by instead of its published value, which ``doubts`` shows to be a slip; None:
            by nothing.
    """

    name: str
    label: str
    method: Method
    columns: tuple[str, ...]
    published: tuple[float | int | None, ...]
    protocols: tuple[Protocol, ...]
    doubts: tuple[str, ...] = ()
    corrected: Mapping[str, float | int | None] = dataclasses.field(default_factory=dict)

    def paper_value(self, column: str) -> float | None:
        """What the paper prints for a column."""
        return self.published[self.columns.index(column)]

    def aim(self, column: str) -> float | None:
        """What a column is judged by: the published value, or what it must have been."""
        return self.corrected[column] if column in self.corrected else self.paper_value(column)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _GivenRow:
    """A row as its table's file has it: method and protocols by name, the method's being the row's if not given."""

    label: str
    method: str = ""
    columns: tuple[str, ...]
    published: tuple[float | int | None, ...] | None = None
    protocols: tuple[str, ...]
    doubts: tuple[str, ...] = ()
    corrected: Mapping[str, float | int | None] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Others:
    """What others measured under some protocols, to stand beside ours; no cell is judged by it.

    Attributes:
        what: What kind of figures these are: ``published``, ``run by others`` …
        source: Where they are.
        protocols: Names of the protocols beside whose rows they stand.
        columns: What ``rows`` have values for.
        rows: By label, a value for each column, None where there is none.
    """

    what: str
    source: str
    protocols: tuple[str, ...]
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[float | None, ...]]

    def value(self, label: str, column: str) -> float | None:
        """What a row has for a column."""
        return self.rows[label][self.columns.index(column)] if column in self.columns else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableRecipe:
    """One table or figure.

    Attributes:
        name: ``table3``, ``figure2`` …
        title: As the paper calls it.
        place: Section, table and page part of the paper.
        rows: By name.
        bands: Band of a column, in the place of its method's.
        note: What a reader should know.
        examples: Published examples: pairs of what was generated and the truth.
        every: Whether each of a row's protocols whose files are there is run, not the first alone.
        others: Rows that others measured.
    """

    name: str
    title: str
    place: str
    rows: Mapping[str, Row]
    bands: Mapping[str, str] = dataclasses.field(default_factory=dict)
    note: str = ""
    examples: tuple[tuple[str, str], ...] = ()
    every: bool = False
    others: tuple[Others, ...] = ()


def table_names(folder: Path = FOLDER) -> list[str]:
    """Names of the recipes: tables by number, then figures, then ours."""
    names = [path.stem for path in folder.glob("*.yaml") if path.stem not in ("protocols", "methods")]

    def order(name: str) -> tuple[int, int, str]:
        kind, number = name.rstrip("0123456789"), name[len(name.rstrip("0123456789")) :]
        return {"table": 0, "figure": 1}.get(kind, 2), int(number or 0), name

    return sorted(names, key=order)


def load_table(name: str, folder: Path = FOLDER) -> TableRecipe:
    """Load and check one recipe, by name or from a ``.yaml`` file, which may bring ``methods`` of its own.

    Raises:
        ConfigError: there is no such recipe, or it, ``protocols.yaml`` or ``methods.yaml`` is malformed; names file and
            key.
    """
    path = Path(name) if name.endswith(".yaml") else folder / f"{name}.yaml"
    if path.parent == folder and name not in table_names(folder):
        raise ConfigError(f"no table or figure '{name}'{nearest(name, [*table_names(folder), 'all'])}")
    content = _read(path)
    if "rows_of" in content:  # another shop of the same board
        content = {
            key: value for key, value in _read(folder / f"{content['rows_of']}.yaml").items() if key in _SHARED
        } | {key: value for key, value in content.items() if key != "rows_of"}
    methods = _methods(folder) | _methods_of(content.pop("methods", {}), path, folder)
    shared = {key: content.pop(key) for key in ("columns", "protocols") if key in content}
    rows = {}
    for key, row in _mapping(content.pop("rows", {}), f"{path}: 'rows'").items():
        where = f"{path}: row '{key}'"
        rows[str(key)] = _row(str(key), shared | _mapping(row, where), methods, folder, where)
    if not rows:
        raise ConfigError(f"{path}: a table has rows")
    where = f"{path}: 'others'"
    given = [build(Others, _mapping(one, where), where) for one in content.pop("others", ())]
    recipe = build(TableRecipe, content | {"name": path.stem, "rows": rows, "others": given}, str(path))
    _check_others(recipe, folder, where)
    for band in recipe.bands.values():
        _known(band, _bands(folder), f"{path}: band")
    for row in rows.values():
        _check_places(row, path)
    return recipe


def _check_others(recipe: TableRecipe, folder: Path, where: str) -> None:
    for others in recipe.others:
        for name in others.protocols:
            _known(name, _protocols(folder), where)
        for label, values in others.rows.items():
            if len(values) != len(others.columns):
                raise ConfigError(f"{where}: '{label}' must have {len(others.columns)} values, one a column")


def settings_of(method: Method) -> dict[str, tuple[Any, str]]:
    """Settings of a method's recipe that the paper sets: value, and where it does."""
    if method.recipe is None:
        return {}
    recipe = load_recipe(method.recipe)
    return {name: (recipe.settings[name], place) for name, place in recipe.paper.items()}


def load_band(name: str, folder: Path = FOLDER) -> Band:
    """Band by name.

    Raises:
        ConfigError: there is no such band.
    """
    return _known(name, _bands(folder), f"{folder / 'methods.yaml'}: band")


@cache
def _bands(folder: Path) -> dict[str, Band]:
    path = folder / "methods.yaml"
    bands = _mapping(_read(path).get("bands"), f"{path}: 'bands'")
    return {str(key): build(Band, band, f"{path}: band '{key}'") for key, band in bands.items()}


@cache
def _methods(folder: Path) -> dict[str, Method]:
    path = folder / "methods.yaml"
    return _methods_of(_read(path).get("methods"), path, folder)


def _methods_of(content: Any, path: Path, folder: Path) -> dict[str, Method]:
    methods = {}
    for key, given in _mapping(content, f"{path}: 'methods'").items():
        where = f"{path}: method '{key}'"
        method = build(Method, _mapping(given, where) | {"name": str(key)}, where)
        for band in (method.band, method.again):
            _known(band, _bands(folder), where)
        settings_of(method)
        methods[str(key)] = method
    return methods


@cache
def _protocols(folder: Path) -> dict[str, Protocol]:
    path = folder / "protocols.yaml"
    protocols = {}
    for key, given in _read(path).items():
        where = f"{path}: protocol '{key}'"
        protocols[str(key)] = build(Protocol, _mapping(given, where) | {"name": str(key)}, where)
    return protocols


def _row(name: str, content: dict[str, Any], methods: Mapping[str, Method], folder: Path, where: str) -> Row:
    given = build(_GivenRow, content, where)
    published = given.published or (None,) * len(given.columns)
    if not given.columns or len(published) != len(given.columns):
        raise ConfigError(f"{where}: 'published' must have {len(given.columns)} values, one a column")
    if not given.protocols:
        raise ConfigError(f"{where}: names no protocol")
    for column in given.corrected:
        _known(column, dict.fromkeys(given.columns, ""), f"{where}: 'corrected'")
    return Row(
        name=name,
        label=given.label,
        method=_known(given.method or name, methods, f"{where}: method"),
        columns=given.columns,
        published=published,
        protocols=tuple(_known(one, _protocols(folder), f"{where}: protocol") for one in given.protocols),
        doubts=given.doubts,
        corrected=given.corrected,
    )


def _check_places(row: Row, path: Path) -> None:
    """Every place of every command has a value, under every protocol."""
    for protocol in row.protocols:
        values = {**protocol.values, **dict.fromkeys((*STEP_PLACES, *protocol.either), "x")}
        for step in (*protocol.prepare, *row.method.steps, protocol.targets):
            try:
                fill(step, values)
            except ConfigError as error:
                raise ConfigError(f"{path}: row '{row.name}' under {protocol.name}: {error}") from error
        scored = row.method.kind != "statistics"
        if scored and not (protocol.targets and row.method.steps and "run" in places_of(row.method.steps[-1])):
            raise ConfigError(f"{path}: row '{row.name}': its last step must write {{run}}, for targets to score")


def _read(path: Path) -> dict[str, Any]:
    return _mapping(read_yaml(path), str(path))


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{where} must be a mapping; got {value!r}")
    return dict(value)


def _known(name: str, known: Mapping[str, T], where: str) -> T:
    if name not in known:
        raise ConfigError(f"{where}: '{name}' is not known{nearest(name, known)}")
    return known[name]
