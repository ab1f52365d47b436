"""What every ranker knows of the items: their codes, the locales, where each is sold, and what sells most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmrec.arrays import Bools, Ints, checked
from llmrec.console import notice
from llmrec.ragged import list_lengths, offsets_of
from llmrec.rankers.sessions import CodedSessions, Sessions, TrainingSessions
from llmrec.vocabulary import UNKNOWN, Vocabulary

__all__ = ["Catalogue", "build_catalogue", "catalogue_and_codes", "recounted", "with_later"]


NUM_POPULAR: Final = 300  # fills a list of 100 for a session that has seen 200 of them


@dataclass(frozen=True)
class Catalogue:
    """Items and locales of a fitted ranker.

    Attributes:
        vocabulary: The ``N`` items that can be ranked.
        locales: The ``L`` locales of the training sessions, ascending.
        sold: Shape ``(L + 1, N)``; whether a locale has a row for the item. A locale without any product row, and the
            last row, which stands for unknown locales, allow every item. None where no products were given.
        popular: Shape ``(L + 1, P)``; a locale's most frequent items, best first, -1 beyond; all locales' in the last.
    """

    vocabulary: Vocabulary
    locales: tuple[str, ...]
    sold: Bools | None
    popular: Ints

    def encode(self, sessions: Sessions) -> CodedSessions:
        """Sessions as codes of this catalogue."""
        return CodedSessions(
            offsets_of(list_lengths(sessions.prev_items)),
            self.vocabulary.encode(sessions.prev_items.flatten()),
            self.encode_locales(sessions.locales),
        )

    def encode_lists(self, sessions: Sequence[Sequence[str]], locales: Sequence[str]) -> CodedSessions:
        """A few sessions, lists of ids with the locale of each, as codes of this catalogue: no Arrow between."""
        known = {name: place for place, name in enumerate(self.locales)}
        return CodedSessions(
            offsets_of(np.array([len(items) for items in sessions], dtype=np.int64)),
            self.vocabulary.encode_list([item for items in sessions for item in items]),
            np.array([known.get(name, len(known)) for name in locales], dtype=np.int64),
        )

    def encode_training(self, training: TrainingSessions) -> CodedSessions:
        """Training sessions as codes of this catalogue."""
        return CodedSessions(
            offsets_of(list_lengths(training.sequences)),
            self.vocabulary.encode(training.sequences.flatten()),
            self.encode_locales(training.locales),
            training.labelled,
        )

    def encode_locales(self, names: Any) -> Ints:
        """Places of locales, shape ``(S,)``; ``len(self.locales)`` for an unknown one."""
        found = pc.index_in(names, value_set=pa.array(self.locales, pa.string()))
        places: Ints = pc.fill_null(found, len(self.locales)).to_numpy(zero_copy_only=False).astype(np.int64)
        return places

    def sold_or_unknown(self, codes: Ints, locales: Ints) -> Ints:
        """The codes ``(S, P)``, -1 for an item that the session's locale ``(S,)`` does not sell."""
        if self.sold is None:
            return codes
        return np.where((codes != UNKNOWN) & self.sold[locales[:, None], codes], codes, UNKNOWN)

    def grown(self, newer: Catalogue) -> tuple[Catalogue, Ints]:
        """This catalogue with another's items and locales added; the other's availability and popularity win.

        Returns:
            The catalogue, and the new codes of this one's items, shape ``(N,)``.
        """
        vocabulary, places = self.vocabulary.merged(newer.vocabulary)
        newer_places = vocabulary.encode(newer.vocabulary.ids)
        locales = tuple(sorted({*self.locales, *newer.locales}))
        sold = None
        if newer.sold is not None:
            sold = np.zeros((len(locales) + 1, len(vocabulary)), dtype=np.bool_)
            sold[-1] = True
            for row, name in enumerate(locales):
                if name in newer.locales:
                    sold[row, newer_places] = newer.sold[newer.locales.index(name)]
                else:
                    sold[row] = True
        popular = np.full((len(locales) + 1, max(self.popular.shape[1], newer.popular.shape[1])), UNKNOWN)
        for row in range(len(locales) + 1):
            everywhere = row == len(locales)
            name = "" if everywhere else locales[row]
            source, codes = (newer, newer_places) if everywhere or name in newer.locales else (self, places)
            listed = source.popular[-1 if everywhere else source.locales.index(name)]
            popular[row, : len(listed)] = np.where(listed == UNKNOWN, UNKNOWN, codes[listed])
        return Catalogue(vocabulary, locales, sold, popular), places

    def widened(self, vocabulary: Vocabulary, products: Any) -> Catalogue:
        """This catalogue with items that no session holds, which the vocabulary has beside its own."""
        codes = vocabulary.encode(self.vocabulary.ids)
        sold = None if products is None else _sold(products, vocabulary, self.locales)
        popular = np.where(self.popular == UNKNOWN, UNKNOWN, codes[self.popular])
        return Catalogue(vocabulary, self.locales, sold, popular)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything but the locales as arrays, for a file."""
        ids = self.vocabulary.ids
        text = "".join(ids.to_pylist()).encode()
        lengths = np.array([len(item.encode()) for item in ids.to_pylist()], dtype=np.int32)
        arrays: dict[str, NDArray[Any]] = {
            "catalogue.ids": np.frombuffer(text, dtype=np.uint8).copy(),
            "catalogue.id_bytes": lengths,
            "catalogue.popular": self.popular.astype(np.int32),
        }
        if self.sold is not None:
            arrays["catalogue.sold"] = np.packbits(self.sold, axis=1)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], locales: tuple[str, ...]) -> Catalogue:
        """The catalogue that `arrays` came from.

        Raises:
            KeyError: an array is missing.
            ValueError: they do not fit together.
        """
        ids = _ids(arrays)
        rows = len(locales) + 1
        popular = checked(arrays, "catalogue.popular", "int32", (rows, None), least=UNKNOWN, most=len(ids) - 1)
        ordered = np.sort(popular, axis=1)
        if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != UNKNOWN)).any():
            raise ValueError("catalogue.popular holds an item twice for a locale")
        sold = None
        if "catalogue.sold" in arrays:
            packed = checked(arrays, "catalogue.sold", "uint8", (rows, (len(ids) + 7) // 8))
            sold = np.unpackbits(packed, axis=1, count=len(ids)).view(np.bool_)
        return cls(Vocabulary(ids), locales, sold, popular.astype(np.int64))


def _ids(arrays: Mapping[str, NDArray[Any]]) -> Any:
    """Ids of a file, ascending and each once, as ties and look-ups want them."""
    text = checked(arrays, "catalogue.ids", "uint8", (None,))
    offsets = offsets_of(checked(arrays, "catalogue.id_bytes", "int32", (None,), least=0))
    if offsets[-1] != len(text):
        raise ValueError(f"catalogue.ids has {len(text)} bytes, its ids {offsets[-1]}")
    buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(text)]
    ids = pa.Array.from_buffers(pa.string(), len(offsets) - 1, buffers)
    ids.validate(full=True)
    if len(ids) > 1 and not pc.all(pc.less(ids[:-1], ids[1:])).as_py():
        raise ValueError("catalogue.ids does not rise")
    return ids


def build_catalogue(training: TrainingSessions, products: Any = None) -> Catalogue:
    """Catalogue of the items in training sessions.

    Args:
        training: Sessions to learn from.
        products: Arrow table with ``id`` and ``locale``, or None: every locale is then offered every item.
    """
    return catalogue_and_codes(training, products)[0]


def catalogue_and_codes(
    training: TrainingSessions, products: Any = None, *, cold: bool = False
) -> tuple[Catalogue, CodedSessions]:
    """`build_catalogue`, and the training sessions as its codes, for the price of one.

    With ``cold``, the catalogue has the products that no training session holds too.
    """
    vocabulary, items = Vocabulary.coded(training.sequences.flatten())
    if cold and products is not None:
        vocabulary, places = vocabulary.merged(Vocabulary.of(products["id"].combine_chunks()))
        items = places[items]
    locales = tuple(sorted(set(training.locales.unique().to_pylist())))
    bare = Catalogue(vocabulary, locales, None, np.zeros((0, 0), dtype=np.int64))
    places = bare.encode_locales(training.locales)
    coded = CodedSessions(offsets_of(list_lengths(training.sequences)), items, places, training.labelled)
    sold = None if products is None else _sold(products, vocabulary, locales)
    return Catalogue(vocabulary, locales, sold, _popular(coded, len(locales), len(vocabulary))), coded


def with_later(
    catalogue: Catalogue,
    known: CodedSessions,
    training: TrainingSessions,
    products: Any = None,
    *,
    cold: bool = False,
) -> tuple[Catalogue, CodedSessions, Ints]:
    """A catalogue with later sessions taken in: that of `catalogue_and_codes` of all of them.

    Without products, what a locale is known to sell stays, and an item that was not known is sold where it was seen.

    Args:
        catalogue: Items and locales that are known.
        known: Sessions that they were learnt from, as its codes.
        training: Later ones.
        products: As `catalogue_and_codes`.
        cold: As `catalogue_and_codes`.

    Returns:
        The catalogue, all sessions as its codes, and the new codes ``(N,)`` of the old one's items, -1 for an item that
        is gone with the products.
    """
    held = np.zeros(len(catalogue.vocabulary), dtype=np.bool_)
    held[known.items] = True
    kept = catalogue.vocabulary if products is None else Vocabulary(catalogue.vocabulary.ids.filter(pa.array(held)))
    more = [products["id"].combine_chunks()] if cold and products is not None else []
    vocabulary, kept_places = kept.merged(Vocabulary.of(training.sequences.flatten(), *more))
    locales = tuple(sorted({*catalogue.locales, *training.locales.unique().to_pylist()}))
    places = kept_places if kept is catalogue.vocabulary else vocabulary.encode(catalogue.vocabulary.ids)
    bare = Catalogue(vocabulary, locales, None, np.zeros((0, 0), dtype=np.int64))
    old_locales = bare.encode_locales(pa.array(catalogue.locales, pa.string()))
    old = replace(known, values=places[known.items], locales=old_locales[known.locales])
    later = bare.encode_training(training)
    sold: Bools | None = None
    if products is not None:
        sold = _sold(products, vocabulary, locales)
    elif catalogue.sold is not None:
        sold = _sold_as_seen(catalogue.sold, places, old_locales, later, bare)
    coded = old.followed_by(later)
    popular = _popular(coded, len(locales), len(vocabulary))
    return Catalogue(vocabulary, locales, sold, popular), coded, places


def _sold_as_seen(before: Bools, places: Ints, old_locales: Ints, later: CodedSessions, bare: Catalogue) -> Bools:
    """What is sold where: as before, new items where they were seen, and all in a locale of which nothing is known."""
    sold = np.ones((len(bare.locales) + 1, len(bare.vocabulary)), dtype=np.bool_)
    sold[old_locales] = np.asarray(before[:-1].all(axis=1))[:, None]
    sold[np.ix_(old_locales, places)] = before[:-1]
    is_new = np.ones(len(bare.vocabulary), dtype=np.bool_)
    is_new[places] = False
    seen = is_new[later.items]
    sold[later.locales[later.rows[seen]], later.items[seen]] = True
    return sold


def recounted(catalogue: Catalogue, training: CodedSessions) -> Catalogue:
    """The same items and locales, with what is popular counted in other training sessions."""
    return replace(catalogue, popular=_popular(training, len(catalogue.locales), len(catalogue.vocabulary)))


def _popular(coded: CodedSessions, num_locales: int, num_items: int) -> Ints:
    """Most frequent items of each locale and, last, of all; ties go to the smaller code."""
    held = coded.weighed_counts(num_locales, num_items)
    held[-1] = held.sum(axis=0)
    popular = np.full((num_locales + 1, min(NUM_POPULAR, num_items)), UNKNOWN)
    for row, counts in enumerate(held):
        many = np.flatnonzero(counts)
        if len(many) > NUM_POPULAR:
            many = many[counts[many] >= np.partition(counts[many], -NUM_POPULAR)[-NUM_POPULAR]]
        best = many[np.argsort(-counts[many], kind="stable")][: popular.shape[1]]
        popular[row, : len(best)] = best
    return popular


def _sold(products: Any, vocabulary: Vocabulary, locales: tuple[str, ...]) -> Bools:
    ids, names = (products[name].combine_chunks() for name in ("id", "locale"))
    codes = vocabulary.encode(ids)
    sold = np.ones((len(locales) + 1, len(vocabulary)), dtype=np.bool_)
    encoded = names.dictionary_encode()
    known = {name: place for place, name in enumerate(encoded.dictionary.to_pylist())}
    rows = encoded.indices.to_numpy(zero_copy_only=False)
    for row, name in enumerate(locales):
        if name not in known:
            notice(f"no product of locale '{name}' in the products file; its lists are not filtered by availability")
            continue
        here = codes[(rows == known[name]) & (codes != UNKNOWN)]
        sold[row] = False
        sold[row, here] = True
    return sold
