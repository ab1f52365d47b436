"""Product rows of a locale as Arrow columns, and the ids of all products."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmrec.arrays import Ints
from llmrec.languages import language_of
from llmrec.ragged import offsets_of, places_within, row_numbers
from llmrec.schema import PRICE_SENTINEL, PRODUCT_COLUMNS
from llmrec.synth.product_lines import Floats, Lines, SyntheticCatalogue
from llmrec.synth.titles import JAPANESE, describe_lines
from llmrec.synth.words import Family, Lexicon

__all__ = ["product_ids", "product_rows"]

ID_LENGTH: Final = 10  # of an ASIN and of an ISBN-10
_ALPHABET: Final = np.frombuffer(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", dtype=np.uint8)
_CODES: Final = 36**7
_STRIDE: Final = 36**6 * 17 + 12_345_679  # no common factor with 36: every number below 36**7 gives another code
_CHUNK_LINES: Final = 20_000
_RATES: Final = {"DE": 1.0, "ES": 1.0, "FR": 1.0, "IT": 1.0, "UK": 0.87, "JP": 150.0}
_PACK_PRICE: Final = 30.0  # EUR; what costs more is sold singly
_WITHOUT_PRICE: Final = 0.05
_BLANK_EVERY: Final = 2_000  # one title in so many rows is empty, at least one a locale
_LITERAL_EVERY: Final = 700  # one material in so many rows is the word NA, nan or null
_LITERALS: Final = ("NA", "nan", "null")


def product_ids(count: int, books: NDArray[np.bool_]) -> pa.Array:
    """Ids by product number: ``B0`` and eight letters or digits, for books an ISBN-10, leading zero and all.

    Args:
        count: Number of ids; those beyond ``books`` name products that no catalogue has.
        books: Shape ``(N,)``, ``N <= count``; which products are books.

    Returns:
        ``count`` distinct strings of ten characters.
    """
    number = np.arange(count)
    letters = np.full((count, ID_LENGTH), ord("0"), dtype=np.uint8)
    letters[:, 0] = ord("B")
    # Python's integers would be exact too, but slower: number < 2**22 and stride < 2**36 stay below 2**63.
    code = number * _STRIDE % _CODES
    for place in range(ID_LENGTH - 1, ID_LENGTH - 8, -1):
        letters[:, place] = _ALPHABET[code % 36]
        code = code // 36
    letters[:, 2] = _ALPHABET[7 + number % 5 * 2]  # the years' letters: B07, B09, B0B …
    which = np.flatnonzero(books)
    letters[which] = _isbn(which)
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(ID_LENGTH), count, [None, pa.py_buffer(letters.tobytes())]
    ).cast(pa.binary()).cast(pa.string())  # fmt: skip


def _isbn(numbers: Ints) -> NDArray[np.uint8]:
    """ISBN-10 of book numbers, in the language group 0, with its check digit."""
    digits = np.zeros((len(numbers), ID_LENGTH), dtype=np.int64)
    code = numbers * 7_654_321 % 10**8
    for place in range(8, 0, -1):
        digits[:, place] = code % 10
        code = code // 10
    check = -(digits[:, :9] @ np.arange(10, 1, -1)) % 11
    letters = (digits + ord("0")).astype(np.uint8)
    letters[:, 9] = np.where(check == 10, ord("X"), check + ord("0"))
    return letters


def product_rows(
    catalogue: SyntheticCatalogue, locale: str, ids: pa.Array, lexicon: Lexicon, rng: np.random.Generator
) -> Iterator[pa.Table]:
    """Rows of a locale's catalogue in chunks, columns as in the official file; null where a field is empty."""
    sold = catalogue.sold[locale]
    total = int(catalogue.lines.size[sold].sum())
    blank = max(1, total // _BLANK_EVERY)
    done = 0
    for start in range(0, len(sold), _CHUNK_LINES):
        numbers = sold[start : start + _CHUNK_LINES]
        table = _rows(catalogue.lines, numbers, locale, ids, lexicon, rng)
        row = np.arange(done, done + len(table))
        titled = pa.array(row % (total // blank) != total // blank // 2)
        literal = pa.array([_LITERALS[number % 3] for number in (row // _LITERAL_EVERY).tolist()])
        material = pc.if_else(pa.array(row % _LITERAL_EVERY == 5), literal, table["material"])
        table = table.set_column(2, "title", pc.if_else(titled, table["title"], None))
        table = table.set_column(table.column_names.index("material"), "material", material)
        done += len(table)
        yield table


def _rows(
    lines: Lines, numbers: Ints, locale: str, ids: pa.Array, lexicon: Lexicon, rng: np.random.Generator
) -> pa.Table:
    own = language_of(locale)
    language = own if own in lexicon.languages else "en"
    texts = describe_lines(lines, numbers, language, lexicon)
    sizes = lines.size[numbers]
    of_line, slot = row_numbers(sizes), places_within(sizes)
    line = numbers[of_line]
    size, colour, pack, version = _variant(lines, line, slot, lexicon)
    at = lexicon.languages.index(language)
    style = lines.style[line]
    size_words, size_code = _size_words(lexicon, lines.family[line], size, at)
    colours = [words[at] for words in lexicon.colours]
    packs = [words[at] for words in lexicon.packs]
    versions = [f"V{number}" for number in range(2, 64)]
    japanese = language == JAPANESE
    comma, bracket = (" ", " {}") if japanese else (", ", " ({})")
    listed = lines.luck[line] * 11 % 1  # a listing says its size and colour in the title, or does not
    parts = [
        pc.take(pa.array([text.head for text in texts]), pa.array(of_line)),
        _word([f" {version}" for version in versions], version),
        _word([comma + word for word in colours], np.where((style == 1) & (listed > 0.2), colour, -1)),
        _word([comma + word for word in size_words], np.where(listed > 0.1, size_code, -1)),
        _word([comma + word for word in colours], np.where((style != 1) & (listed > 0.2), colour, -1)),
        _word([bracket.format(word) for word in packs], pack),
    ]
    columns: dict[str, Any] = {
        "id": ids.take(pa.array(lines.first[line] + slot)),
        "locale": pa.array([locale]).take(pa.array(np.zeros(len(line), dtype=np.int64))),
        "title": pc.binary_join_element_wise(*parts, "", null_handling="skip"),
        "price": _prices(lines.price[line], size, pack, locale, rng),
        "color": _word(colours, np.where(lines.luck[line] * 13 % 1 > 0.2, colour, -1)),
        "size": _word(size_words, np.where(lines.luck[line] * 17 % 1 > 0.25, size_code, -1)),
    }
    for name in ("brand", "model", "material", "author", "desc"):
        columns[name] = pa.array([getattr(text, name) for text in texts], pa.string()).take(pa.array(of_line))
    return pa.table({name: columns[name] for name in PRODUCT_COLUMNS})


def _variant(lines: Lines, line: Ints, slot: Ints, lexicon: Lexicon) -> tuple[Ints, Ints, Ints, Ints]:
    """Number of size, colour, pack and version of each slot, no two slots of a line alike; -1 for none."""
    kinds = np.array([len(lexicon.sizes[family.size_kind]) for family in lexicon.families])[lines.family[line]]
    colours = np.maximum(lines.colours[line], 1)
    colour = np.where(lines.colours[line] > 0, (lines.colour[line] + slot % colours) % len(lexicon.colours), -1)
    rest = slot // colours
    size = np.where(kinds > 0, rest % np.maximum(kinds, 1), -1)
    rest = rest // np.maximum(kinds, 1)
    bulk = np.array([_sold_in_packs(family, lexicon) for family in lexicon.families])[lines.family[line]]
    packs = np.where(bulk, len(lexicon.packs) + 1, 1)
    # Slot 0 is a single piece for most lines; the others come in a pack by themselves.
    offset = np.where(lines.luck[line] * 19 % 1 < 0.25, lines.number[line] // 10 % packs, 0)
    pack = (offset + rest) % packs - 1
    return size, colour, pack, rest // packs - 1


def _sold_in_packs(family: Family, lexicon: Lexicon) -> bool:
    return family.department != lexicon.books and family.price < _PACK_PRICE


def _size_words(lexicon: Lexicon, family: Ints, size: Ints, at: int) -> tuple[list[str], Ints]:
    """All words for sizes in a language, and for each row the place of its word there; -1 for none."""
    kinds = list(lexicon.sizes)
    words = [value[at] for kind in kinds for value in lexicon.sizes[kind]]
    counts = np.array([len(lexicon.sizes[kind]) for kind in kinds])
    starts = offsets_of(counts)[:-1]
    start = starts[np.array([kinds.index(one.size_kind) for one in lexicon.families])][family]
    return words, np.where(size >= 0, start + size, -1)


def _word(words: Sequence[str], code: Ints) -> pa.Array:
    """Words by their place; null where it is negative."""
    return pa.array(words, pa.string()).take(pa.array(code, mask=code < 0))


def _prices(usual: Floats, size: Ints, pack: Ints, locale: str, rng: np.random.Generator) -> pa.Array:
    """Prices as text, as pandas prints floats; some are missing, which the release writes as a number of its own."""
    price = usual * _RATES[locale] * (1 + 0.06 * np.maximum(size, 0)) * (1 + 0.7 * (pack + 1))
    price = price * np.exp(rng.normal(0, 0.05, size=len(price)))
    whole = np.maximum(1.0, np.floor(price))
    cents = whole if locale == "JP" else whole - np.where(rng.random(len(price)) < 0.6, 0.01, 0.5)
    text = pa.array(np.round(cents, 2)).cast(pa.string())
    text = pc.if_else(pc.match_substring(text, "."), text, pc.binary_join_element_wise(text, ".0", ""))
    return pc.if_else(pa.array(rng.random(len(price)) < _WITHOUT_PRICE), str(PRICE_SENTINEL), text)
