"""Flags: what several values, choices and ``name=value`` become, and commands whose flags are a config's fields."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from llmrec.errors import ConfigError
from llmrec.settings import load_recipe, resolve

__all__ = ["as_command", "assignments", "choice", "spread"]

_SEVERAL: Final = ("--train", "--pretrain", "--bare", "--by", "--hits", "--metrics", "--candidates")


def spread(arguments: Sequence[str]) -> list[str]:
    """Let several files follow one flag: ``--train A B`` becomes ``--train A --train B``."""
    spread: list[str] = []
    flag = ""
    for argument in arguments:
        if argument.startswith("-"):
            flag = argument if argument in _SEVERAL else ""
        elif flag and spread[-1] != flag:
            spread.append(flag)
        spread.append(argument)
    return spread


def choice(value: str, flag: str, choices: Sequence[str]) -> Any:
    """The value, if it is one of the choices.

    Raises:
        ConfigError: it is none of them.
    """
    if value not in choices:
        raise ConfigError(f"{flag} must be one of {', '.join(choices)}; got '{value}'")
    return value


def assignments(changes: list[str]) -> dict[str, Any]:
    """``name=value`` texts as a mapping.

    Raises:
        ConfigError: a text has no name or no equals sign.
    """
    pairs = [change.partition("=") for change in changes]
    for name, equals, _ in pairs:
        if not name or not equals:
            raise ConfigError(f"--set takes name=value, for instance --set history=5; got '{name}{equals}'")
    return {name: value for name, _, value in pairs}


def as_command(config_class: type[Any], function: Callable[[Any], Any]) -> Callable[..., None]:
    """Make a typer command whose options are the fields of a config class."""
    hints = typing.get_type_hints(config_class)

    def command(recipe: str | None = None, **flags: Any) -> None:
        name = recipe or config_class.default_recipe(flags)
        loaded = load_recipe(name) if name else None
        function(resolve(config_class, {**flags, "recipe": name}, loaded))

    parameters = []
    for field in dataclasses.fields(config_class):
        kind = hints[field.name]
        names = [f"--{field.name.replace('_', '-')}"]
        if kind is bool:
            names = [f"{names[0]}/--no-{field.name.replace('_', '-')}"]
        elif "_" in field.name:
            names.append(f"--{field.name}")  # the spelling of Hugging Face's scripts
        shown = field.metadata.get("help", "")
        if field.default is not None and field.default is not dataclasses.MISSING:
            shown = f"{shown} [default: {field.default}]"
        annotated: Any = Annotated  # built from values, which a type checker takes for a wrong alias
        annotation = annotated[_flag_type(kind), typer.Option(*names, help=shown, show_default=False)]
        parameters.append(
            inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        )
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _flag_type(kind: Any) -> Any:
    """Type of the flag of a field: a literal is checked by `resolve`, which names the choices."""
    inner = next((part for part in typing.get_args(kind) if part is not type(None)), kind)
    if typing.get_origin(kind) is typing.Literal or inner not in (int, float, bool, Path):
        inner = str
    return inner | None
