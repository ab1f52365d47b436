"""``llmrec schema``: JSON Schemas of the YAML that people write, made of the dataclasses that read it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from llmrec.console import out as out_console
from llmrec.output import write_text
from llmrec.settings import Recipe, option, setting_types

__all__ = ["SchemaJob", "prompt_schema", "recipe_schema", "schema"]

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True, kw_only=True)
class SchemaJob:
    """Which file, and where the schema goes.

    An editor finds the schema by a first line: # yaml-language-server: $schema=recipe.json

    Example: llmrec schema recipe --out recipe.json
    """

    what: Literal["recipe", "prompt"] = option(..., "File to describe.", argument=True)
    out: Path | None = option(None, "File to write. Default: standard output.", output="text")


def schema(job: SchemaJob) -> dict[str, Any]:
    """Print or write the schema, and give it."""
    made = recipe_schema() if job.what == "recipe" else prompt_schema()
    text = json.dumps(made, indent=2, ensure_ascii=False) + "\n"
    if job.out is None:
        out_console.print(text)
    else:
        write_text(job.out, text)
    return made


def recipe_schema() -> dict[str, Any]:
    """Of a recipe: its keys, and the settings that its kind and ranker have."""
    from llmrec.rankers.registry import RANKERS, ranker_class
    from llmrec.selection.settings import SelectSettings
    from llmrec.text.encoders.learning.settings import EncoderSettings
    from llmrec.titles.settings import GenerateConfig

    head = _object(Recipe, leave_out=("name", "path"))
    head["properties"]["settings"] = {"type": "object"}
    kinds = {"titles": GenerateConfig, "encoder": EncoderSettings, "select": SelectSettings}
    cases = [_case({"kind": kind}, cls) for kind, cls in kinds.items()]
    cases += [_case({"kind": "ranker", "ranker": name}, ranker_class(name).settings_class) for name in RANKERS]
    return {"$schema": _DIALECT, "title": "A recipe of llmrec", **head, "allOf": cases}


def prompt_schema() -> dict[str, Any]:
    """Of a prompt file."""
    from llmrec.text.prompts import PromptFile

    return {"$schema": _DIALECT, "title": "A prompt of llmrec", **_object(PromptFile)}


def _case(where: dict[str, str], cls: type[Any]) -> dict[str, Any]:
    settings = {**_object(cls), "required": []}
    given = {"properties": {key: {"const": value} for key, value in where.items()}, "required": list(where)}
    return {"if": given, "then": {"properties": {"settings": settings, "finetune": settings}}}


def _object(cls: type[Any], leave_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """Schema of a dataclass: no other keys, each with its type, bounds, help and default."""
    types, properties, required = setting_types(cls), {}, []
    for field in dataclasses.fields(cls):
        if field.name in leave_out:
            continue
        made = _flat(msgspec.json.schema(types[field.name], schema_hook=_other))
        made |= {"description": field.metadata["help"]} if field.metadata.get("help") else {}
        if field.default is not dataclasses.MISSING and isinstance(field.default, str | int | float | bool):
            made["default"] = field.default
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            required.append(field.name)
        properties[field.name] = made
    return {"type": "object", "additionalProperties": False, "properties": properties, "required": required}


def _flat(made: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in made.items() if key not in ("$ref", "$defs")}


def _other(kind: Any) -> dict[str, Any]:
    """Schema of a type that JSON does not know."""
    if isinstance(kind, type) and issubclass(kind, Path):
        return {"type": "string"}
    return {}
