"""Product texts: what a line says in a language, in the order that listings of that language use.

A line's head (brand, model, noun, phrases) is put together once for each locale; its variants add size, colour and pack
in bulk (`llmrec.synth.products`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from llmrec.arrays import Ints
from llmrec.synth.product_lines import Lines
from llmrec.synth.words import Family, Lexicon

__all__ = ["LineText", "describe_lines"]

JAPANESE: Final = "ja"
_BREAK: Final = {"fr": " - ", "es": " | "}  # where an English listing has a comma


@dataclass(frozen=True)
class LineText:
    """What a locale's listing says of a line; None where it says nothing.

    ``head`` is the title before its variant, ``desc`` the description.
    """

    head: str
    brand: str | None
    model: str | None
    material: str | None
    author: str | None
    desc: str | None


def describe_lines(lines: Lines, numbers: Ints, language: str, lexicon: Lexicon) -> list[LineText]:
    """Texts of the lines ``numbers`` in a language."""
    columns: Iterable[tuple[float, ...]] = zip(
        *(
            column[numbers].tolist()
            for column in (
                lines.family, lines.brand, lines.letters, lines.number, lines.feature, lines.feature2,
                lines.material, lines.style, lines.luck,
            )
        ),
        strict=True,
    )  # fmt: skip
    at = lexicon.languages.index(language)
    return [_line_text(row, at, language, lexicon) for row in columns]


def _line_text(row: tuple[float, ...], at: int, language: str, lexicon: Lexicon) -> LineText:
    family_number, brand, letters, number, feature, feature2, material, style = (int(value) for value in row[:-1])
    luck = row[-1]
    family = lexicon.families[family_number]
    phrases = [family.features[feature][at], family.features[feature2][at]]
    name = lexicon.names[brand]
    sentences = [lexicon.sentences[(number // 10 + step) % len(lexicon.sentences)][at] for step in (0, 1)]
    desc = (
        f"{sentences[0].format(family.noun[at])} {'。'.join(phrases) if language == JAPANESE else '. '.join(phrases)}"
    )
    desc = f"{desc}. {sentences[1].format(family.noun[at])}" if style == 0 else desc
    said = desc if (luck * 7) % 1 > 0.08 else None
    if family.department == lexicon.books:
        person = lexicon.people[letters % len(lexicon.people)]
        author = f"{person[at == 2]} {lexicon.names[(letters * 7) % len(lexicon.names)][at == 2]}"
        title = lexicon.book_titles[number // 10 % len(lexicon.book_titles)][at].format(name[at == 2])
        head = _book_head(title, phrases[0], family.noun[at], author, language, style)
        return LineText(head, None, None, None, author, said)
    model = f"{chr(65 + letters // 26)}{chr(65 + letters % 26)}{number}"
    made_of = family.materials[material][at] if family.materials and luck < 0.75 else None
    if family.accessory:
        host = f"{lexicon.names[_host(brand, lexicon)][0]} {chr(65 + style)}{number // 100 + 1}"
        phrases.insert(0, lexicon.compatible[at].format(host))
    if (luck * 3) % 1 < 0.3:
        phrases.pop()  # a short listing
    head = _head(family, name, model if luck > 0.2 else None, made_of, phrases, at, language, style)
    return LineText(
        head=head,
        brand=name[0] if (luck * 5) % 1 > 0.03 else None,
        model=model if luck > 0.5 else None,
        material=made_of if luck < 0.6 else None,
        author=None,
        desc=said,
    )


def _host(brand: int, lexicon: Lexicon) -> int:
    """One of eight brands of the department, which its accessories are made for."""
    return brand % lexicon.departments + lexicon.departments * (brand // lexicon.departments % 8)


def _head(
    family: Family,
    name: tuple[str, str],
    model: str | None,
    made_of: str | None,
    phrases: list[str],
    at: int,
    language: str,
    style: int,
) -> str:
    noun = family.noun[at]
    if language == JAPANESE:
        brand = f"{name[1]}({name[0]})" if style else name[0]
        opening = f"【{phrases[0]}】" if style == 1 else ""
        rest = phrases[1:] if style == 1 else phrases
        return opening + " ".join(word for word in (brand, noun, *rest, made_of, model) if word)
    brand = name[0].upper() if style == 2 else name[0]
    stop = _BREAK.get(language, ", ")
    if style == 0:
        return stop.join([_words(brand, model, noun), *phrases, *_some(made_of)])
    if style == 1:
        return stop.join([_words(brand, noun, model), *_some(made_of), *phrases])
    if language == "en":
        return stop.join([_words(brand, made_of, noun, phrases[0]), *phrases[1:], *_some(model)])
    return stop.join([_words(brand, noun, phrases[0]), *_some(made_of), *phrases[1:], *_some(model)])


def _book_head(title: str, subtitle: str, binding: str, author: str, language: str, style: int) -> str:
    if language == JAPANESE:
        return f"{title}: {subtitle} ({binding})" if style else f"{title} {author} {subtitle}"
    return (f"{title}: {subtitle}", f"{title}: {subtitle} ({binding})", f"{title} ({author}, {binding})")[style]


def _words(*words: str | None) -> str:
    return " ".join(word for word in words if word)


def _some(word: str | None) -> list[str]:
    return [word] if word else []
