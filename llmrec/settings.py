"""Settings: defaults in a dataclass < a recipe's YAML < flags; every wrong value is one clear line."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

import yaml

from llmrec.errors import ConfigError, nearest

__all__ = ["Recipe", "flag_of", "load_recipe", "option", "recipe_names", "resolve"]

C = TypeVar("C")
RECIPES = Path(__file__).resolve().parent / "recipes"
RECIPE_KEYS = {"ranker", "encoder", "select", "summary", "settings", "finetune", "paper", "scores"}


def option(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    above: float | None = None,
    flag: str | None = None,
    argument: bool = False,
    several: bool = False,
    metavar: str | None = None,
) -> Any:
    """Declare a setting, and with it a flag of the command that takes it.

    Args:
        default: Its default; ``...`` where it must be given.
        help: What it is, in a line.
        minimum: Smallest allowed value.
        above: Likewise, but not itself allowed.
        flag: Spelling on the command line, ``--yes/--no`` for one that is switched; that of the field if not given.
        argument: Whether it stands on the command line without a flag.
        several: Whether several values may follow the flag; a list's flag may be repeated in any case.
        metavar: What the help calls the value.
    """
    shown = {"flag": flag, "argument": argument, "several": several, "metavar": metavar}
    metadata = {"help": help, "minimum": minimum, "above": above, **shown}
    if default is ...:
        return dataclasses.field(metadata=metadata)
    if isinstance(default, dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def flag_of(field: dataclasses.Field[Any]) -> str:
    """What a field is called on the command line: its flag, or its name where it has none there."""
    if field.metadata.get("argument"):
        return str(field.metadata["metavar"] or field.name)
    return field.metadata.get("flag") or f"--{field.name.replace('_', '-')}"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A YAML file that one command turns into a run.

    Attributes:
        name: File name without its ending.
        path: Where it was read.
        summary: What it is, in one sentence.
        settings: Values for a config class.
        paper: For each setting taken from the paper, the place there.
        ranker: The ranker that the settings are for; None for a recipe of ``scripts/gen.py``.
        finetune: Settings that are others where a trained ranker goes on with other sessions (paper §4.2).
        encoder: Whether the settings are those of ``llmrec embed train``.
        select: Whether they are those of ``llmrec select``.
    """

    name: str
    path: Path
    summary: str
    settings: Mapping[str, Any]
    paper: Mapping[str, str]
    ranker: str | None = None
    finetune: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    encoder: bool = False
    select: bool = False


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def load_recipe(name: str) -> Recipe:
    """Load a recipe by name, or by path where ``name`` ends in ``.yaml``.

    Raises:
        ConfigError: there is no such recipe, or it is not a mapping with the known keys.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else RECIPES / f"{name}.yaml"
    if not path.is_file():
        hint = "" if path.parent != RECIPES else nearest(name, recipe_names())
        raise ConfigError(f"no recipe '{name}'{hint}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not isinstance(content.get("settings"), dict):
        raise ConfigError(f"{path}: a recipe is a mapping with 'settings'")
    for key in content:
        if key not in RECIPE_KEYS:
            raise ConfigError(f"{path}: unknown key '{key}'{nearest(str(key), RECIPE_KEYS)}")
    ranker = None if content.get("ranker") is None else str(content["ranker"])
    summary, paper = str(content.get("summary", "")), content.get("paper") or {}
    finetune = content.get("finetune") or {}
    if not isinstance(finetune, dict):
        raise ConfigError(f"{path}: 'finetune' must be a mapping of settings")
    encoder, select = (content.get(key) is True for key in ("encoder", "select"))
    return Recipe(path.stem, path, summary, content["settings"], paper, ranker, finetune, encoder, select)


def resolve(cls: type[C], flags: Mapping[str, Any], recipe: Recipe | None = None) -> C:
    """Build a config: defaults of ``cls`` < ``recipe`` < ``flags`` that are not None.

    Raises:
        ConfigError: an unknown key (the nearest valid one is named), a value of the wrong type or out of range.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    layers = [(str(recipe.path), recipe.settings)] if recipe else []
    for origin, layer in [*layers, ("", {key: value for key, value in flags.items() if value is not None})]:
        for key, value in layer.items():
            if key not in fields:
                raise ConfigError(f"{origin or 'settings'}: unknown key '{key}'{nearest(str(key), fields)}")
            where = f"{origin}: '{key}'" if origin else flag_of(fields[key])
            converted = _convert(value, hints[key], where)
            _check_range(converted, fields[key].metadata, where)
            values[key] = converted
    return cls(**values)


def _convert(value: Any, hint: Any, where: str) -> Any:
    """Turn a YAML or flag value into the type of its field; ``1e-4`` is a string in YAML 1.1 and becomes a float."""
    origin = typing.get_origin(hint)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        (hint,) = [argument for argument in typing.get_args(hint) if argument is not type(None)]
        return _convert(value, hint, where)
    if origin is Literal:
        choices = typing.get_args(hint)
        if value not in choices:
            raise ConfigError(f"{where} must be one of {', '.join(map(str, choices))}; got {value!r}")
        return value
    if origin is Mapping and isinstance(value, Mapping):
        return value
    if origin in (tuple, Sequence):
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where} must be a list; got {value!r}")
        return tuple(_convert(one, typing.get_args(hint)[0], where) for one in value)
    if isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    try:
        if hint is float and not isinstance(value, bool):
            return float(value)
        if hint is int and isinstance(value, str):
            return int(value)
        if hint is Path and isinstance(value, str):
            return Path(value)
    except ValueError:
        pass
    raise ConfigError(f"{where} must be {_TYPE_NAMES.get(hint, hint.__name__)}; got {value!r}")


_TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}


def _check_range(value: Any, metadata: Mapping[str, Any], where: str) -> None:
    if isinstance(value, tuple):
        for one in value:
            _check_range(one, metadata, where)
    if value is None or not isinstance(value, int | float):
        return
    minimum, above = metadata.get("minimum"), metadata.get("above")
    if value != value:
        raise ConfigError(f"{where} must be a number; got {value}")
    if minimum is not None and value < minimum:
        raise ConfigError(f"{where} must be at least {minimum:g}; got {value:g}")
    if above is not None and value <= above:
        raise ConfigError(f"{where} must be above {above:g}; got {value:g}")
