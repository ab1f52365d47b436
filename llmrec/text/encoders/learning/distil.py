"""A bag of tokens distilled from a large encoder: quick as a table, and near to what the large one says of titles.

First as model2vec does: the encoder reads each token of the vocabulary alone, its vectors are cut to their principal
components and weighted by how rare the token is (Tulkens and van Dongen 2024; the weights are those of Arora et al.
2017). Then the table moves to where sums of its rows are nearest to the encoder's vectors of some titles (ridge
regression towards the first table), which learns what tokens mean in titles and not alone.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from scipy import sparse

from llmrec.arrays import Floats
from llmrec.console import notice
from llmrec.errors import ConfigError
from llmrec.text.encoders.base import Encoder, encode_with_progress
from llmrec.text.encoders.static import count_tokens
from llmrec.text.encoders.tfidf import inverse_frequencies

__all__ = ["distilled_table", "fitted_to_titles"]

SMOOTHING: Final = 1e-3  # Arora's a: a token that is as frequent counts half
RIDGE: Final = 0.3  # by cross-validation on titles; docs/experiments/text.md


def distilled_table(
    teacher: Encoder, tokenizer: Any, corpus: list[str], dim: int, num_titles: int, seed: int
) -> Floats:
    """Vectors of a vocabulary's tokens with their weights in them, shape ``(V, dim)``.

    Args:
        teacher: Encoder to distil.
        tokenizer: Of `tokenizers`, with the vocabulary.
        corpus: Texts of all products: how frequent tokens are, and where the titles are drawn from.
        dim: Width; where the teacher's is larger, the principal components of its vectors.
        num_titles: Titles that the table is fitted to; 0 leaves it as the tokens alone say.
        seed: Draws them.

    Raises:
        ConfigError: the teacher's vectors are narrower than ``dim``.
    """
    if dim > teacher.dim:
        raise ConfigError(f"dim {dim}: the vectors of '{teacher.name}' have {teacher.dim} numbers; give that or less")
    num_tokens = tokenizer.get_vocab_size()
    notice(f"{teacher.name} reads {num_tokens:,} tokens and {min(num_titles, len(corpus)):,} titles")
    words = [tokenizer.id_to_token(place) or "" for place in range(num_tokens)]
    tokens = encode_with_progress(teacher, words)
    counts = count_tokens(tokenizer, corpus, num_tokens)
    counts.sum_duplicates()
    shares = np.asarray(counts.sum(axis=0)).ravel() / max(1, counts.sum())
    tokens -= tokens.mean(axis=0)
    weighted = tokens * (SMOOTHING / (SMOOTHING + shares)).astype(np.float32)[:, None]
    filled = np.flatnonzero(np.diff(counts.indptr))
    if not num_titles or not len(filled):
        return _components(weighted, dim)
    drawn = np.sort(np.random.default_rng(seed).permutation(filled)[:num_titles])
    titles = encode_with_progress(teacher, [corpus[place] for place in drawn])
    titles -= titles.mean(axis=0)  # what all of them share tells none from another
    table = fitted_to_titles(weighted, counts[drawn], titles, inverse_frequencies(counts))
    return _components(table, dim, counts[drawn] @ table)


def fitted_to_titles(table: Floats, counts: Any, vectors: Floats, weights: Floats, ridge: float = RIDGE) -> Floats:
    """The table whose sums over titles' tokens are near to their vectors, and which is near to a first one.

    Args:
        table: The first one, shape ``(V, D)``.
        counts: Of tokens in titles, CSR ``(T, V)``.
        vectors: Of the titles, shape ``(T, D)``.
        weights: How far a token's row moves before another's, shape ``(V,)``: one that is rare tells more.
        ridge: Weight of staying near to the first table.

    Returns:
        Shape ``(V, D)``. Only rows of tokens in the titles differ from the first table's, but for its scale.
    """
    # rows of length 1: a sum's length says nothing, for it is scaled to 1
    lengths = np.sqrt(np.asarray(counts.multiply(counts).sum(axis=1)).ravel())
    rows = sparse.diags_array((1 / lengths).astype(np.float32)) @ counts
    first = rows @ table
    scale = float((first * vectors).sum() / max((first * first).sum(), np.finfo(np.float32).tiny))
    moving = rows @ sparse.diags_array(weights)
    alike = (moving @ moving.T).toarray().astype(np.float64)
    unit = float(np.diag(alike).mean())
    alike[np.diag_indices_from(alike)] += ridge * unit
    moved = np.linalg.solve(alike, (vectors - scale * first).astype(np.float64)).astype(np.float32)
    fitted: Floats = scale * table + weights[:, None] * (moving.T @ moved)
    return fitted


def _components(table: Floats, dim: int, basis: Floats | None = None) -> Floats:
    """The first ``dim`` principal components of rows, by those of ``basis`` where it is given."""
    seen = table if basis is None else basis
    _, vectors = np.linalg.eigh((seen.T @ seen).astype(np.float64))
    cut: Floats = np.ascontiguousarray(table @ vectors[:, ::-1][:, :dim].astype(np.float32))
    return cut
