"""Settings of a ranker: defaults, its recipe, and what was given by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llmrec.errors import ConfigError, shown
from llmrec.files import parse_yaml
from llmrec.rankers.base import Ranker
from llmrec.rankers.ranker_record import current_name
from llmrec.rankers.registry import ranker_class
from llmrec.settings import load_recipe, recipe_names, resolve

__all__ = ["ranker_settings", "recipe_ranker", "yaml_value"]


def ranker_settings(
    name: str | type[Ranker[Any]],
    recipe: str | None = None,
    changes: Mapping[str, Any] | None = None,
    finetune: bool = False,
) -> Any:
    """Settings of a ranker: its dataclass's defaults < its recipe < ``changes``.

    Args:
        name: The ranker, or its class.
        recipe: Recipe by name or file; the one called as the ranker, where there is one, if not given.
        changes: Values by name; text is read as YAML, so that ``"[1, 2]"`` is a list.
        finetune: Whether the settings are for going on with a trained ranker.

    Raises:
        ConfigError: an unknown recipe or key, or a value out of range.
    """
    cls, name = (ranker_class(name), name) if isinstance(name, str) else (name, name.name)
    chosen = recipe or (name if name in recipe_names() else None)
    loaded = load_recipe(chosen) if chosen else None
    if loaded is not None and loaded.kind == "ranker" and current_name(str(loaded.ranker)) != cls.name:
        raise ConfigError(f"{loaded.path}: a recipe for {loaded.ranker}, not for {name}")
    if loaded is not None and finetune:
        loaded = replace(loaded, settings={**loaded.settings, **loaded.finetune})
    return resolve(cls.settings_class, {key: yaml_value(value) for key, value in (changes or {}).items()}, loaded)


def yaml_value(text: Any) -> Any:
    """A setting given on the command line, read as YAML.

    Raises:
        ConfigError: it is none.
    """
    if not isinstance(text, str):
        return text
    try:
        return parse_yaml(text, "--set")
    except ConfigError as error:
        raise ConfigError(f"--set: {shown(text)} is not a value; write name=value, for instance history=5") from error


def recipe_ranker(recipe: str) -> str:
    """Name of the ranker that a recipe is for.

    Raises:
        ConfigError: there is no such recipe, or it is for no ranker.
    """
    loaded = load_recipe(recipe)
    loaded.check_kind("ranker")
    return current_name(str(loaded.ranker))
