"""Settings: defaults in a dataclass < a recipe's YAML < flags; every wrong value is one clear line."""

from __future__ import annotations

import dataclasses
import functools
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Concatenate, Final, Literal, ParamSpec, TypeVar, Union

import msgspec

from llmrec.console import notice_once
from llmrec.errors import ConfigError, nearest, shown
from llmrec.files import read_yaml, uri_of
from llmrec.output import Kind, claimed

__all__ = [
    "Decides",
    "Recipe",
    "RecipeKind",
    "build",
    "checked",
    "claiming",
    "decided_by",
    "deciding",
    "flag_of",
    "load_recipe",
    "option",
    "recipe_names",
    "setting_types",
]
__all__ += ["resolve"]

C = TypeVar("C")
P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Decides = Literal["weights", "titles", "validation", "lists"]
"""What a setting decides: what is learnt, the titles that are written, those and the validation's score, or the lists
of a ranker whose fitting no command goes on with."""
RecipeKind = Literal["titles", "ranker", "encoder", "select"]

RECIPES: Final = Path(__file__).resolve().parent / "recipes"
_VERBS: Final[Mapping[str, str]] = {
    "titles": "llmrec generate",
    "ranker": "llmrec rank",
    "encoder": "llmrec embed train",
    "select": "llmrec select",
}
_SMALLEST: Final = 1e-12  # above nothing: what is divided by it stays finite
_LARGEST: Final = {int: 2**31 - 1, float: 1e9}  # of a number that names no other; nothing overflows that counts by it
_UNDECLARED: Final = "undeclared"
_OLD: Final = "a saved model has settings of before, which are read as they were"
_TYPE_NAMES: Final = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}


def option(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
    below: float | None = None,
    decides: Decides | Literal["undeclared"] | None = _UNDECLARED,
    formerly: tuple[str, ...] = (),
    flag: str | None = None,
    argument: bool = False,
    several: bool = False,
    metavar: str | None = None,
    output: Kind | None = None,
) -> Any:
    """Declare a setting, and with it a flag of the command that takes it.

    Args:
        default: Its default; ``...`` where it must be given.
        help: What it is, in a line.
        minimum: Smallest allowed value.
        above: Likewise, but not itself allowed.
        maximum: Largest allowed value; one that no count or sum overflows with if not given.
        below: Likewise, but not itself allowed.
        decides: What a run that goes on must share with the one it goes on from; None: the setting changes nothing
            that is kept. Where not said, ``DECIDES`` of its class says it for all.
        formerly: Names it had; they are still read, with a notice, as are those in ``GONE`` of its class.
        flag: Spelling on the command line, ``--yes/--no`` for one that is switched; that of the field if not given.
        argument: Whether it stands on the command line without a flag.
        several: Whether several values may follow the flag; a list's flag may be repeated in any case.
        metavar: What the help calls the value.
        output: What is written there, if it names an output: it is checked and locked before the work (`claiming`).
    """
    metadata: dict[str, Any] = {"minimum": minimum, "above": above, "maximum": maximum, "below": below}
    metadata |= {"help": help, "decides": decides, "formerly": formerly}
    metadata |= {"flag": flag, "argument": argument, "several": several, "metavar": metavar, "output": output}
    if default is ...:
        return dataclasses.field(metadata=metadata)
    if isinstance(default, dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def claiming(function: Callable[Concatenate[C, P], R]) -> Callable[Concatenate[C, P], R]:
    """Make a function of settings check all outputs that they name, and lock them while it runs.

    Raises:
        ConfigError: two of them are the same place.
        DiskError: one cannot be written, or another process is writing it.
    """

    @functools.wraps(function)
    def checked_first(settings: C, /, *rest: P.args, **more: P.kwargs) -> R:
        fields = dataclasses.fields(settings)  # type: ignore[arg-type]
        named = [(getattr(settings, one.name), one.metadata.get("output")) for one in fields]
        here = [(path, kind) for path, kind in named if kind and path and not uri_of(path)]  # a cluster's are not ours
        with claimed(*here):
            return function(settings, *rest, **more)

    return checked_first


def flag_of(field: dataclasses.Field[Any]) -> str:
    """What a field is called on the command line: its flag, or its name where it has none there."""
    if field.metadata.get("argument"):
        return str(field.metadata["metavar"] or field.name)
    return field.metadata.get("flag") or f"--{field.name.replace('_', '-')}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """A YAML file that one command turns into a run.

    Attributes:
        name: File name without its ending.
        path: Where it was read.
        kind: What its settings are for.
        ranker: The ranker, where they are for one.
        summary: What it is, in one sentence.
        settings: Values for a config class.
        finetune: Settings that are others where a trained ranker goes on with other sessions (paper §4.2).
        paper: For each setting taken from the paper, the place there.
        scores: How it did, where a search wrote it.
    """

    name: str
    path: Path
    kind: RecipeKind
    settings: Mapping[str, Any]
    ranker: str | None = None
    summary: str = ""
    finetune: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    paper: Mapping[str, str] = dataclasses.field(default_factory=dict)
    scores: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def check_kind(self, kind: RecipeKind) -> None:
        """Refuse it where a recipe of another kind is wanted.

        Raises:
            ConfigError: it is of another kind.
        """
        if self.kind != kind:
            raise ConfigError(
                f"{self.path}: a recipe of kind '{self.kind}', for {_VERBS[self.kind]}; "
                f"{_VERBS[kind]} takes one of kind '{kind}'"
            )


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def load_recipe(name: str) -> Recipe:
    """Load a recipe by name, or by path where ``name`` ends in ``.yaml``.

    Raises:
        ConfigError: there is no such recipe, or it is not a mapping with the known keys.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else RECIPES / f"{name}.yaml"
    if len(path.name) > 250 or not path.is_file():  # no name that a file can have
        hint = "" if path.parent != RECIPES else nearest(name, recipe_names())
        raise ConfigError(f"no recipe {shown(name)}{hint}")
    content = read_yaml(path)
    if not isinstance(content, dict) or not isinstance(content.get("settings"), dict):
        raise ConfigError(f"{path}: a recipe is a mapping with 'kind' and 'settings'")
    given = {key: value for key, value in _with_kind(content, path).items() if value is not None}
    for key in sorted({"name", "path"} & given.keys()):
        raise ConfigError(f"{path}: unknown key '{key}'; a recipe is called as its file")
    recipe = build(Recipe, {**given, "name": path.stem, "path": path}, str(path))
    if (recipe.kind == "ranker") != (recipe.ranker is not None):
        raise ConfigError(f"{path}: 'kind: ranker' and 'ranker: NAME' go together; give both or neither")
    return recipe


def _with_kind(content: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """A recipe from before there were kinds, with the one that its keys say."""
    if "kind" in content:
        return content
    flags = [key for key in ("encoder", "select") if content.get(key) is True]
    kind = flags[0] if flags else "titles" if content.get("ranker") is None else "ranker"
    instead = f" in place of '{kind}: true'" if flags else ""
    notice_once(f"{path}: write 'kind: {kind}'{instead}; a recipe says what it is for")
    return {"kind": kind, **{key: value for key, value in content.items() if key not in ("encoder", "select")}}


def resolve(cls: type[C], flags: Mapping[str, Any], recipe: Recipe | None = None, origin: Path | None = None) -> C:
    """Build a config: defaults of ``cls`` < ``recipe`` < ``flags`` that are not None.

    ``origin`` is the folder that holds ``flags``, where they come from one and not from the command line.

    Raises:
        ConfigError: an unknown key (the nearest valid one is named), a value of the wrong type or out of range, or a
            recipe of another kind than ``RECIPE_KIND`` of the class (``ranker`` where it has none).
    """
    values = {}
    if recipe is not None:
        recipe.check_kind(getattr(cls, "RECIPE_KIND", "ranker"))
        values = _converted(cls, recipe.settings, str(recipe.path))
    given = {key: value for key, value in flags.items() if value is not None}
    return cls(**{**values, **_converted(cls, given, str(origin or ""), saved=origin is not None)})


def build(cls: type[C], content: Any, where: str) -> C:
    """Make a dataclass of what a file holds.

    Args:
        cls: The dataclass; the types of its fields say what is allowed.
        content: What YAML or JSON gave.
        where: File and place, for the error line.

    Raises:
        ConfigError: it is no mapping, a key is unknown or missing, or a value is of the wrong type.
    """
    if not isinstance(content, Mapping):
        raise ConfigError(f"{where} must be a mapping; got {shown(content)}")
    values = _converted(cls, content, where)
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and field.name not in values:
            raise ConfigError(f"{where}: '{field.name}' is missing")
    return cls(**values)


def decided_by(cls: type[Any], *what: Decides | None) -> tuple[str, ...]:
    """Settings that decide something, with None those that decide nothing; one that does not say decides everything."""
    declared = {field.name: field.metadata.get("decides", _UNDECLARED) for field in dataclasses.fields(cls)}
    whole = getattr(cls, "DECIDES", _UNDECLARED)
    effective = {name: whole if one == _UNDECLARED else one for name, one in declared.items()}
    return tuple(name for name, one in effective.items() if one in (*what, _UNDECLARED))


def deciding(settings: Any, *what: Decides) -> dict[str, Any]:
    """Values of the settings that decide something, by name, as JSON gives them back."""
    values = {name: getattr(settings, name) for name in decided_by(type(settings), *what)}
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(values))
    return plain


def _converted(cls: Any, content: Mapping[str, Any], origin: str, saved: bool = False) -> dict[str, Any]:
    """Values by field, each of its type and in its range; ``origin`` is the file or folder, or empty for flags."""
    hints, flags, former = _fields(cls)
    values: dict[str, Any] = {}
    for key, value in content.items():
        names = [key] if key in hints else former.get(key)
        if names is None:
            raise ConfigError(f"{origin or 'settings'}: unknown key '{key}'{nearest(str(key), hints)}")
        where = f"{origin}: '{key}'" if origin else flags.get(key, f"--{key}".replace("_", "-"))
        if key not in hints:
            now = f"has a new name: {' and '.join(names)}" if names else "is no setting any more; leave it out"
            notice_once(_OLD if saved else f"{where} {now}")
        for name in names:
            if name in values or (name != key and name in content):
                raise ConfigError(f"{where}: the old name of '{name}', which is given too; leave it out")
            values[name] = checked(value, hints[name], where)
    return values


def checked(value: Any, hint: Any, where: str) -> Any:
    """A value from YAML, JSON or a flag as the type that ``hint`` is; ``where`` begins the line of the error.

    Raises:
        ConfigError: it is not of that type, or out of its range.
    """
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return build(hint, value, where)  # type: ignore[arg-type]
    try:  # `1e-4` is text in YAML 1.1, and text may be a number; but 1 is not true
        return msgspec.convert(value, hint, strict=not isinstance(value, str | list | tuple))
    except msgspec.ValidationError as error:
        place = re.search(r"`\$\[(\d+)\]`$", str(error))
        if place:  # the part of a list that is wrong; the list's type may be one of `list | None`
            while typing.get_origin(hint) is not tuple:
                hint = typing.get_args(hint)[0]
            return checked(value[int(place[1])], typing.get_args(hint)[0], where)
        raise ConfigError(f"{where} must be {_range(str(error)) or _expected(hint)}; got {shown(value)}") from error


@functools.cache
def _fields(cls: Any) -> tuple[dict[str, Any], dict[str, str], dict[str, list[str]]]:
    """Type of each field, with its bounds, what it is called on the command line, and what each old name is now.

    The names that ``GONE`` of the class lists are nothing now.
    """
    hints = typing.get_type_hints(cls)
    fields = dataclasses.fields(cls)
    former: dict[str, list[str]] = {old: [] for old in getattr(cls, "GONE", ())}
    for field in fields:
        for old in field.metadata.get("formerly", ()):
            former.setdefault(old, []).append(field.name)
    kinds = {field.name: _bounded(hints[field.name], field.metadata) for field in fields}
    return kinds, {field.name: flag_of(field) for field in fields}, former


def setting_types(cls: type[Any]) -> Mapping[str, Any]:
    """Type of each field of a dataclass of settings, numbers with the bounds that `option` declares."""
    kind: Any = cls
    return _fields(kind)[0]


def _bounded(hint: Any, metadata: Mapping[str, Any]) -> Any:
    """A type whose numbers have bounds."""
    if hint in (int, float):
        bounds: dict[str, Any] = {"ge": metadata.get("minimum"), "gt": metadata.get("above")}
        if bounds["gt"] == 0 and hint is float:
            bounds["gt"] = _SMALLEST
        if bounds == {"ge": None, "gt": None}:
            bounds["ge"] = -_LARGEST[hint]
        bounds |= {"le": metadata.get("maximum"), "lt": metadata.get("below")}
        if bounds["le"] is None and bounds["lt"] is None:
            bounds["le"] = _LARGEST[hint]
        return Annotated[hint, msgspec.Meta(**bounds)]
    parts = tuple(_bounded(part, metadata) for part in typing.get_args(hint))
    if typing.get_origin(hint) in (Union, types.UnionType):
        return Union[parts]  # noqa: UP007 - made of values
    if typing.get_origin(hint) is Sequence:
        parts = (*parts, ...)
    return tuple[parts] if typing.get_origin(hint) in (tuple, Sequence) else hint  # type: ignore[valid-type]


def _range(message: str) -> str:
    """The bound that a value breaks, where msgspec says so: "Expected `int` >= 1"."""
    words = message.partition("` ")[2].split()
    kind = {">=": "at least", ">": "above", "<=": "at most", "<": "below"}.get(words[0] if words else "")
    bound = float(words[1]) if kind else 0
    return f"{kind} {0 if bound == _SMALLEST else bound:,.10g}" if kind else ""


def _expected(hint: Any) -> str:
    """What a type allows, in words."""
    origin, parts = typing.get_origin(hint), [one for one in typing.get_args(hint) if one is not type(None)]
    if origin is Literal:
        return f"one of {', '.join(map(str, parts))}" if len(parts) > 1 else str(parts[0])
    if origin in (tuple, Sequence):
        return "a list"
    if origin is Mapping:
        return f"a mapping of keys to {_expected(parts[1])}" if parts[1] is not Any else "a mapping"
    if origin in (Annotated, Union, types.UnionType):
        words = [one for one in parts[1:] if typing.get_origin(one) is Literal]
        return " or ".join(map(_expected, [parts[0], *words]))
    return _TYPE_NAMES.get(hint, str(getattr(hint, "__name__", hint)))
