"""What a render may still take, and what filters, methods and operators may make of what they are given."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AnySet
from itertools import chain, islice
from typing import Any, Final

import jinja2
from jinja2.utils import Namespace

__all__ = ["MOST_CHARACTERS", "SIZED", "Account", "LimitError"]

STEPS: Final = 1_000_000  # of a render; a node of a loop's body is one in each round
CHARACTERS: Final = 1_000_000  # that a render may make, besides `SHARE` times its data
SHARE: Final = 16
MOST_CHARACTERS: Final = 32_000_000  # of one text, whatever the data
DEPTH: Final = 20  # of lists within lists
SECONDS: Final = 2.0  # of the processor; steps end most templates long before
BITS: Final = 4_096  # of a whole number
SIZED: Final = (list, tuple, Mapping, AnySet)

_LOOK: Final = 1_000  # steps between two looks at the clock
_ELEMENT: Final = 8  # characters that an element of a list counts as
# Filters and methods that may make the product of what they are given; any other makes no more than it is given.
_PRODUCTS: Final = {
    *("%", "batch", "center", "expandtabs", "format", "format_map", "indent", "join", "ljust", "replace", "rjust"),
    *("round", "slice", "tojson", "translate", "wordwrap", "xmlattr", "zfill"),
}
_LISTS: Final = {"slice": 64, "batch": 64}  # whose numbers are numbers of lists, each of so many characters
_LETTERS: Final = {  # which take a text apart: an object for each letter, twice where they sort
    *("dictsort", "groupby", "items", "list", "map", "max", "min", "reject", "rejectattr", "select", "selectattr"),
    *("sort", "sum", "unique"),
}
_SLOW: Final = {"striptags": 20_000, "pprint": 20_000, "wordwrap": 20_000, "urlize": 2_000}  # characters they may read
_PERCENT: Final = re.compile(r"%(?:\(\w*\))?[-+ #0]*(\d*)(?:\.(\d*))?")
_SPEC: Final = re.compile(r"\{[^{}]*:([^{}]*)")


class LimitError(jinja2.TemplateRuntimeError):
    """A template asks for more than a render may take."""


class Account:
    """What one render may still take.

    Args:
        data: What the template reads; weighed when the text that may be made without any is used up.
    """

    __slots__ = ("data", "ends", "look", "room", "steps", "whole")

    def __init__(self, data: Iterable[Any] = ()) -> None:
        self.steps = STEPS
        self.look = STEPS - _LOOK
        self.ends = 0.0
        self.room = self.whole = CHARACTERS
        self.data: Iterable[Any] | None = data

    def step(self, cost: int) -> None:
        """Pay for steps.

        Raises:
            LimitError: there are no more, or the time is over.
        """
        self.steps -= cost
        if self.steps < self.look:
            if self.steps < 0:
                raise LimitError(f"more than {STEPS:,} steps; it needs fewer or shorter loops")
            now = time.thread_time()
            self.ends = self.ends or now + SECONDS
            if now > self.ends:
                raise LimitError(f"more than {SECONDS:g} s")
            self.look = self.steps - _LOOK

    def fits(self, size: int) -> bool:
        """Whether a text may have that many characters."""
        if size > self.whole and self.data is not None:
            data, self.data, self.whole = self.data, None, 1 << 62
            more = SHARE * self.weigh(data)[0]
            self.whole = CHARACTERS + more
            self.room += more
        return size <= self.whole

    def write(self, size: int) -> None:
        """Pay for text that was made.

        Raises:
            LimitError: there is too much of it.
        """
        self.room -= size
        if self.room < 0 and not self.fits(self.whole - self.room):
            raise LimitError(f"more than {self.whole:,} characters of text")

    def weigh(self, values: Iterable[Any], depth: int = 0) -> tuple[int, int]:
        """Characters of values, counted as often as they are shown, and the sum of the numbers in them.

        Raises:
            LimitError: too many, or nested too deep.
        """
        size = number = 0
        for value in values:
            if isinstance(value, str):
                size += len(value)
            elif isinstance(value, int):
                number += abs(value)
            elif isinstance(value, SIZED):
                if depth == DEPTH:
                    raise LimitError(f"lists nested deeper than {DEPTH}")
                inside = chain(value, value.values()) if isinstance(value, Mapping) else value
                more, inner = self.weigh(inside, depth + 1)
                size, number = size + _ELEMENT * len(value) + more, number + inner
            elif isinstance(value, Namespace):  # it may hold itself
                raise LimitError("a namespace used as a value")
            if size > self.whole and not self.fits(size):
                raise LimitError(f"more than {self.whole:,} characters of text")
        return size, number

    def made(self, value: Any) -> Any:
        """Pay for a value; what comes one by one becomes a list.

        Raises:
            LimitError: it is too large.
        """
        if isinstance(value, str):
            self.write(len(value))
        elif isinstance(value, int):
            if value.bit_length() > BITS:
                raise LimitError(f"a number of more than {BITS:,} bits")
        elif isinstance(value, SIZED):
            self.write(self.weigh([value])[0])
        elif isinstance(value, Iterator):
            return self.made(self.listed(value))
        return value

    def listed(self, values: Iterable[Any]) -> list[Any]:
        """The values that come one by one, if there is room for them."""
        most = max(self.room, 0) // _ELEMENT
        found = list(islice(values, most + 1))
        self.write(_ELEMENT * len(found) if len(found) > most else 0)
        return found

    def function(self, name: str, values: Sequence[Any]) -> None:
        """Pay for a filter or a method of the first value, before it runs.

        Raises:
            LimitError: it may make, or would read, too much.
        """
        first = values[0] if values else None
        if isinstance(first, Namespace):
            self.weigh([first])
        length = len(first) if isinstance(first, str | list | tuple) else 0
        if isinstance(first, str) and name in _LETTERS and not self.fits(16 * length):
            raise LimitError(f"'{name}' of a text of {length:,} characters")
        if length > _SLOW.get(name, length):
            raise LimitError(f"'{name}' of more than {_SLOW[name]:,} characters")
        if name in _PRODUCTS:
            size, number = self.weigh(values)
            if name == "%":
                length = _most_of_percent(str(first), size, number)
            elif name in ("format", "format_map"):
                length = _most_of_format(str(first), size, number, values[1:])
            else:
                own, _ = self.weigh(values[:1])
                length = (own + 1) * (1 + size - own + number * _LISTS.get(name, 1))
            if not self.fits(length):
                raise LimitError(f"'{name}' may make more than {self.whole:,} characters")
        self.step(1 + (length >> 6))

    def operator(self, name: str, left: Any, right: Any) -> None:
        """Pay for ``+``, ``*``, ``%`` or ``**``, before it runs.

        Raises:
            LimitError: it may make too much.
        """
        size, number = self.weigh((left, right))
        if name == "%" and isinstance(left, str):
            size = _most_of_percent(left, size, number)
        elif name == "*":
            size *= 1 + number
        elif name == "**" and isinstance(left, int) and isinstance(right, int) and left.bit_length() * right > BITS:
            raise LimitError(f"a number of more than {BITS:,} bits")
        if not self.fits(size):
            raise LimitError(f"'{name}' may make more than {self.whole:,} characters")
        self.step(1 + (size >> 6))


def _most_of_percent(form: str, size: int, number: int) -> int:
    widths = (digits for found in _PERCENT.findall(form) for digits in found)
    return len(form) + form.count("%") * (size + number + _sum(widths))


def _most_of_format(form: str, size: int, number: int, values: Sequence[Any]) -> int:
    """The most characters of a formatted text: each place may hold all values, as wide as it says."""
    widths = [digits for spec in _SPEC.findall(form) for digits in re.findall(r"\d+", spec)]
    if re.search(r"\{[^{}]*:[^{}]*\{", form):  # a width that is itself a value
        widths += [digits for value in values for digits in re.findall(r"\d+", str(value)[:100_000])]
    return len(form) + form.count("{") * (size + number + _sum(widths))


def _sum(widths: Iterable[str]) -> int:
    return sum(int(digits[:12]) for digits in widths if digits)
