"""Commands made of a dataclass and a function: each field is a flag, and the function gets the filled dataclass."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union

import typer
from typer.core import TyperCommand, TyperGroup

from llmrec.cli.document import tell_result, tell_settings
from llmrec.console import never_silent
from llmrec.errors import ConfigError, needing
from llmrec.settings import claiming, flag_of, load_recipe, resolve

__all__ = ["Verb", "VerbCommand", "VerbGroup", "as_command", "assignments", "command_of", "spread"]

EPILOG: Final = "Every command takes --json (one document for programs) and --quiet (no progress, no notices)."
_METAVARS: Final = {Path: "PATH", int: "INT", float: "NUMBER", bool: None}
_SEQUENCES: Final = (tuple, list, Sequence)


@dataclasses.dataclass(frozen=True)
class Verb:
    """A command of ``llmrec``, named without importing what it runs.

    Attributes:
        words: What is typed behind ``llmrec``.
        summary: What it does, in a line; the docstring of its dataclass goes on from there and gives the example.
        place: Module below ``llmrec``, dataclass and function, as ``module:Dataclass:function``; a function of another
            module has that before it, as ``settings:RankJob:rank.rank``, where the dataclass alone makes the help.
        bare: Whether it does something without any argument, instead of showing its help.
        needs: Extras whose packages it cannot do without; those of some of its settings are told when they are given.
        asks_for: Extras that some of its settings need, and which.
        stays: Whether it goes on until it is told to stop, so that nobody waits for its end.
        shared: Whether the processes of a launcher share its work.
    """

    words: str
    summary: str
    place: str
    bare: bool = False
    needs: tuple[str, ...] = ()
    asks_for: tuple[tuple[str, str], ...] = ()
    stays: bool = False
    shared: bool = False

    def job(self) -> type[Any]:
        """The dataclass, which has the flags."""
        module, job, _ = self.place.split(":")
        found: type[Any] = getattr(importlib.import_module(f"llmrec.{module}"), job)
        return found

    def run(self, given: Any) -> Any:
        """Call the function with the filled dataclass."""
        module, _, function = self.place.split(":")
        other, _, name = function.rpartition(".")
        return getattr(importlib.import_module(f"llmrec.{other or module}"), name)(given)


class VerbCommand(TyperCommand):
    """A verb in the list of its group; what it takes and runs is imported when it is called."""

    def __init__(self, verb: Verb, panel: str) -> None:
        super().__init__(verb.words.split()[-1], help=verb.summary, rich_help_panel=panel, rich_markup_mode="markdown")
        self.verb = verb

    def real(self) -> Any:
        """The command with its flags."""
        job = self.verb.job()

        def function(given: Any) -> Any:
            quiet = nullcontext() if self.verb.stays else never_silent(self.verb.words)
            with quiet, needing(",".join(self.verb.needs)):
                return self.verb.run(given)

        more = (inspect.getdoc(job) or "").partition("\n\n")[2]
        return command_of(job, function, f"{self.verb.summary}\n\n{more}", bare=self.verb.bare)

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Read the command line, as the command with its flags does."""
        return self.real().make_context(info_name, spread(args, several_of(self.verb.job())), parent, **extra)


class VerbGroup(TyperGroup):
    """A group of verbs; where one of them is called `DEFAULT` it may be left out: ``llmrec embed PRODUCTS``."""

    DEFAULT: Final = "products"

    def __init__(self, name: str, text: str) -> None:
        super().__init__(name=name, help=inspect.cleandoc(text), no_args_is_help=True, rich_markup_mode="markdown")

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the default verb in front of words that name none."""
        if self.DEFAULT in self.commands and args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = [self.DEFAULT, *args]
        return super().parse_args(ctx, args)


def command_of(config_class: type[Any], function: Callable[[Any], Any], text: str | None, *, bare: bool = True) -> Any:
    """The click command of a dataclass and a function; ``text`` is its help."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")
    same = {"token_normalize_func": lambda flag: flag.replace("_", "-")}  # --output_dir, as Hugging Face's scripts
    app.command(help=text, epilog=EPILOG, no_args_is_help=not bare, context_settings=same)(
        as_command(config_class, function)
    )
    return typer.main.get_command(app)


def several_of(config_class: type[Any]) -> list[str]:
    """Flags that several values may follow."""
    return [flag_of(field) for field in dataclasses.fields(config_class) if field.metadata.get("several")]


def spread(arguments: Sequence[str], several: Sequence[str]) -> list[str]:
    """Let several values follow one of the flags ``several``: ``--train A B`` becomes ``--train A --train B``."""
    spread: list[str] = []
    flag = ""
    for argument in arguments:
        if argument.startswith("-"):
            flag = argument if argument in several else ""
        elif flag and spread[-1] != flag:
            spread.append(flag)
        spread.append(argument)
    return spread


def assignments(changes: Sequence[str]) -> dict[str, Any]:
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
    """Make a typer command whose flags and arguments are the fields of a dataclass that `option` declares.

    What is not given keeps the field's default, or the recipe's where the dataclass has a ``default_recipe``. The
    outputs among them are checked and locked before the function runs.
    """
    hints = typing.get_type_hints(config_class)
    parameters: list[inspect.Parameter] = []

    def command(**flags: Any) -> None:
        given = {name: value for name, value in flags.items() if value is not None and name in hints}
        given |= {name.removeprefix("no_"): False for name, value in flags.items() if value and name not in hints}
        given |= {name: assignments(given[name]) for name in given if _origin(hints[name]) is Mapping}
        recipe = None
        if hasattr(config_class, "default_recipe"):
            recipe = given["recipe"] = given.get("recipe") or config_class.default_recipe(given)
        settings = resolve(config_class, given, load_recipe(recipe) if recipe else None)
        tell_settings(settings)
        result = claiming(function)(settings)
        if result is not None:
            tell_result(result)

    panels = _panels(config_class)
    for field in dataclasses.fields(config_class):
        if "help" in field.metadata:
            parameters += _parameters(field, hints[field.name], panels.get(field.name))
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _panels(config_class: type[Any]) -> dict[str, str]:
    """Panel of the help that a field is shown in, by the ``HELP_PANELS`` of the class and of those that it extends."""
    stated = [vars(one).get("HELP_PANELS", {}) for one in reversed(config_class.__mro__)]
    return {name: panel for panels in stated for panel, names in panels.items() for name in names.split()}


def _parameters(field: dataclasses.Field[Any], hint: Any, panel: str | None) -> list[inspect.Parameter]:
    """The parameter of a field, and a hidden one that switches it off again where it can only be switched on."""
    annotated: Any = Annotated  # built from values, which a type checker takes for a wrong alias
    kind = _flag_type(hint)
    keywords: dict[str, Any] = {
        "help": _help(field),
        "show_default": False,
        "metavar": field.metadata.get("metavar") or _metavar(field, hint),
        "rich_help_panel": panel,
        "autocompletion": _completion(field, hint),
    }
    if field.metadata.get("argument"):
        annotation = annotated[kind, typer.Argument(**keywords)]
    else:
        annotation = annotated[kind, typer.Option(flag_of(field), **keywords)]
    made = [_parameter(field.name, annotation, _is_required(field))]
    if kind == bool | None and "/" not in flag_of(field):
        off = annotated[kind, typer.Option(f"--no-{flag_of(field)[2:]}", hidden=True)]
        made.append(_parameter(f"no_{field.name}", off, False))
    return made


_NAMES: Final = {  # where the names are that a setting takes, below llmrec
    "ranker": "rankers.registry:RANKERS",
    "recipe": "settings:recipe_names",
    "prompt": "text.prompts:prompt_names",
    "name": "text.prompts:prompt_names",
    "locale": "languages:locales",
}


def _completion(field: dataclasses.Field[Any], hint: Any) -> Callable[[str], list[str]] | None:
    """What a shell offers for a field: its choices, or the names that it takes; None leaves files to the shell."""
    place, choices = _NAMES.get(field.name), typing.get_args(_inner(hint)) if _origin(hint) is Literal else ()
    if not choices and (place is None or _inner(hint) is not str):
        return None

    def complete(incomplete: str) -> list[str]:
        found: Any = choices
        if not choices and place is not None:
            module, _, name = place.partition(":")
            found = getattr(importlib.import_module(f"llmrec.{module}"), name)
        names = [str(one).rpartition("/")[2] for one in (found() if callable(found) else found)]  # without a family
        return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]

    return complete


def _parameter(name: str, annotation: Any, required: bool) -> inspect.Parameter:
    default = inspect.Parameter.empty if required else None
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _help(field: dataclasses.Field[Any]) -> str:
    """A field's help with its default."""
    parts = [str(field.metadata.get("help", ""))]
    value = None if field.default is dataclasses.MISSING else field.default
    if isinstance(value, tuple):
        value = ", ".join(map(str, value))
    if isinstance(value, bool):
        on, _, off = flag_of(field).partition("/")
        value = (on if value else off)[2:] if off else None
    if value not in (None, ""):
        parts.append(f"[default: {value}]")
    return " ".join(parts)


def _metavar(field: dataclasses.Field[Any], hint: Any) -> str | None:
    """What the help calls a value: its choices, or its kind; ``...`` behind one that may be given several times."""
    inner, origin = _inner(hint), _origin(hint)
    if field.metadata.get("argument") and origin not in _SEQUENCES:
        return field.name.upper()
    if origin is Literal:
        return "|".join(map(str, typing.get_args(inner)))
    if origin is Mapping:
        return "NAME=VALUE"
    name = _METAVARS.get(typing.get_args(inner)[0] if origin in _SEQUENCES else inner, "TEXT")
    return f"{name}..." if origin in _SEQUENCES and field.metadata.get("several") else name


def _inner(hint: Any) -> Any:
    """The type of a hint without its ``| None``."""
    if typing.get_origin(hint) in (Union, types.UnionType):
        return next(part for part in typing.get_args(hint) if part is not type(None))
    return hint


def _origin(hint: Any) -> Any:
    return typing.get_origin(_inner(hint))


def _flag_type(hint: Any) -> Any:
    """Type of the flag of a field: a literal is checked by `resolve`, which names the choices."""
    inner, origin = _inner(hint), _origin(hint)
    if origin is Mapping:
        return list[str] | None
    if origin in _SEQUENCES:
        (part, *_) = typing.get_args(inner)
        kind: Any = part if part in (int, float, Path) else str
        return list[kind] | None
    return (inner if inner in (int, float, bool, Path) else str) | None
