"""Words of the synthetic catalogue: families, colours, materials, sizes and invented names in six languages."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import yaml

__all__ = ["Family", "Lexicon", "load_lexicon"]

_HERE = Path(__file__).resolve().parent
_NAME_STRIDE = 1009  # a prime: neighbouring names share no syllable, and none is left out

Words = tuple[str, ...]  # one word for each language


@dataclass(frozen=True)
class Family:
    """A kind of product.

    Attributes:
        name: Name in the vocabulary's file.
        department: Number of its department; families of one are each other's accessories.
        size_kind: Key of ``Lexicon.sizes``.
        price: Usual price in EUR.
        coloured: Whether it comes in colours.
        materials: What it can be made of; empty where no listing says.
        accessory: Whether its title names another product that it fits.
        noun: What it is called.
        features: Phrases that its titles use: its own first, then its department's.
    """

    name: str
    department: int
    size_kind: str
    price: float
    coloured: bool
    materials: tuple[Words, ...]
    accessory: bool
    noun: Words
    features: tuple[Words, ...]


@dataclass(frozen=True)
class Lexicon:
    """Every word, by meaning; each ``Words`` is in the order of ``languages``.

    ``names`` and ``people`` are pairs of a name in Latin letters and in katakana.
    """

    languages: tuple[str, ...]
    families: tuple[Family, ...]
    departments: int
    books: int
    colours: tuple[Words, ...]
    sizes: dict[str, tuple[Words, ...]]
    packs: tuple[Words, ...]
    compatible: Words
    book_titles: tuple[Words, ...]
    sentences: tuple[Words, ...]
    names: tuple[tuple[str, str], ...]
    people: tuple[tuple[str, str], ...]


@cache
def load_lexicon() -> Lexicon:
    """Read the two vocabulary files that travel with the package."""
    tree = _read("families.yaml")
    words = _read("words.yaml")
    languages = tuple(tree["languages"])
    groups = {
        group: tuple(tuple(words["material_words"][name]) for name in names)
        for group, names in words["material_groups"].items()
    }
    departments = list(tree["departments"])
    families = tuple(
        _family(name, number, tree["departments"][department], entry, groups)
        for number, department in enumerate(departments)
        for name, entry in tree["departments"][department]["families"].items()
    )
    sizes = {kind: _forms(entry, len(languages)) for kind, entry in words["sizes"].items()}
    return Lexicon(
        languages=languages,
        families=families,
        departments=len(departments),
        books=departments.index("books"),
        colours=tuple(map(tuple, words["colours"])),
        sizes={"none": (), **sizes},
        packs=_forms(words["packs"], len(languages)),
        compatible=tuple(words["compatible"]),
        book_titles=tuple(map(tuple, words["book_titles"])),
        sentences=tuple(map(tuple, words["sentences"])),
        names=_names(words["beginnings"], words["middles"], words["ends"]),
        people=tuple(words["first_names"].items()),
    )


def _read(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((_HERE / name).read_text(encoding="utf-8"))
    return loaded


def _family(
    name: str, number: int, department: dict[str, Any], entry: dict[str, Any], groups: dict[str, tuple[Words, ...]]
) -> Family:
    size_kind, price, coloured, materials, accessory = entry["of"]
    return Family(
        name=name,
        department=number,
        size_kind=size_kind,
        price=float(price),
        coloured=coloured,
        materials=groups[materials] if materials else (),
        accessory=accessory,
        noun=tuple(entry["noun"]),
        features=tuple(tuple(words) for words in [*entry["features"], *department["features"]]),
    )


def _forms(entry: dict[str, Any], languages: int) -> tuple[Words, ...]:
    forms = entry["forms"] * (languages // len(entry["forms"]))
    return tuple(tuple(form.format(value) for form in forms) for value in entry["values"])


def _names(*syllables: dict[str, str]) -> tuple[tuple[str, str], ...]:
    parts = list(product(*(syllable.items() for syllable in syllables)))
    shuffled = (parts[number * _NAME_STRIDE % len(parts)] for number in range(len(parts)))
    return tuple(("".join(latin for latin, _ in part), "".join(kana for _, kana in part)) for part in shuffled)
