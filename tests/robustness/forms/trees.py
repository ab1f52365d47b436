"""Changes of JSON, one record or one a line, as the tree that it is."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any, Final

from tests.robustness.forms.plain import NUMBERS, TEXTS, Mutator, Skip

__all__ = ["JSON", "JSONL", "encoded", "json_changed", "json_deep", "lines_moved", "tree_changed"]


def places_of(tree: Any) -> list[tuple[Any, Any]]:
    """Each value of a tree, as the container and the key that hold it."""
    found: list[tuple[Any, Any]] = []
    inside = list(tree.items()) if isinstance(tree, dict) else list(enumerate(tree)) if isinstance(tree, list) else []
    for key, value in inside:
        found.append((tree, key))
        found += places_of(value)
    return found


def hostile_value(draw: Random) -> Any:
    """A value of any kind, most of them odd."""
    return draw.choice(
        (
            lambda: draw.choice(NUMBERS),
            lambda: draw.choice(TEXTS),
            lambda: None,
            lambda: draw.choice(([], {}, [[]], [None], {"": None}, [1, "x"], {"x": {"y": []}})),
        )
    )()


def _other(value: Any, draw: Random) -> Any:
    """A value near the one that is there."""
    if isinstance(value, bool):
        return draw.choice((not value, str(value).lower(), int(value)))
    if isinstance(value, int | float):
        near = (value + 1, value - 1, -value, value * 10, value / 2 if value else 7, str(value), [value], float(value))
        return draw.choice(near)
    if isinstance(value, str):
        cut = value[: draw.randrange(len(value) + 1)]
        return draw.choice((cut, value + " ", value.upper(), value * 3, [value], value[::-1], f"../{value}"))
    if isinstance(value, list) and value:
        one = draw.randrange(len(value))
        return draw.choice(
            (value[:one], value[::-1], value + value, [*value, value[one]], value[:one] + value[one + 1 :])
        )
    return draw.choice((None, [value], {"x": value}, str(value)))


def tree_changed(tree: Any, draw: Random) -> Any:
    """A tree with one thing changed: a value, a key, a kind."""
    tree = copy.deepcopy(tree)
    places = places_of(tree)
    if not places:
        return hostile_value(draw)
    holder, key = draw.choice(places)
    way = draw.randrange(10)
    if way < 3:
        holder[key] = hostile_value(draw)
    elif way < 6:
        holder[key] = _other(holder[key], draw)
    elif way < 8:
        del holder[key]
    elif isinstance(holder, dict) and way == 8:
        holder[draw.choice((str(key) + "x", "unknown", "__class__", "path", draw.choice(TEXTS)))] = holder[key]
    else:
        other, name = draw.choice(places)
        with_other = other[name] if not (isinstance(other, list) and name >= len(other)) else None
        holder[key] = copy.deepcopy(with_other)
    return tree


def dumped(tree: Any) -> bytes:
    """JSON as it is written, lone surrogates escaped."""
    return json.dumps(tree, indent=1).encode()


def json_changed(data: bytes, draw: Random) -> bytes:
    """One thing of the tree is another."""
    return dumped(tree_changed(_loaded(data), draw))


def _loaded(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise Skip from None


def json_deep(data: bytes, draw: Random) -> bytes:
    """A value is nested deeper than a stack goes."""
    tree = _loaded(data)
    places = places_of(tree)
    if not places:
        raise Skip
    holder, key = draw.choice(places)
    holder[key] = "DEEP"
    depth = draw.choice((500, 2_000, 100_000))
    opening, closing = draw.choice((("[", "]"), ('{"x":', "}")))
    return dumped(tree).replace(b'"DEEP"', (opening * depth + "1" + closing * depth).encode(), 1)


def json_twice(data: bytes, draw: Random) -> bytes:
    """A key is there twice, with two values."""
    tree = _loaded(data)
    if not isinstance(tree, dict) or not tree:
        raise Skip
    key = draw.choice(list(tree))
    added = f"{json.dumps(key)}: {json.dumps(hostile_value(draw))}, "
    return data.replace(b"{", b"{" + added.encode(), 1)


def json_words(data: bytes, draw: Random) -> bytes:
    """A number or word is one that no JSON holds, or that no number does."""
    tree = _loaded(data)
    places = [(holder, key) for holder, key in places_of(tree) if not isinstance(holder[key], dict | list)]
    if not places:
        raise Skip
    holder, key = draw.choice(places)
    holder[key] = "WORD"
    word = draw.choice(("NaN", "-Infinity", "1e999", "0x10", "9" * 5_000, "01", "nul", "'a'", "True", '"\\ud800"', ""))
    return dumped(tree).replace(b'"WORD"', word.encode(), 1)


def encoded(data: bytes, draw: Random) -> bytes:
    """The same text in another encoding, or behind a mark of one."""
    try:
        text = data.decode()
    except ValueError:
        raise Skip from None
    encoding = draw.choice(("utf-8-sig", "utf-16", "utf-32", "latin-1"))
    return text.encode(encoding, "replace")


JSON: Final[tuple[Mutator, ...]] = (*(json_changed,) * 6, json_deep, json_twice, json_words, encoded)


def _lines(data: bytes) -> list[bytes]:
    lines = data.split(b"\n")
    if len(lines) < 2:
        raise Skip
    return lines


def line_changed(data: bytes, draw: Random) -> bytes:
    """A line of JSON has one thing changed."""
    lines = _lines(data)
    full = [number for number, line in enumerate(lines) if line.strip()]
    one = draw.choice(full)
    lines[one] = draw.choice(JSON)(lines[one], draw).replace(b"\n", b" ")
    return b"\n".join(lines)


def lines_moved(data: bytes, draw: Random) -> bytes:
    """A line is gone, twice, empty, elsewhere, or cut."""
    lines = _lines(data)
    one, two = draw.randrange(len(lines)), draw.randrange(len(lines))
    way = draw.randrange(5)
    if way == 0:
        del lines[one]
    elif way == 1:
        lines.insert(two, lines[one])
    elif way == 2:
        lines[one] = b""
    elif way == 3:
        lines[one], lines[two] = lines[two], lines[one]
    else:
        lines[one] = lines[one][: draw.randrange(len(lines[one]) + 1)]
    return b"\n".join(lines)


JSONL: Final[tuple[Mutator, ...]] = (*(line_changed,) * 4, lines_moved, lines_moved, encoded)
