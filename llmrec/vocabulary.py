"""Items as whole numbers: an item's code is its place among the ids in ascending order."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmrec.arrays import Ints
from llmrec.ragged import UNKNOWN

__all__ = ["ID_BASE", "UNKNOWN", "Vocabulary", "product_keys"]


ID_BASE: Final = 36  # ids are read as numbers of digits and letters
_OTHER: Final = re.compile(r"[^0-9A-Za-z]+")
_LONGEST: Final = 64  # characters of an id that are read as a number
_SEPARATOR: Final = "\x1f"  # no id or locale holds it
_FEW: Final = 1000  # who looks up fewer ids at once does so often: a dict of all, made once, pays


class Vocabulary:
    """Distinct ids in ascending order, so that "ties go to the smaller id" means the smaller code.

    Where only codes are looked up, any distinct texts in any order will do: a code is a place among them.

    Attributes:
        ids: Arrow strings, ``N`` of them, ascending.
    """

    def __init__(self, ids: Any) -> None:
        self.ids = ids

    @classmethod
    def of(cls, *columns: Any) -> Vocabulary:
        """Vocabulary of all ids in some Arrow string columns; nulls are left out."""
        distinct = [pc.unique(column).cast(pa.string()) for column in columns]
        together = pc.drop_null(pc.unique(pa.concat_arrays(distinct))) if distinct else pa.array([], pa.string())
        return cls(together.take(pc.sort_indices(together)))

    @classmethod
    def coded(cls, column: Any) -> tuple[Vocabulary, Ints]:
        """Vocabulary of the ids in an Arrow string column, and their codes, shape ``(T,)``; hashes each id once."""
        encoded = column.dictionary_encode()
        order = pc.sort_indices(encoded.dictionary).to_numpy()
        codes = np.full(len(order) + 1, UNKNOWN)  # the last place is where a null looks
        codes[order] = np.arange(len(order))
        places = pc.fill_null(encoded.indices, UNKNOWN).to_numpy(zero_copy_only=False)
        return cls(encoded.dictionary.cast(pa.string()).take(pa.array(order))), codes[places]

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def _codes(self) -> Mapping[str, int]:
        return {item: code for code, item in enumerate(self.ids.to_pylist())}

    @cached_property
    def numbers(self) -> NDArray[np.float64]:
        """Ids read as numbers of base `ID_BASE`, shape ``(N,)``, without what is no letter or digit of ASCII."""
        return np.fromiter((_number(item) for item in self.ids.to_pylist()), np.float64, len(self))

    def encode(self, items: Any) -> Ints:
        """Codes of an Arrow string array, shape ``(T,)``; `UNKNOWN` for an id that is not in the vocabulary."""
        if len(items) < min(_FEW, len(self) // 8):
            return self.encode_list(items.to_pylist())
        found = pc.index_in(items, value_set=self.ids)
        codes: Ints = pc.fill_null(found, UNKNOWN).to_numpy(zero_copy_only=False).astype(np.int64)
        return codes

    def encode_list(self, items: list[str]) -> Ints:
        """Codes of some ids, shape ``(T,)``; the quick way for a few."""
        known = self._codes
        return np.array([known.get(item, UNKNOWN) for item in items], dtype=np.int64)

    def decode(self, codes: Ints) -> Any:
        """Arrow strings of some codes, each of them at least 0."""
        return self.ids.take(pa.array(codes))

    def merged(self, other: Vocabulary) -> tuple[Vocabulary, Ints]:
        """Both vocabularies in one, and the new codes of this one's items, shape ``(N,)``."""
        new = other.ids.filter(pc.invert(pc.is_in(other.ids, value_set=self.ids)))
        if len(new) > len(self) // 8:
            together = Vocabulary.of(self.ids, new)
            return together, together.encode(self.ids)
        known = self.ids.to_pylist()
        before = np.array([bisect_left(known, item) for item in new.to_pylist()], dtype=np.int64)
        places = np.arange(len(known)) + np.searchsorted(before, np.arange(len(known)), side="right")
        order = np.insert(np.arange(len(known)), before, len(known) + np.arange(len(new)))
        return Vocabulary(pa.concat_arrays([self.ids, new]).take(pa.array(order))), places


def product_keys(locales: Any, ids: Any) -> Any:
    """One Arrow text for each ``(locale, id)``, the key of a product; a `Vocabulary` of them finds products' rows."""
    keys = pc.binary_join_element_wise(locales.cast(pa.string()), ids.cast(pa.string()), _SEPARATOR)
    return keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys


def _number(text: str) -> float:
    kept = text if text.isascii() and text.isalnum() else _OTHER.sub("", text)
    return float(int(kept[:_LONGEST] or "0", ID_BASE))
