"""Functions that people call from Python: arguments checked by their annotations, errors in the words of Python.

An annotation is what a caller may give: an ``int`` is a whole number (NumPy's, too), a ``Path | str`` a path that a
file can have, a ``Sequence[str]`` a list, tuple, array, column or generator of texts and never one text. What is
annotated ``Any`` is for the function to read.
"""

from __future__ import annotations

import functools
import inspect
import operator
import os
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from contextvars import ContextVar
from numbers import Real
from pathlib import Path
from typing import Any, Final, Literal, ParamSpec, TypeVar, Union

from llmrec.errors import ConfigError, LlmrecError, shown

__all__ = ["on_the_command_line", "public"]

P = ParamSpec("P")
T = TypeVar("T")
Take = Callable[[Any, str], Any]  # a value and what an error calls it; gives the value as the function wants it
_TYPED: Final = ContextVar("typed", default=False)  # whether what runs was typed as a command
_LONGEST_NAME: Final = 255  # bytes of a file's name
_COMMAND: Final = re.compile(r"(?:llmrec|accelerate|pip) [^;`]*|--(no-)?([a-z][a-z0-9-]*)(?: (?:[A-Z]{2,}|DIR)\b)?")
_IN_PYTHON: Final = (  # commands that a function of the API stands for
    (re.compile(r"llmrec rank RANKER \.\.\.(?: --per-locale)? --save (\S+)"), r"ranker.save('\1')"),
    (re.compile(r"llmrec rank \w+ --load (\S+)"), r"llmrec.load_ranker('\1')"),
    (re.compile(r"llmrec embed PRODUCTS --out (\S+)"), r"llmrec.SimilarProducts.build(products, '\1')"),
)


@contextmanager
def on_the_command_line() -> Iterator[None]:
    """Within it errors speak of flags, as the user typed them."""
    token = _TYPED.set(True)
    try:
        yield
    finally:
        _TYPED.reset(token)


def public(function: Callable[P, T]) -> Callable[P, T]:
    """Make a function one that people call: see above. ``k`` is told in place of ``--k`` where Python called it.

    Raises:
        ConfigError: an argument is none of what its annotation says; the argument and its value are named.
    """

    @functools.wraps(function)
    def called(*args: P.args, **keywords: P.kwargs) -> T:
        try:
            by_place, takes = _takes(function)
            given: list[Any] = list(args)
            for place, name, take in by_place:
                if place >= len(given):
                    break
                given[place] = take(given[place], name)
            for name in keywords.keys() & takes.keys():
                keywords[name] = takes[name](keywords[name], name)
            return function(*given, **keywords)
        except LlmrecError as error:
            if _TYPED.get() or (plain := _in_python_words(str(error))) == str(error):
                raise
            raise type(error)(plain) from error

    return called


def _in_python_words(message: str) -> str:
    for command, call in _IN_PYTHON:
        message = command.sub(call, message)
    return _COMMAND.sub(_argument, message.replace("--set ", ""))


def _argument(flag: re.Match[str]) -> str:
    if flag[2] is None:
        return flag[0]  # a command to type stays one
    return flag[2].replace("-", "_") + ("=False" if flag[1] else "")


@functools.cache
def _takes(function: Callable[..., Any]) -> tuple[list[tuple[int, str, Take]], dict[str, Take]]:
    """How arguments are taken: by place, with their names, and by name."""
    hints = typing.get_type_hints(function)
    parameters = inspect.signature(function).parameters.values()
    names = [one.name for one in parameters if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    named = [one for one in parameters if one.kind is not inspect.Parameter.VAR_KEYWORD]
    takes = {one.name: take for one in named if (take := _take(hints.get(one.name, Any))) is not None}
    return [(place, name, takes[name]) for place, name in enumerate(names) if name in takes], takes


def _take(hint: Any) -> Take | None:
    """How a value of some annotation is taken; None for one that says nothing."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return _either(parts)
    if origin is Literal:
        return _one_of(parts)
    if origin is Sequence:
        return _listed(parts[0]) if parts[0] in _PLAIN else None
    if origin is type or hint is type:
        return _class(typing.get_origin(parts[0]) or parts[0] if parts else object)
    if origin is Callable or hint is Callable:
        return _callable
    if hint in _PLAIN:
        return _PLAIN[hint]
    kind = origin or hint
    return _instance(kind) if isinstance(kind, type) and kind is not object else None


def _wrong(name: str, wanted: str, value: Any, more: str = "") -> ConfigError:
    return ConfigError(f"{name} must be {wanted}; got {shown(value)}{more}")


def _whole(value: Any, name: str) -> int:
    if type(value) is int:
        return value
    if not _is_bool(value):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise _wrong(name, "a whole number", value)


def _number(value: Any, name: str) -> float:
    if _is_bool(value) or not isinstance(value, Real) or value != value:
        raise _wrong(name, "a number", value)
    return float(value)


def _truth(value: Any, name: str) -> bool:
    if not _is_bool(value):
        raise _wrong(name, "True or False", value)
    return bool(value)


def _is_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return True
    return str(getattr(value, "dtype", "")) == "bool" and getattr(value, "shape", None) == ()  # NumPy's


def _text(value: Any, name: str) -> str:
    if type(value) is str and value.isascii():
        return value
    if not isinstance(value, str):
        raise _wrong(name, "text", value)
    if not value.isascii() and value.encode(errors="replace") != value.encode(errors="ignore"):
        raise ConfigError(f"{name} holds half a character (a lone surrogate), which no file can: {shown(value)}")
    return value


def _path(value: Any, name: str) -> Any:
    if not isinstance(value, str | os.PathLike) or isinstance(os.fspath(value), bytes):
        raise _wrong(name, "a path", value)
    text = _text(os.fspath(value), name)
    if not text or "\0" in text or any(len(part.encode()) > _LONGEST_NAME for part in Path(text).parts):
        raise _wrong(name, "a path that a file can have", value)
    return value


def _as_path(value: Any, name: str) -> Path:
    return Path(_path(value, name))


def _nothing(value: Any, name: str) -> None:
    if value is not None:
        raise _wrong(name, "None", value)


def _callable(value: Any, name: str) -> Any:
    if not callable(value):
        raise _wrong(name, "a function", value)
    return value


def _instance(kind: type[Any]) -> Take:
    def take(value: Any, name: str) -> Any:
        if not isinstance(value, kind):
            raise _wrong(name, f"a {kind.__name__}", value)
        return value

    return take


def _class(kind: type[Any]) -> Take:
    def take(value: Any, name: str) -> Any:
        if not isinstance(value, type) or not (getattr(kind, "_is_protocol", False) or issubclass(value, kind)):
            raise _wrong(name, "a class" if kind is object else f"a subclass of {kind.__name__}", value)
        return value

    return take


def _one_of(choices: Sequence[Any]) -> Take:
    def take(value: Any, name: str) -> Any:
        if not isinstance(value, str | int) or value not in choices:
            raise _wrong(name, " or ".join(map(str, choices)), value)
        return value

    return take


def _listed(part: Any) -> Take:
    inner = _take(part)

    def take(value: Any, name: str) -> Any:
        if type(value) is list and part is str and _are_texts(value):
            return value
        what = {str: "texts", int: "whole numbers", float: "numbers", Path: "paths"}[part]
        if isinstance(value, str | bytes | os.PathLike):
            raise _wrong(name, f"a list of {what}", value, f"; for one write [{shown(value)}]")
        plain = getattr(value, "to_pylist", getattr(value, "tolist", None))  # Arrow's and NumPy's
        given = plain() if callable(plain) and not isinstance(value, type) else value
        if isinstance(given, Mapping | Set) or hasattr(value, "columns") or not isinstance(given, Iterable):
            raise _wrong(name, f"a list of {what}", value)
        given = given if isinstance(given, list | tuple) else list(given)
        if inner is None or (part is str and _are_texts(given)):
            return given
        return [inner(one, f"{name}[{place}]") for place, one in enumerate(given)]

    return take


def _are_texts(values: Sequence[Any]) -> bool:
    """Whether all of some values are text, told in one go."""
    try:
        return bool("".join(values).encode()) or True
    except (TypeError, UnicodeError):
        return False


def _either(parts: Sequence[Any]) -> Take | None:
    """One of several annotations; a text is a path where both would do."""
    optional = type(None) in parts
    rest = [one for one in parts if one is not type(None)]
    if Path in rest and str in rest:
        takes: list[Take | None] = [_path, *(_take(one) for one in rest if one not in (Path, str))]
    else:
        takes = [_take(one) for one in rest]
    if None in takes:
        return None

    def take(value: Any, name: str) -> Any:
        if value is None and optional:
            return None
        errors: list[ConfigError] = []
        for one in takes:
            try:
                return one(value, name) if one else value
            except ConfigError as error:
                errors.append(error)
        told = [re.match(r".*? must be (.*?); got", str(error)) for error in errors]
        if len(errors) == 1 or not all(told):
            raise errors[-1 if isinstance(value, Iterable) and not isinstance(value, str) else 0]
        raise _wrong(name, " or ".join(one[1] for one in told if one), value)

    return take


_PLAIN: Final[dict[Any, Take | None]] = {
    Any: None,
    int: _whole,
    float: _number,
    bool: _truth,
    str: _text,
    Path: _as_path,
    type(None): _nothing,
}
