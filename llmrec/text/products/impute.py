"""Attributes that a product lacks, voted by the products whose text is like its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmrec.arrays import Floats, Ints
from llmrec.console import track
from llmrec.data.products import load_products
from llmrec.errors import ConfigError, DataError
from llmrec.reporting.blocks import Table, to_markdown
from llmrec.text.search.index import Index, build_index
from llmrec.text.search.keys import key_rows
from llmrec.text.search.vectors import NONE

__all__ = [
    "ATTRIBUTES",
    "Accuracy",
    "Imputation",
    "attributes_of",
    "impute_attributes",
    "render_accuracies",
    "vote",
]


ATTRIBUTES: Final = ("brand", "color", "material", "size", "author", "model")
QUERIES: Final = 1024


@dataclass(frozen=True)
class Accuracy:
    """How often hidden values of a locale are found.

    Attributes:
        attribute: Which one.
        locale: Where.
        num_known: Products that have the attribute.
        num_hidden: Those of them whose value was hidden and voted on.
        accuracy: Share of the hidden values that the vote finds, without case and blanks around.
        majority: Share that the locale's most frequent value would find.
    """

    attribute: str
    locale: str
    num_known: int
    num_hidden: int
    accuracy: float
    majority: float


@dataclass(frozen=True)
class Imputation:
    """What was found out, and what was filled in.

    Attributes:
        accuracies: One for each attribute and locale with enough products to hide some.
        values: Arrow table of ``locale``, ``id``, ``attribute``, ``value`` and ``confidence`` (share of the vote, in
            (0, 1]) for products with a text that lack the attribute; None if it was not asked for.
    """

    accuracies: list[Accuracy]
    values: Any


def impute_attributes(
    vectors: Floats,
    products: Any,
    attributes: Sequence[str],
    *,
    k: int = 10,
    hide: float = 0.1,
    most: int = 1000,
    fill: bool = False,
    seed: int = 0,
) -> Imputation:
    """Vote on attributes of products by their ``k`` nearest with a known value, in their own locale.

    A share of the known values is hidden first and voted on by the others; then, with ``fill``, the unknown ones are
    voted on by all.

    Args:
        vectors: Shape ``(N, D)``, rows of length 1, 0 for a product without text, which neither asks nor votes.
        products: Arrow table of ``locale``, ``id`` and the attributes (null or empty: unknown), ``N`` rows.
        attributes: Which of `ATTRIBUTES`.
        k: Neighbours that vote.
        hide: Share of the known values of a locale that is hidden, between 0 and 1.
        most: Most hidden values of a locale.
        fill: Whether unknown values are voted on too.
        seed: Draws the hidden ones.

    Raises:
        ConfigError: a setting is out of range, or there is no such attribute.
        DataError: no locale has two products with any of the attributes.
    """
    _check(attributes, k, hide)
    names = products["locale"].combine_chunks().dictionary_encode()
    groups = names.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    index = build_index(vectors, groups)
    voice = ~index.removed
    accuracies: list[Accuracy] = []
    filled = []
    for attribute in attributes:
        values, shown = _values(products[attribute])
        known = (values != NONE) & voice
        for group, locale in enumerate(names.dictionary.to_pylist()):
            here = np.flatnonzero(known & (groups == group))
            hidden = _hidden(here, min(most, round(hide * len(here))), (seed, group))
            if not len(hidden) or len(hidden) == len(here):
                continue
            voters = known.copy()
            voters[hidden] = False
            voted, _ = _voted(index, vectors, hidden, groups, voters, values, k)
            frequent = np.bincount(values[here[voters[here]]]).argmax()
            found = [float((values[hidden] == guess).mean()) for guess in (voted, frequent)]
            accuracies.append(Accuracy(attribute, locale, len(here), len(hidden), *found))
        if fill:
            lacking = np.flatnonzero((values == NONE) & voice)
            voted, confidence = _voted(index, vectors, lacking, groups, known, values, k)
            filled.append(_table(products, attribute, lacking[voted != NONE], voted, confidence, shown))
    if not accuracies:
        raise DataError(f"too few products with {', '.join(attributes)} to hide some of them; check --products")
    return Imputation(accuracies, pa.concat_tables(filled) if filled else None)


def attributes_of(keys: Any, products: Path, names: Sequence[str]) -> Any:
    """Attributes of embedded products, in their order; null where the product file has no such product.

    Args:
        keys: Arrow table of ``locale`` and ``id``.
        products: Product file.
        names: Which of `ATTRIBUTES`.

    Raises:
        ConfigError: there is no such attribute.
        DataError: the file is malformed, or holds none of the products.
    """
    _check(names)
    table = load_products(products, ("locale", "id", *names))
    rows = key_rows(table, keys["locale"], keys["id"], np.ones(len(table), dtype=np.bool_))
    if not (rows >= 0).any():
        raise DataError(f"{products}: holds none of the embedded products; give the file that was embedded")
    strings = pa.schema([(name, pa.string()) for name in names])
    taken = table.select(names).take(pa.array(rows, mask=rows < 0)).cast(strings)
    columns = {name: taken[name].combine_chunks() for name in names}
    return pa.table({"locale": keys["locale"].combine_chunks(), "id": keys["id"].combine_chunks(), **columns})


def render_accuracies(accuracies: Sequence[Accuracy]) -> str:
    """The accuracies as a Markdown table."""
    rows = [
        [
            one.attribute,
            one.locale,
            f"{one.num_known:,}",
            f"{one.num_hidden:,}",
            f"{one.accuracy:.3f}",
            f"{one.majority:.3f}",
        ]
        for one in accuracies
    ]
    columns = ("attribute", "locale", "known", "hidden", "accuracy", "most frequent value")
    return to_markdown([Table(columns, rows, align="llr")])


def vote(scores: Floats, values: Ints) -> tuple[Ints, NDArray[np.float64]]:
    """The value with the largest sum of scores; of equal sums the one that a nearer neighbour has.

    Args:
        scores: Similarities of neighbours, falling, shape ``(Q, K)``; one of 0 or below has no weight.
        values: Their values, shape ``(Q, K)``, -1 for no neighbour.

    Returns:
        Values ``(Q,)``, -1 where nobody votes, and their shares of all weights ``(Q,)``, 0 there.
    """
    weights = np.where(values == NONE, 0, np.maximum(scores, 0)).astype(np.float64)
    sums = (weights[:, None, :] * (values[:, :, None] == values[:, None, :])).sum(axis=2)
    sums = np.where(weights > 0, sums, 0)
    best = np.isclose(sums, sums.max(axis=1, keepdims=True, initial=0), rtol=1e-9, atol=0).argmax(axis=1)
    rows = np.arange(len(values))
    total = weights.sum(axis=1)
    share = np.divide(sums[rows, best], total, out=np.zeros(len(values)), where=total > 0)
    return np.where(total > 0, values[rows, best], NONE), share


def _hidden(rows: Ints, number: int, seed: tuple[int, int]) -> Ints:
    """Some of the rows, drawn, rising."""
    drawn: Ints = np.sort(np.random.default_rng(seed).permutation(rows)[:number])
    return drawn


def _check(attributes: Sequence[str], k: int = 1, hide: float = 0.5) -> None:
    for name in attributes:
        if name not in ATTRIBUTES:
            raise ConfigError(f"--attribute must be one of {', '.join(ATTRIBUTES)}; got '{name}'")
    if k < 1:
        raise ConfigError(f"--k must be at least 1; got {k}")
    if not 0 < hide < 1:
        raise ConfigError(f"--hide must lie between 0 and 1; got {hide:g}")


def _values(column: Any) -> tuple[Ints, list[str]]:
    """Numbers of values told apart without case and blanks, -1 for none, and how each is written first."""
    written = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    plain = pc.utf8_lower(pc.utf8_trim_whitespace(written))
    encoded = pc.if_else(pc.equal(plain, ""), pa.scalar(None, pa.string()), plain).dictionary_encode()
    numbers: Ints = pc.fill_null(encoded.indices, NONE).to_numpy(zero_copy_only=False).astype(np.int64)
    _, first = np.unique(numbers[numbers != NONE], return_index=True)
    shown = written.take(pa.array(np.flatnonzero(numbers != NONE)[first]))
    return numbers, pc.utf8_trim_whitespace(shown).to_pylist()


def _voted(
    index: Index, vectors: Floats, rows: Ints, groups: Ints, voters: NDArray[np.bool_], values: Ints, k: int
) -> tuple[Ints, NDArray[np.float64]]:
    """Votes on some rows: values and shares, as `vote`."""
    parts = []
    for part in _chunks(rows):
        scores, found = index.search(np.asarray(vectors[part]), k, groups[part], voters)
        parts.append(vote(scores, np.where(found == NONE, NONE, values[found])))
    if not parts:
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    return np.concatenate([one for one, _ in parts]), np.concatenate([two for _, two in parts])


def _chunks(rows: Ints) -> Iterator[Ints]:
    starts = range(0, len(rows), QUERIES)
    for start in track(starts, "neighbours vote", len(starts)):
        yield rows[start : start + QUERIES]


def _table(
    products: Any, attribute: str, rows: Ints, voted: Ints, confidence: NDArray[np.float64], shown: list[str]
) -> Any:
    found = voted != NONE
    some = products.select(["locale", "id"]).take(pa.array(rows))
    return pa.table(
        {
            "locale": some["locale"].combine_chunks(),
            "id": some["id"].combine_chunks(),
            "attribute": pa.array([attribute] * len(rows), pa.string()),
            "value": pa.array([shown[value] for value in voted[found]], pa.string()),
            "confidence": pa.array(confidence[found].astype(np.float32)),
        }
    )
