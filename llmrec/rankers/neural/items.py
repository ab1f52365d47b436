"""Items of a neural ranker: those that sessions hold, cold ones beside them, and what products tell of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llmrec.arrays import Floats, Ints
from llmrec.errors import ConfigError
from llmrec.rankers.attributes import attribute_features, grown_features
from llmrec.rankers.catalogue import Catalogue
from llmrec.rankers.neural.settings import NeuralSettings
from llmrec.rankers.vectors.initialise import align, text_vectors
from llmrec.rankers.vectors.item_text import TEXT_DIM, rows_of, text_features, with_cold_items
from llmrec.vocabulary import Vocabulary

__all__ = ["Items", "cold_vectors", "read_items"]

Features = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Items:
    """All items that can be ranked.

    Attributes:
        vocabulary: All of them, ``M``.
        places: Codes in it of the ``N`` items that sessions hold, in their order.
        features: What the model reads of them, ``M + 1`` rows each, padding first.
        start: First vectors made of their texts, shape ``(M, D)``; None for another ``init``.
    """

    vocabulary: Vocabulary
    places: Ints
    features: Features
    start: Floats | None


def read_items(
    settings: NeuralSettings,
    reads: Sequence[str],
    catalogue: Catalogue,
    products: Any,
    old: Features | None = None,
    old_places: Ints | None = None,
) -> Items:
    """Items of a catalogue and cold ones, if they are wanted, with what products tell of them.

    Args:
        settings: Say where texts come from, what is made of them, and whether cold items are wanted.
        reads: What the model reads: ``text``, ``attributes``.
        catalogue: Items that sessions hold.
        products: Arrow table, or None.
        old: Features that a trained model has read; they stay.
        old_places: Codes in ``catalogue`` of the items that ``old`` is of.

    Raises:
        ConfigError: an embeddings folder is named and nothing reads it.
        DataError: what is to be read is not there.
        StoreError: the embeddings folder cannot be read.
    """
    known, by_text = catalogue.vocabulary, settings.init == "text"
    if settings.text is not None and not by_text and "text" not in reads:
        raise ConfigError(f"text: {settings.text} is read with init: text alone; init is '{settings.init}'")
    vocabulary = known
    if by_text and settings.cold_items is not False:
        vocabulary = with_cold_items(known, products, settings.text, catalogue.locales)
    found: dict[str, NDArray[Any]] = {}
    if by_text or "text" in reads:
        found.update(text_features(products, vocabulary, _text_dim(settings), settings.text))
    if "attributes" in reads:
        found.update(attribute_features(products, vocabulary))
    places = vocabulary.encode(known.ids)
    if len(vocabulary) > len(known):  # a cold item without text could only be ranked at random
        titled: NDArray[np.bool_] = np.asarray(found["text"][1:] != 0).any(axis=1).reshape(-1)
        titled[places] = True
        found = dict(rows_of(found, np.flatnonzero(titled)))
        vocabulary = Vocabulary(vocabulary.ids.filter(pa.array(titled)))
        places = vocabulary.encode(known.ids)
    start = None
    if by_text:
        size, whitening = settings.embedding_size, settings.text_whitening
        start = settings.init_scale * text_vectors(found["text"][1:], size, whitening=whitening, seed=settings.seed)
    features: Features = {name: found[name] for name in reads}
    if old is not None and old_places is not None:
        features = grown_features(old, features, places[old_places])
    return Items(vocabulary, places, features, start)


def _text_dim(settings: NeuralSettings) -> int:
    return settings.embedding_size if settings.init == "text" else TEXT_DIM


def cold_vectors(settings: NeuralSettings, items: Items, learnt: Floats, met: Ints) -> Floats:
    """Vectors of all items once those that sessions hold are learnt.

    A cold item's is that of its text. Where training was free to take the others away from their texts', it is turned
    and stretched as they were on average.

    Args:
        settings: Say how free training was.
        items: ``M`` items with their `Items.start`.
        learnt: Trained vectors of the ``N`` items that sessions hold, shape ``(N, D)``.
        met: Those of the ``N`` that training has met.

    Returns:
        Shape ``(M, D)``.

    Raises:
        ValueError: the items have no start.
    """
    if items.start is None:
        raise ValueError("cold items start from texts; these have none")
    vectors = items.start.copy()
    if not settings.freeze_items and settings.delta_norm is None and len(met):
        vectors = align(vectors, items.places[met], learnt[met])
        vectors *= np.linalg.norm(learnt[met], axis=1).mean() / settings.init_scale
    vectors[items.places] = learnt
    return vectors
