"""All titles of a catalogue as sorted rows of tokens: what may follow a prefix is found by bisection.

Rows with a common prefix are neighbours, so a prefix is a range of rows, and the tokens that may follow it are those at
the range's first row and wherever a row shares no more than the prefix with the row above it. Beside the tokens this
takes one number a row and no nodes or pointers: 1.4 million titles fit in some hundred megabytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmrec.console import progress_bar
from llmrec.data.connection import connected
from llmrec.data.store import Store
from llmrec.errors import DataError
from llmrec.ragged import Ragged, offsets_of
from llmrec.titles.prompting.prompt_tokens import encode_titles
from llmrec.titles.prompting.recent_products import titled_products
from llmrec.titles.prompting.title_tokenizer import TitleTokenizer

__all__ = ["Prefix", "TitleTrie", "build_trie", "catalogue_titles"]

Indices = NDArray[np.int64]
BATCH_TITLES: Final = 8_192


class Prefix(NamedTuple):
    """The titles that start with some tokens: rows ``first`` to ``last - 1``, and the number of tokens."""

    first: int
    last: int
    depth: int


@dataclass(frozen=True)
class TitleTrie:
    """Titles that a model may write.

    Attributes:
        tokens: Shape ``(T,)``; token ids of all rows, one row after the other, each ended by the end token.
        offsets: Shape ``(N + 1,)``; where each row starts.
        common: Shape ``(N,)``; number of tokens that a row shares with the row before it.
        roots: For each locale the empty prefix.
        titles: Arrow strings, ``N`` of them.
    """

    tokens: NDArray[Any]
    offsets: Indices
    common: NDArray[Any]
    roots: Mapping[str, Prefix]
    titles: Any

    @property
    def num_bytes(self) -> int:
        """Memory of tokens, offsets and shared lengths; the texts, which are for output, do not count."""
        return int(self.tokens.nbytes + self.offsets.nbytes + self.common.nbytes)

    def root(self, locale: str) -> Prefix:
        """The empty prefix of a locale.

        Raises:
            DataError: no product of the locale has a title.
        """
        if locale not in self.roots:
            raise DataError(
                f"no product of locale '{locale}' has a title, so --constrain catalogue leaves none to write"
            )
        return self.roots[locale]

    def following(self, prefix: Prefix) -> tuple[NDArray[Any], Indices]:
        """Tokens that may follow a prefix, rising, and the first row of each; none behind the end token."""
        first, last, depth = prefix
        if last - first == 1:
            starts = np.array([first])
            if self.offsets[first] + depth >= self.offsets[last]:
                return self.tokens[:0], starts[:0]
        else:
            others = np.flatnonzero(self.common[first + 1 : last] == depth) + first + 1
            starts = np.concatenate([[first], others])
        return self.tokens[self.offsets[starts] + depth], starts

    def extend(self, prefix: Prefix, token: int) -> Prefix | None:
        """The prefix with one more token; None if no title goes on like this."""
        tokens, starts = self.following(prefix)
        place = int(np.searchsorted(tokens, token))
        if place == len(tokens) or tokens[place] != token:
            return None
        last = int(starts[place + 1]) if place + 1 < len(starts) else prefix.last
        return Prefix(int(starts[place]), last, prefix.depth + 1)

    def title(self, locale: str, tokens: Indices, end: int) -> str | None:
        """The title that some tokens spell up to the end token; None if they spell none of the locale."""
        prefix: Prefix | None = self.root(locale)
        for token in tokens.tolist():
            prefix = self.extend(prefix, token) if prefix is not None else None
            if prefix is None:
                return None
            if token == end:
                return str(self.titles[prefix.first].as_py())
        return None


def catalogue_titles(store: Store) -> Any:
    """Arrow table of ``locale`` and ``title``: every title of each locale once, in order."""
    with connected() as con:
        products = titled_products(con, store, ("title",)).select("locale", "title").distinct()
        return products.order_by("locale", "title").to_pyarrow()


def build_trie(catalogue: Any, tokenizer: Any, max_tokens: int) -> TitleTrie:
    """Sort the titles of a catalogue by their tokens.

    Args:
        catalogue: Arrow table of ``locale`` and ``title``, from `catalogue_titles`.
        tokenizer: Of the model that is to write them.
        max_tokens: Most tokens of a title, the end token included. Of titles that are equal up to there, or that the
            tokenizer takes for the same, the first stays.
    """
    encoder, parts, roots, at = TitleTokenizer(tokenizer), [], {}, 0
    locales = catalogue.column("locale").combine_chunks()
    with progress_bar() as bar:
        task = bar.add_task("titles to choose from", total=len(catalogue), note="")
        for locale in pc.unique(locales).to_pylist():
            titles = catalogue.filter(pc.equal(locales, locale)).column("title").combine_chunks()
            rows = []
            for start in range(0, len(titles), BATCH_TITLES):
                batch = titles.slice(start, BATCH_TITLES).to_pylist()
                rows.append(_flat(encode_titles(encoder, batch, max_tokens), len(tokenizer)))
                bar.advance(task, len(batch))
            tokens, lengths, common, order = _sorted(
                np.concatenate([flat for flat, _ in rows]), np.concatenate([lengths for _, lengths in rows])
            )
            parts.append((tokens, lengths, common, titles.take(pa.array(order))))
            roots[locale] = Prefix(at, at + len(lengths), 0)
            at += len(lengths)
    if not parts:
        raise DataError("no product has a title, so --constrain catalogue leaves none to write")
    flat, sizes, shared, texts = zip(*parts, strict=True)
    offsets = offsets_of(np.concatenate(sizes))
    return TitleTrie(np.concatenate(flat), offsets, np.concatenate(shared), roots, pa.chunked_array(texts))


def _flat(rows: list[list[int]], vocabulary: int) -> tuple[NDArray[Any], Indices]:
    lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    kind = np.uint16 if vocabulary <= 1 << 16 else np.uint32
    return np.concatenate([np.array(row, dtype=kind) for row in rows]), lengths


def _sorted(tokens: NDArray[Any], lengths: Indices) -> tuple[NDArray[Any], Indices, NDArray[Any], Indices]:
    """Distinct rows in the order of their tokens: tokens, lengths, shared lengths, and which row each was."""
    rows = Ragged(offsets_of(lengths), tokens)
    data = pa.py_buffer(tokens.astype(tokens.dtype.newbyteorder(">")))  # bytes compare as the numbers do
    starts = pa.py_buffer(rows.offsets * tokens.itemsize)
    binary = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(lengths), [None, starts, data])
    order = pc.sort_indices(binary).to_numpy().astype(np.int64)
    rows = rows.take(order)
    common = _common(rows)
    new = common < rows.lengths  # an equal row shares its end token too
    kept = rows.take(np.flatnonzero(new))
    return kept.values, kept.lengths, common[new], order[new]


def _common(sorted_rows: Ragged) -> NDArray[Any]:
    tokens, starts, lengths = sorted_rows.values, sorted_rows.offsets[:-1], sorted_rows.lengths
    common = np.zeros(len(lengths), dtype=np.min_scalar_type(int(lengths.max(initial=0))))
    rows, depth = np.arange(1, len(lengths)), 0
    while len(rows):
        rows = rows[(lengths[rows] > depth) & (lengths[rows - 1] > depth)]
        rows = rows[tokens[starts[rows] + depth] == tokens[starts[rows - 1] + depth]]
        common[rows] += 1
        depth += 1
    return common
