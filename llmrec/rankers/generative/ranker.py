"""TIGER: the next item's semantic id, written by an encoder-decoder (Rajput et al., NeurIPS 2023)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import numpy as np
import torch
from numpy.typing import NDArray

from llmrec.arrays import Bools, Floats, Ints, checked
from llmrec.errors import ConfigError
from llmrec.evaluation.metrics import MAX_RANKED
from llmrec.rankers.base import Ranker, Seen
from llmrec.rankers.generative.beams import PrefixTable, beam_search
from llmrec.rankers.generative.model import build_model, decoder_of, own_weights
from llmrec.rankers.generative.semantic_ids import level_sizes, semantic_ids, tokens_of
from llmrec.rankers.generative.settings import TigerSettings
from llmrec.rankers.generative.train_tiger import train_tiger
from llmrec.rankers.neural.base import VALIDATION_SESSIONS, hold_out
from llmrec.rankers.neural.prefixes import Prefixes, build_prefixes, padded_rows
from llmrec.rankers.sessions import CodedSessions, TrainingSessions
from llmrec.rankers.vectors.item_text import text_features
from llmrec.vocabulary import UNKNOWN
from llmrec.within import top_k_candidates

__all__ = ["Tiger", "TigerSettings"]

_TOGETHER: Final = 32  # sessions whose beams are held at once
_WATCHED: Final = 512  # sessions that a trial of a search is judged by after each epoch


class Tiger(Ranker[TigerSettings]):
    """Reads the codes of a session's items and writes those of the next, kept to items that there are.

    An item's codes are a residual k-means of its text's vector, and one that tells items of the same codes apart. A
    product that no session holds has codes too, and can be written.
    """

    name = "tiger"
    settings_class = TigerSettings
    product_columns: ClassVar[tuple[str, ...]] = ("id", "locale", "title")
    needs_products = True
    ranks_cold = True
    codes: NDArray[np.int32]  # (N, L)
    model: Any
    history: list[dict[str, float]]
    _tokens: Ints  # (N + 1, L); the first row is of no item
    _table: PrefixTable
    _alive: dict[int, list[Bools]]

    def _fit(self, training: CodedSessions, products: Any, folder: Path | None, resume: bool) -> None:
        settings, vocabulary = self.settings, self.catalogue.vocabulary
        vectors = text_features(products, vocabulary, settings.text_dim, settings.text)["text"][1:]
        self.codes = semantic_ids(np.asarray(vectors), settings.levels, settings.codes, settings.seed)
        self._ready()
        torch.manual_seed(settings.seed)
        self.model = build_model(settings, self._num_tokens)
        learn, held = hold_out(training, settings.validation_share, VALIDATION_SESSIONS, settings.seed)
        prefixes = build_prefixes(learn, settings.history, settings.every_prefix)
        self.history = []
        if len(prefixes):
            validate = None if held is None else _held_prefixes(*held, settings.history)
            told = None if held is None or self.watch is None else self._watched(*held)
            self.history = train_tiger(self.model, prefixes, self._tokens, settings, validate, folder, resume, told)
        self.model.eval()

    def _watched(self, sessions: CodedSessions, targets: Ints) -> Callable[[], None]:
        """Tells `watch` the MRR@100 of the first held sessions: beams take far longer than the likelihood."""
        some, wanted, epochs = sessions.slice(0, min(_WATCHED, len(sessions))), targets[:_WATCHED], itertools.count(1)

        def told() -> None:
            ranked, _ = self.propose(some, MAX_RANKED)
            _, places = np.nonzero(ranked == wanted[:, None])
            if self.watch is not None:
                self.watch(next(epochs), float((1 / (places + 1)).sum() / len(wanted)))

        return told

    def _ready(self) -> None:
        self._tokens = tokens_of(self.codes)
        self._table = PrefixTable.of(self._tokens[1:])
        self._alive = {}

    @property
    def _num_tokens(self) -> int:
        return int(level_sizes(self.codes).sum()) + 1

    def _living(self, locale: int) -> list[Bools]:
        """Prefixes of items that a locale sells; made when asked for."""
        if locale not in self._alive:
            sold = self.catalogue.sold
            everything = np.ones(len(self.codes), dtype=np.bool_)
            self._alive[locale] = self._table.alive(everything if sold is None else sold[locale])
        return self._alive[locale]

    def _go_on(self, grown: Self, training: TrainingSessions, products: Any, folder: Path | None, resume: bool) -> Self:
        del grown, training, products, folder, resume
        raise ConfigError(f"{self.name}: codes are of the items it was trained with; give all files to --train")

    def _rank_coded(self, sessions: CodedSessions, k: int, seen: Seen) -> tuple[Ints, Floats]:
        recent = sessions.last(self.settings.history)
        ranked = np.full((len(sessions), k), UNKNOWN)
        scores = np.full((len(sessions), k), -np.inf, dtype=np.float32)
        filled = np.flatnonzero(recent.lengths)
        filled = filled[np.argsort(recent.lengths[filled], kind="stable")]
        # as many for every session, so that a batch equals one by one; those to drop are among the most recent
        number = max(self.settings.beams, k + (self.settings.history if seen == "drop" else 0))
        for start in range(0, len(filled), _TOGETHER):
            some = filled[start : start + _TOGETHER]
            read = padded_rows(recent.items, recent.offsets[:-1][some], recent.lengths[some])
            locales, kinds = np.unique(sessions.locales[some], return_inverse=True)
            with torch.inference_mode():
                decode = decoder_of(self.model, self._tokens[read].reshape(len(some), -1))
                alive = [self._living(int(locale)) for locale in locales]
                rows, items, likely = beam_search(self._table, alive, kinds, number, decode)
            part = sessions.take(some)
            allowed = self._allowed(rows, items, part, seen)
            found = top_k_candidates(rows[allowed], items[allowed], likely[allowed], len(some), k)
            ranked[some], scores[some] = found
        return ranked, scores

    def _state(self) -> Mapping[str, NDArray[Any]]:
        weights = {f"weights.{name}": value.cpu().numpy() for name, value in own_weights(self.model).items()}
        return {"codes": self.codes, **weights}

    def _restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        settings = self.settings
        shape = (len(self.catalogue.vocabulary), settings.levels + 1)
        self.codes = checked(arrays, "codes", "int32", shape, least=0, most=max(settings.codes, shape[0]) - 1)
        if len(np.unique(self.codes, axis=0)) < len(self.codes):
            raise ValueError("two items have the same codes")
        self._ready()
        held = {name.removeprefix("weights."): one for name, one in arrays.items() if name.startswith("weights.")}
        if settings.num_layers > len(held) or max(settings.embedding_size, settings.inner_size) > max(
            (one.size for one in held.values()), default=0
        ):
            raise ValueError("its weights are too few for the settings")
        self.model = build_model(settings, self._num_tokens)
        weights = {
            name: torch.from_numpy(checked(arrays, f"weights.{name}", "float32", tuple(value.shape)).copy())
            for name, value in own_weights(self.model).items()
        }
        self.model.load_state_dict(weights, strict=False)
        self.model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        self.history = []


def _held_prefixes(sessions: CodedSessions, targets: Ints, history: int) -> Prefixes:
    """Examples of sessions and the item that followed each."""
    kept = sessions.last(history)
    lengths = kept.lengths + 1
    starts = np.cumsum(lengths) - lengths
    items = np.empty(int(lengths.sum()), dtype=np.int64)
    ends = starts + lengths - 1
    inside = np.ones(len(items), dtype=np.bool_)
    inside[ends] = False
    items[inside], items[ends] = kept.items, targets
    some = kept.lengths > 0
    return Prefixes(items, starts[some], ends[some])
