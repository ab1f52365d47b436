"""A language model's score of the first candidates' titles, as a feature of `fusion`."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmrec.arrays import Floats, Ints, checked
from llmrec.artefact import Kind, Stamp
from llmrec.console import notice
from llmrec.errors import ConfigError, ModelError
from llmrec.ragged import offsets_of
from llmrec.rankers.catalogue import Catalogue
from llmrec.rankers.fusion.candidates import Candidates as Proposed
from llmrec.rankers.fusion.settings import FusionSettings
from llmrec.rankers.sessions import CodedSessions
from llmrec.reranking.candidates import Candidates
from llmrec.reranking.methods import asks_of, scores_of
from llmrec.reranking.rerank import Plan, kept_answers, plan_of
from llmrec.reranking.settings import RerankSettings
from llmrec.settings import resolve
from llmrec.text.prompts import one_line
from llmrec.titles.lab.cache import AnswerCache
from llmrec.titles.models.model import model_digest
from llmrec.vocabulary import UNKNOWN
from llmrec.within import order_within

__all__ = ["TitleScorer"]

_DECIMALS: Final = 3  # of a score: a batch adds up in another order than a session alone


class _Record(Stamp, frozen=True, kw_only=True):
    """What it asks, and what the model's weights were when the trees learnt from it."""

    settings: dict[str, Any]
    weights: str
    locales: tuple[str, ...]


SCORER: Final = Kind(
    what="title scorer",
    record="scorer.json",
    holds=_Record,
    make="fit the fusion again with --save",
    again="fit the fusion again with --save",
)


@dataclass(frozen=True, eq=False)
class TitleScorer:
    """Asks a language model for the titles of a session's best candidates; it learns nothing, so no label can leak.

    Attributes:
        settings: Model, method, K and how many candidates.
        weights: Names the model's weights.
        locales: Names of the locales.
        places: Keys of the ``T`` titled products, ascending: place of the locale times ``num_items`` and the item.
        titles: Their titles.
        num_items: Items of the catalogue.
        cache: File that keeps the answers; None where they are not kept.
    """

    settings: RerankSettings
    weights: str
    locales: tuple[str, ...]
    places: Ints
    titles: Sequence[str]
    num_items: int
    cache: str | None = None
    _lock: Any = field(default_factory=threading.Lock)  # threads rank at once, and a model reads one batch at a time
    _opened: list[tuple[Any, int]] = field(default_factory=list)  # the loaded model and K, once it has been asked

    @classmethod
    def of(cls, settings: FusionSettings, catalogue: Catalogue, products: Any) -> Self:
        """A scorer for a catalogue.

        Args:
            settings: Those that begin with ``llm_``.
            catalogue: Items and locales.
            products: Arrow table of ``id``, ``locale`` and ``title``.

        Raises:
            ConfigError: no model is named, or its prompt reads more than titles.
            ModelError: it cannot be loaded.
        """
        if settings.llm_model is None:
            raise ConfigError("fusion: the scorer llm needs a language model; name it: llm_model=FILE.gguf, a folder …")
        asked = _asked(settings)
        _titles_alone(plan_of(asked))
        places, titles = _titled(products, catalogue)
        number = len(catalogue.vocabulary)
        made = cls(asked, model_digest(asked.model), catalogue.locales, places, titles, number, settings.llm_cache)
        made._reader()  # what is wrong with the model is told before anything is learnt
        return made

    def foretell(self, sessions: CodedSessions, count: int) -> None:
        """Time some sessions with random candidates, and say how long ``count`` sessions will take."""
        codes = np.unique(self.places % self.num_items)
        codes = np.sort(np.random.default_rng(0).permutation(codes)[: self.settings.top])
        if not len(codes) or not len(sessions):
            return
        owners, every = np.repeat(np.arange(len(sessions)), len(codes)), np.tile(codes, len(sessions))
        nothing = np.zeros((len(every), 0), dtype=np.float32)
        found = Proposed(owners, every, nothing, nothing, np.zeros(len(every), dtype=np.float32))
        started = time.perf_counter()
        self.columns(sessions, found)
        each = (time.perf_counter() - started) / len(sessions)
        notice(
            f"fusion: llm reads {self.settings.top} titles of each of {count:,} sessions, about {each:.2g} s each: "
            f"{max(1, round(each * count / 60)):,} min; fewer by llm_top and max_sessions"
        )

    def columns(self, sessions: CodedSessions, found: Proposed) -> Mapping[str, Floats]:
        """The score of each session's best candidates by their ranks at the sources; NaN elsewhere."""
        values = np.full(len(found), np.nan, dtype=np.float32)
        order, place = order_within(found.rows, found.prior)
        first = np.sort(order[place < self.settings.top])
        keys = sessions.locales[found.rows[first]] * self.num_items + found.codes[first]
        titles = self._lines(keys)
        first, titles = first[titles != UNKNOWN], titles[titles != UNKNOWN]
        rows = found.rows[first]
        wanted = np.unique(rows)
        if not len(wanted):
            return {"score": values}
        with self._lock, kept_answers(self.cache) as cache:
            reader, k = self._reader()
            for row in wanted.tolist():
                mine = rows == row
                products = self._products(sessions, row, k)
                if products:
                    asked = Candidates(
                        self.locales[sessions.locales[row]],
                        products,
                        range(int(mine.sum())),
                        [one_line(self.titles[at]) for at in titles[mine]],
                    )
                    values[first[mine]] = np.round(self._scored(reader, asked, cache), _DECIMALS)
        return {"score": values}

    def save(self, folder: Path) -> None:
        """Write titles and settings; the model stays where it is.

        Raises:
            DiskError: the place cannot be written.
        """
        texts = [title.encode() for title in self.titles]
        arrays: dict[str, NDArray[Any]] = {
            "places": self.places,
            "lengths": np.array([len(text) for text in texts], dtype=np.int64),
            "text": np.frombuffer(b"".join(texts), dtype=np.uint8),
            "num_items": np.array([self.num_items]),
        }
        record = {"settings": vars(self.settings), "weights": self.weights, "locales": self.locales}
        SCORER.write(folder, record, arrays)

    @classmethod
    def load(cls, folder: Path, catalogue: Catalogue) -> Self:
        """Read what `save` wrote; the model is loaded when it is asked.

        Raises:
            ModelError: it is damaged, or of another catalogue.
        """
        record = SCORER.read(folder)
        arrays = SCORER.read_arrays(folder, record)
        with SCORER.understood(folder):
            number = int(checked(arrays, "num_items", "int64", (1,))[0])
            if record.locales != catalogue.locales or number != len(catalogue.vocabulary):
                raise ValueError("of another catalogue")
            lengths = checked(arrays, "lengths", "int64", (None,), least=0)
            places = checked(arrays, "places", "int64", (len(lengths),), least=0, rising="strictly")
            text = checked(arrays, "text", "uint8", (int(lengths.sum()),)).tobytes()
            ends = offsets_of(lengths).tolist()
            titles = [text[start:end].decode() for start, end in itertools.pairwise(ends)]
            settings = resolve(RerankSettings, record.settings, origin=folder)
        return cls(settings, record.weights, record.locales, places, titles, number)

    def _lines(self, keys: Ints) -> Ints:
        """Places of products among the titled ones; `UNKNOWN` for those without a title there."""
        at = np.minimum(np.searchsorted(self.places, keys), len(self.places) - 1)
        return np.where(self.places[at] == keys, at, UNKNOWN) if len(self.places) else np.full(len(keys), UNKNOWN)

    def _products(self, sessions: CodedSessions, row: int, k: int) -> list[dict[str, str]]:
        items = sessions.items[sessions.offsets[row] : sessions.offsets[row + 1]]
        lines = self._lines(int(sessions.locales[row]) * self.num_items + items[items != UNKNOWN])
        return [{"title": self.titles[at]} for at in lines[lines != UNKNOWN][-k:].tolist()]

    def _reader(self) -> tuple[Any, int]:
        """The loaded model and K, from the first time on."""
        if not self._opened:
            from llmrec.reranking.by_model import open_reader

            if model_digest(self.settings.model) != self.weights:
                raise ModelError(
                    f"{self.settings.model}: not the language model that the trees were fitted with; put that one "
                    "there, or fit the fusion again"
                )
            plan = _titles_alone(plan_of(self.settings))
            self._opened.append((open_reader(self.settings, plan.prompt, plan.max_source_tokens), plan.k))
        return self._opened[0]

    def _scored(self, reader: Any, asked: Candidates, cache: AnswerCache) -> list[float]:
        from llmrec.reranking.by_model import answer_all

        said, _ = answer_all(reader, asks_of(self.settings.method, asked, orders=(), letters=True), cache)
        return scores_of(self.settings.method, asked, said, ())


def _asked(settings: FusionSettings) -> RerankSettings:
    named = str(settings.llm_model)
    model = str(Path(named).resolve()) if Path(named).exists() else named
    told = {"model": model, "method": settings.llm_method, "top": settings.llm_top, "k": settings.llm_k}
    return resolve(RerankSettings, {**told, "precision": settings.llm_precision})


def _titles_alone(plan: Plan) -> Plan:
    """A plan whose prompt needs no more of products than the saved titles."""
    if plan.prompt.fields != ("title",):
        read = ", ".join(plan.prompt.fields)
        raise ConfigError(f"fusion: llm reads titles alone; the prompt {plan.prompt.name} reads {read}")
    return plan


def _titled(products: Any, catalogue: Catalogue) -> tuple[Ints, list[str]]:
    """Keys of the products with a title, ascending, and their titles."""
    titles = pc.fill_null(products["title"].cast(pa.string()), "")
    locales = catalogue.encode_locales(products["locale"].cast(pa.string()))
    codes = catalogue.vocabulary.encode(pa.chunked_array(products["id"].cast(pa.string())).combine_chunks())
    there = pc.not_equal(pc.utf8_trim_whitespace(titles), "").to_numpy()
    rows = np.flatnonzero(there & (codes != UNKNOWN) & (locales < len(catalogue.locales)))
    keys, first = np.unique(locales[rows] * len(catalogue.vocabulary) + codes[rows], return_index=True)
    return keys, titles.take(pa.array(rows[first])).to_pylist()
