"""Changes that know nothing of a file's form: its bytes; and the odd texts and numbers that the others put in."""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random
from typing import Final

__all__ = ["BYTES", "NUMBERS", "TEXTS", "Mutator", "Skip"]

Mutator = Callable[[bytes, Random], bytes]


class Skip(Exception):  # noqa: N818
    """A mutator has nothing to do on these bytes."""


TEXTS: Final = (
    *("", " ", "\t", "nan", "NaN", "null", "None", "true", "-1", "1e400", "[/]", "[/red]", "[link=http://x]y[/link]"),
    *("\x1b[31mred", "\u202eabc", "\ufeffB01", "B01\u00a0", "\u200bB01", "\x00", "=1+1", "$\\frac{$", "../../x", "/"),
    *("{{ 7*7 }}", "{% raw %}", "<script>x</script>", "'; DROP TABLE x", "a\nb", "\ud800", "🙂", "e\u0301", "x" * 300),
    *("x" * 70_000, "UK", "DE", "..", "C:\\x", "%s%n", "locale=FR", '"', "'", "\\", "['B01' 'B02"),
)
NUMBERS: Final = (
    *(0, 1, -1, 2, 3, 127, 128, 255, 256, 65_535, 2**31 - 1, 2**31, -(2**31), 2**53 + 1, 2**63 - 1, 2**63, 10**30),
    *(-(10**30), 0.5, -0.0, 1e-308, 1e308, -1e308, float("nan"), float("inf"), float("-inf"), True, False),
)


def _place(data: bytes, draw: Random) -> int:
    if not data:
        raise Skip
    near = draw.random()  # headers and footers hold what sizes are read from
    if near < 0.25:
        return draw.randrange(min(len(data), 64))
    if near < 0.5:
        return len(data) - 1 - draw.randrange(min(len(data), 256))
    return draw.randrange(len(data))


def flip(data: bytes, draw: Random) -> bytes:
    """One bit is another."""
    at = _place(data, draw)
    return data[:at] + bytes([data[at] ^ (1 << draw.randrange(8))]) + data[at + 1 :]


def replaced(data: bytes, draw: Random) -> bytes:
    """One byte is another."""
    at = _place(data, draw)
    return data[:at] + bytes([draw.choice((0, 255, 127, 10, 34, 39, 44, 91, 93, draw.randrange(256)))]) + data[at + 1 :]


def deleted(data: bytes, draw: Random) -> bytes:
    """Some bytes are gone."""
    at = _place(data, draw)
    return data[:at] + data[at + draw.choice((1, 1, 2, 8, 64)) :]


def inserted(data: bytes, draw: Random) -> bytes:
    """Some bytes more."""
    at = _place(data, draw)
    return data[:at] + draw.randbytes(draw.choice((1, 1, 2, 8, 64))) + data[at:]


def duplicated(data: bytes, draw: Random) -> bytes:
    """A part twice."""
    at = _place(data, draw)
    part = data[at : at + draw.choice((1, 4, 32, 512))]
    return data[:at] + part + data[at:]


def truncated(data: bytes, draw: Random) -> bytes:
    """The end is gone, as of a file that was cut."""
    return data[: _place(data, draw)]


def swapped(data: bytes, draw: Random) -> bytes:
    """Two parts in each other's place."""
    first, second = sorted((_place(data, draw), _place(data, draw)))
    size = min(draw.choice((1, 4, 16)), second - first, len(data) - second)
    if size < 1:
        raise Skip
    one, two = data[first : first + size], data[second : second + size]
    return data[:first] + two + data[first + size : second] + one + data[second + size :]


def number_of_bytes(data: bytes, draw: Random) -> bytes:
    """Four or eight bytes are a number at the edge of its range: a size, an offset, a count."""
    at = _place(data, draw)
    form, value = draw.choice((("<i", -1), ("<i", 2**31 - 1), ("<q", -1), ("<q", 2**62), ("<q", 2**40), ("<i", 0)))
    packed = struct.pack(form, value)
    return data[:at] + packed + data[at + len(packed) :]


BYTES: Final[tuple[Mutator, ...]] = (
    flip,
    replaced,
    deleted,
    inserted,
    duplicated,
    truncated,
    swapped,
    number_of_bytes,
)
