"""Commands with places to fill: ``llmrec rank covisit --train {train} --out {run}``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final

from llmrec.errors import ConfigError, nearest

__all__ = ["fill", "places_of"]

_PLACE: Final = re.compile(r"\{(\w+)\}")


def places_of(template: str) -> set[str]:
    """Names of the places in a template."""
    return set(_PLACE.findall(template))


def fill(template: str, values: Mapping[str, Any]) -> list[str]:
    """Words of a command.

    A place that is a word of its own takes a list as several words (and none for an empty one); a value may hold places
    itself.

    Raises:
        ConfigError: there is no value for a place, or a list stands inside a word.
    """
    words: list[str] = []
    for word in shlex.split(template):
        alone = _PLACE.fullmatch(word)
        value = values.get(alone[1]) if alone else None
        if isinstance(value, Sequence) and not isinstance(value, str):
            words += [_filled(str(one), values) for one in value]
        else:
            words.append(_filled(word, values))
    return words


def _filled(word: str, values: Mapping[str, Any]) -> str:
    while found := _PLACE.search(word):
        value = values.get(found[1])
        if not isinstance(value, str):
            reason = "holds several values" if value is not None else f"is not known{nearest(found[1], values)}"
            raise ConfigError(f"'{{{found[1]}}}' in {word!r} {reason}")
        word = word[: found.start()] + value + word[found.end() :]
    return word
