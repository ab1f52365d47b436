"""How much the titles of a list differ: one less the cosine of their words' TF-IDF, over all pairs."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmrec.arrays import Ints
from llmrec.errors import require
from llmrec.ragged import list_lengths, row_numbers

__all__ = ["diversity", "title_vectors"]

_ALONE: Final = r"([\p{Han}\p{Hiragana}\p{Katakana}])"  # written without blanks between words: each letter by itself
_BETWEEN: Final = r"[^\p{L}\p{N}]+"
_CHUNK: Final = 4_096  # lists whose words are held at once


def title_vectors(titles: Any) -> Any:
    """TF-IDF of titles' words, sparse, shape ``(N, W)``, rows of length 1, or 0 for a title without a word.

    A word counts as often as it stands in the title, times ``ln((1 + N) / (1 + n)) + 1``, where ``n`` of the ``N``
    titles hold it: scikit-learn's default form.

    Args:
        titles: ``N`` Arrow strings; null for none.

    Raises:
        MissingExtraError: SciPy is not installed; so does `diversity`.
    """
    sparse = require("scipy.sparse", "rank")
    spaced = pc.replace_substring_regex(pc.utf8_lower(pc.fill_null(titles, "")), _ALONE, r" \1 ")
    words = pc.split_pattern_regex(spaced, _BETWEEN)
    if isinstance(words, pa.ChunkedArray):
        words = words.combine_chunks()
    rows, flat = row_numbers(list_lengths(words)), words.flatten()
    kept = pc.not_equal(flat, "").to_numpy(zero_copy_only=False)
    encoded = flat.filter(pa.array(kept)).dictionary_encode()
    shape = (len(titles), max(1, len(encoded.dictionary)))
    columns = encoded.indices.to_numpy()
    counts = sparse.csr_matrix((np.ones(len(columns)), (rows[kept], columns)), shape)
    counts.sum_duplicates()
    held = np.bincount(counts.indices, minlength=shape[1])
    counts.data *= (np.log((1 + shape[0]) / (1 + held)) + 1)[counts.indices]
    lengths = np.sqrt(np.asarray(counts.multiply(counts).sum(axis=1)).ravel())
    counts.data /= np.repeat(lengths, np.diff(counts.indptr))
    return counts


def diversity(codes: NDArray[Any], vectors: Any, rows: Ints) -> NDArray[np.float64]:
    """Mean of ``1 - cosine`` over the pairs of each list, shape ``(S,)``; NaN for fewer than two items with a title.

    The pairs need not be looked at: the squared length of the sum of ``m`` vectors of length 1 is ``m`` and twice the
    sum of their products.

    Args:
        codes: Shape ``(S, K)``; listed items, below 0 beyond the end of a list.
        vectors: Of `title_vectors`.
        rows: Shape ``(N,)``; row in ``vectors`` of each item, below 0 for an item without a title.
    """
    sparse, titled = require("scipy.sparse", "rank"), np.diff(vectors.indptr) > 0
    found = np.full(len(codes), np.nan)
    for start in range(0, len(codes), _CHUNK):
        part = codes[start : start + _CHUNK]
        places = np.where(part >= 0, rows[part], -1)
        places[places >= 0] = np.where(titled[places[places >= 0]], places[places >= 0], -1)
        session, column = np.nonzero(places >= 0)
        shape = (len(part), vectors.shape[0])
        lists = sparse.csr_matrix((np.ones(len(session)), (session, places[session, column])), shape)
        sums = lists @ vectors
        squares = np.asarray(sums.multiply(sums).sum(axis=1)).ravel()
        number = (places >= 0).sum(axis=1).astype(np.float64)
        pairs = number * (number - 1)
        several = pairs > 0
        found[start : start + len(part)][several] = 1 - (squares - number)[several] / pairs[several]
    bounded: NDArray[np.float64] = np.clip(found, 0.0, 1.0)
    return bounded
