"""Things of one kind by name: registered by a call, or brought by an installed package's entry points."""

from __future__ import annotations

import functools
import importlib.metadata
import re
from collections.abc import Callable, Iterable
from typing import Any, Final, Generic, TypeVar

from llmrec.console import notice_once
from llmrec.errors import ConfigError, shown

__all__ = ["Named"]

T = TypeVar("T")
_NAME: Final = re.compile(r"\w[\w.-]{0,99}")


class Named(Generic[T]):
    """What users add of one kind, beside what the package has.

    A name is looked for among what was registered, then among entry points, which are loaded when they are wanted.

    Args:
        kind: What errors call one, as ``ranker``.
        group: Group of the entry points, as ``llmrec.rankers``.
        taken: Names that the package itself has, or had.
        check: Given a name and what stands for it: returns it, or raises ConfigError where it is none of this kind.
    """

    def __init__(self, kind: str, group: str, taken: Iterable[str], check: Callable[[str, Any], T]) -> None:
        self.kind: Final = kind
        self._group = group
        self._taken = frozenset(taken)
        self._check = check
        self._registered: dict[str, T] = {}

    def register(self, name: str, thing: T) -> None:
        """Make something known by its name in this process.

        Raises:
            ConfigError: another thing has that name, or it is none of this kind.
        """
        checked = self._check(name, thing)
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{self.kind} {shown(name)}: a name has letters, digits, '_', '-' and '.'; name it so")
        there = self._registered.get(name, checked)
        if name in self._taken or not _is_again(there, checked):
            raise ConfigError(f"{_place(thing)}: there is a {self.kind} '{name}' already; name it otherwise")
        self._registered[name] = checked

    def find(self, name: str) -> T | None:
        """What has a name; None where nothing has.

        Raises:
            ConfigError: a package offers one of that name that cannot be loaded, or is none of this kind.
        """
        if name in self._registered or name in self._taken:
            return self._registered.get(name)
        entry = _entry_points(self._group).get(name)
        if entry is None:
            return None
        try:
            loaded = entry.load()
        except Exception as error:  # whatever somebody else's module does when it is imported
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise ConfigError(
                f"{self.kind} '{name}' of {_package(entry)} cannot be loaded ({reason}); mend or uninstall that package"
            ) from error
        try:
            self._registered[name] = self._check(name, loaded)
        except ConfigError as error:
            raise ConfigError(f"{_package(entry)}: {error}") from error
        return self._registered[name]

    def names(self) -> list[str]:
        """Names of all, those of packages too; one that the package has itself is told and left out."""
        offered = _entry_points(self._group)
        for name in self._taken & offered.keys():
            notice_once(
                f"{_package(offered[name])} offers a {self.kind} '{name}', a name that is taken; it is not used"
            )
        return sorted({*self._registered, *offered} - self._taken)


def _is_again(there: Any, new: Any) -> bool:
    """Whether a definition is the same one made anew, as when a notebook's cell is run again."""
    return there is new or _place(there) == _place(new)


def _place(thing: Any) -> str:
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{named.__module__}.{named.__qualname__}"


def _package(entry: importlib.metadata.EntryPoint) -> str:
    return f"package {entry.dist.name}" if entry.dist else f"entry point {entry.value}"


@functools.cache
def _entry_points(group: str) -> dict[str, importlib.metadata.EntryPoint]:
    return {entry.name: entry for entry in importlib.metadata.entry_points(group=group)}
