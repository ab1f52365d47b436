"""A bag of tokens: the vector of a text is the sum of its tokens' vectors. Quick on any processor."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from scipy import sparse
from tokenizers import Tokenizer

from llmrec.arrays import Floats, checked
from llmrec.errors import without_panic
from llmrec.hub.methods import OnHub
from llmrec.ragged import offsets_of
from llmrec.text.encoders.base import ENCODER, content_fingerprint, encode_texts, read_encoder, write_encoder

__all__ = ["StaticEncoder", "count_tokens"]

KIND: Final = "static"
MAX_CHARACTERS: Final = 8_192  # of a text; titles are short, and a tokenizer is slow on one word of 100 kB
CHUNK: Final = 8_192  # texts tokenised at once


@dataclass(frozen=True)
class StaticEncoder(OnHub):
    """Sums a table's rows over a text's tokens.

    Attributes:
        name: What ``--encoder`` calls it.
        tokenizer_json: A `tokenizers` tokenizer, as it serialises itself.
        table: Vectors of the ``V`` tokens with their weights in them, shape ``(V, D)``; 0 for one that says nothing.
        max_tokens: Tokens read of a text; all where None.
    """

    name: str
    tokenizer_json: str
    table: Floats
    max_tokens: int | None = None

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Load what `save` wrote.

        Raises:
            ModelError: there is none, or it is damaged.
        """
        settings, arrays = read_encoder(folder, KIND)
        with ENCODER.understood(folder):
            text = checked(arrays, "tokenizer", "uint8", (None,)).tobytes().decode()
            table = checked(arrays, "table", "float32", (None, None))
            encoder = cls(str(settings["name"]), text, table, settings["max_tokens"])
            try:
                with without_panic():
                    _ = encoder.tokenizer
            except Exception as error:  # which is all that the tokenizers package says of a bad text
                raise ValueError(f"its tokenizer is none: {error}") from error
            highest = max(encoder.tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
            if highest >= len(table):
                raise ValueError(f"its tokenizer has a token {highest}, its table {len(table)} rows")
        return encoder

    @property
    def dim(self) -> int:
        """Width ``D`` of the vectors."""
        return int(self.table.shape[1])

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer, ready to use."""
        tokenizer = Tokenizer.from_str(self.tokenizer_json)
        tokenizer.no_padding()
        if self.max_tokens is None:
            tokenizer.no_truncation()
        else:
            tokenizer.enable_truncation(self.max_tokens)
        return tokenizer

    def encode_documents(self, texts: Sequence[str]) -> Floats:
        """Vectors of texts, shape ``(N, D)``, each of length 1; 0 for a text without a known token."""
        return encode_texts(texts, self.dim, self._summed)

    def encode_queries(self, texts: Sequence[str]) -> Floats:
        """The same as `encode_documents`."""
        return self.encode_documents(texts)

    def fingerprint(self) -> str:
        """Hash of tokenizer and table; the name is not part of it."""
        return content_fingerprint(KIND, self._settings(), self._arrays())

    def save(self, folder: Path) -> None:
        """Write it into ``folder``."""
        write_encoder(folder, KIND, self._settings(), self._arrays())

    def _settings(self) -> dict[str, Any]:
        return {"name": self.name, "max_tokens": self.max_tokens}

    def _arrays(self) -> dict[str, Any]:
        return {"table": self.table, "tokenizer": np.frombuffer(self.tokenizer_json.encode(), dtype=np.uint8)}

    def _summed(self, texts: list[str]) -> Floats:
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        for start in range(0, len(texts), CHUNK):
            counts = count_tokens(self.tokenizer, texts[start : start + CHUNK], len(self.table))
            vectors[start : start + CHUNK] = counts @ self.table
        return vectors


def count_tokens(tokenizer: Any, texts: Sequence[str], num_tokens: int) -> Any:
    """How often each token comes in each text, as CSR ``(N, V)``; one token may stand in a row several times."""
    cut = [text[:MAX_CHARACTERS].encode("utf-8", "replace").decode() for text in texts]  # no lone surrogates
    ids = [one.ids for one in tokenizer.encode_batch_fast(cut, add_special_tokens=False)]
    ends = offsets_of([len(one) for one in ids])
    places = np.fromiter(itertools.chain.from_iterable(ids), dtype=np.int32, count=int(ends[-1]))
    return sparse.csr_matrix((np.ones(len(places), dtype=np.float32), places, ends), (len(ids), num_tokens))
