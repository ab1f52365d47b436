"""An editor as arrays, and made of them again: what edit models and title selectors keep in their files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import checked
from llmrec.evaluation.bleu import ORDERS
from llmrec.titles.editing.counts import Counts
from llmrec.titles.editing.editor import Editor, EditSettings
from llmrec.titles.editing.network import Network
from llmrec.titles.editing.phrases import Phrases
from llmrec.titles.editing.pieces import FEATURES

__all__ = ["editor_arrays", "editor_of"]


def editor_arrays(editor: Editor) -> dict[str, NDArray[Any]]:
    """Its arrays by name, for a file."""
    arrays = {**editor.counts.arrays(), "prices": np.append(editor.found, editor.cost)}
    arrays |= {} if editor.phrases is None else editor.phrases.arrays()
    for number, network in enumerate(editor.networks):
        arrays |= {f"network.{number}.{name}": array for name, array in network.arrays().items()}
    return arrays


def editor_of(
    arrays: Mapping[str, NDArray[Any]],
    settings: EditSettings,
    phrases: Sequence[str] | None = None,
    estimate: Mapping[str, Any] | None = None,
) -> Editor:
    """What `editor_arrays` gave.

    Raises:
        KeyError: an array is missing.
        ValueError: one is of another kind or shape.
    """
    prices = checked(arrays, "prices", "float64", (ORDERS + 1,), nan=True)  # a cost may be infinite
    if not np.isfinite(prices[:ORDERS]).all() or np.isnan(prices[ORDERS]):
        raise ValueError(f"prices are {prices.tolist()}")
    networks: list[Network] = []
    while not networks or f"network.{len(networks)}.centre" in arrays:
        networks.append(Network.from_arrays(arrays, f"network.{len(networks)}.", len(FEATURES)))
    known = None if phrases is None else Phrases.from_arrays(arrays, tuple(phrases))
    found, cost, counts = prices[:ORDERS], float(prices[ORDERS]), Counts.from_arrays(arrays)
    return Editor(settings, counts, known, tuple(networks), found, cost, dict(estimate or {}))
