"""What all neural rankers share: training, going on from a trained one, ranking, and files."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Final, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmrec.arrays import Floats, Ints, checked
from llmrec.errors import ConfigError
from llmrec.rankers.base import Ranker, Seen
from llmrec.rankers.catalogue import build_catalogue
from llmrec.rankers.neural.item_scores import pair_products, rank_codes, validation_mrr
from llmrec.rankers.neural.items import Items, cold_vectors, read_items
from llmrec.rankers.neural.models.base import SessionModel
from llmrec.rankers.neural.prefixes import build_prefixes
from llmrec.rankers.neural.scorer import Scorer
from llmrec.rankers.neural.settings import NeuralSettings
from llmrec.rankers.neural.train import train_scorer
from llmrec.rankers.sessions import CodedSessions, TrainingSessions
from llmrec.rankers.vectors.initialise import align, svd_vectors
from llmrec.rankers.vectors.item_text import rows_of
from llmrec.rankers.vectors.streaming import Shelves

__all__ = ["NeuralRanker", "hold_out", "item_prior"]

Features = Mapping[str, NDArray[Any]]
Held = tuple[CodedSessions, Ints]  # sessions to validate on, and the item that followed each
SettingsT = TypeVar("SettingsT", bound=NeuralSettings)

_FEATURES: Final = {"text": "float32", "attributes": "int32"}
SMOOTHING: Final = 0.1
ROW_UPDATES_FROM: Final = 200_000  # items; there Adam over the whole table takes longer than all the rest of a step
VALIDATION_SESSIONS: Final = 2000  # most sessions that validate; more make an epoch slower and its score hardly surer


class NeuralRanker(Ranker[SettingsT]):
    """A session model trained to name the next item.

    Attributes:
        reads: What the model reads of products beside their ids: ``text``, ``attributes``.
        scorer: Model, readout and temperature; there once it is fitted.
        history: What training reported after each epoch.
    """

    product_columns: ClassVar[tuple[str, ...]] = ("id", "locale", "title")
    reads: ClassVar[tuple[str, ...]] = ()
    goes_on: ClassVar[bool] = True
    scorer: Scorer
    history: list[dict[str, float]]
    _prior: Floats | None
    _items: Tensor  # in the order of the shelves, where there are some
    _shelves: Shelves | None
    _features: Features

    @abstractmethod
    def _build(self, num_items: int, features: Features) -> SessionModel:
        """The session model for ``num_items`` items, with random weights."""

    def _go_on(self, grown: Self, training: TrainingSessions, products: Any, folder: Path | None, resume: bool) -> Self:
        """Trained item vectors stay, new items get vectors of their own.

        New vectors start as `fit`'s do; factorised ones and those of texts are turned so that items known to both agree
        with training. ``delta_norm`` counts from here.
        """
        grown.catalogue, places = self.catalogue.grown(build_catalogue(training, products))
        learn, held = grown._hold_out(grown.catalogue.encode_training(training))
        items = grown._read_items(products, self._features, places)
        grown._start(learn, items)
        grown._take_over(self, places, learn)
        grown._train(learn, held, folder, resume)
        grown._add_cold_items(items, learn, products)
        return grown

    def pair_scores(self, sessions: CodedSessions, rows: Ints, codes: Ints) -> Floats:
        """Scores of some (session, item) pairs as `rank` orders them, and their part without the prior, ``(2, C)``.

        Args:
            sessions: Sessions of known items alone.
            rows: Shape ``(C,)``; session of each pair.
            codes: Shape ``(C,)``; its item.
        """
        places = codes if self._shelves is None else self._shelves.places[codes]
        products = pair_products(self.scorer, self._items, sessions, rows, places)
        prior = 0 if self._prior is None else self._prior[sessions.locales[rows], codes]
        return np.stack([products + prior, products])

    def untrained(self) -> Self:
        """Give the ranker, whose catalogue is set, its random first weights; what speed and memory are measured on."""
        self._features, self._prior = {}, None
        self.scorer = self._scorer(len(self.catalogue.vocabulary))
        self._ready()
        return self

    def _fit(self, training: CodedSessions, products: Any, folder: Path | None, resume: bool) -> None:
        learn, held = self._hold_out(training)  # before anything is counted: the first vectors know no held item either
        items = self._read_items(products)
        self._start(learn, items)
        self._train(learn, held, folder, resume)
        self._add_cold_items(items, learn, products)

    def _read_items(self, products: Any, old: Features | None = None, old_places: Ints | None = None) -> Items:
        return read_items(self.settings, self.reads, self.catalogue, products, old, old_places)

    def _hold_out(self, training: CodedSessions) -> tuple[CodedSessions, Held | None]:
        settings = self.settings
        return hold_out(training, settings.validation_share, VALIDATION_SESSIONS, settings.seed)

    def _start(self, training: CodedSessions, items: Items) -> None:
        """Build the scorer with its first weights."""
        self._features = rows_of(items.features, items.places)
        settings, number = self.settings, len(self.catalogue.vocabulary)
        torch.manual_seed(settings.seed)
        self.scorer = self._scorer(number)
        vectors = None if items.start is None else items.start[items.places]
        if settings.init == "svd":
            vectors = settings.init_scale * svd_vectors(
                training,
                number,
                settings.embedding_size,
                window=settings.window,
                decay=settings.pair_decay,
                local=settings.svd_local,
                seed=settings.seed,
            )
        if vectors is not None:
            with torch.no_grad():
                self.scorer.model.item_embedding.weight[1:] = torch.from_numpy(vectors)

    def _scorer(self, num_items: int) -> Scorer:
        settings = self.settings
        by_itself = settings.loss == "sampled" and num_items >= ROW_UPDATES_FROM
        return Scorer(
            self._build(num_items, self._features),
            max_length=settings.history,
            readout=settings.readout,
            unit_length=settings.unit_length,
            scale=settings.scale,
            learn_scale=settings.unit_length and settings.learn_scale,
            item_dropout=settings.item_dropout,
            row_updates=by_itself if settings.row_updates is None else settings.row_updates,
        )

    def _take_over(self, trained: NeuralRanker[SettingsT], places: Ints, training: CodedSessions) -> None:
        """Give this ranker what another has learnt; ``places`` are the new codes of the other's items."""
        old, state = trained.scorer.state_dict(), self.scorer.state_dict()
        table = next(name for name in state if name.endswith("item_embedding.weight"))
        learnt = old[table][1:].cpu().numpy()
        vectors = self.scorer.model.item_embedding.weight.detach()[1:].cpu().numpy().copy()
        if learnt.shape[1] != vectors.shape[1]:
            raise ConfigError(f"cannot go on: embedding_size was {learnt.shape[1]}, now {vectors.shape[1]}")
        for name, value in old.items():
            if name != table and (name not in state or state[name].shape != value.shape):
                raise ConfigError(
                    f"cannot go on from a '{self.name}' whose {name} is {tuple(value.shape)}; keep its settings"
                )
            state[name] = value.cpu()
        met = np.isin(places, training.items)
        if self.settings.init != "normal" and met.any():
            vectors = align(vectors, places[met], learnt[met])
            vectors *= np.linalg.norm(learnt, axis=1).mean() / np.linalg.norm(vectors, axis=1).mean()
        vectors[places] = learnt
        state[table] = torch.cat([torch.zeros(1, vectors.shape[1]), torch.from_numpy(vectors)])
        self.scorer.load_state_dict(state)

    def _add_cold_items(self, items: Items, learn: CodedSessions, products: Any) -> None:
        """Let the trained ranker rank items that no session held: nothing has learnt to rank them low."""
        number, places = len(items.vocabulary), items.places
        if number == len(places) or items.start is None:
            return
        trained = self.scorer
        learnt = trained.model.item_embedding.weight.detach()[1:]
        vectors = cold_vectors(self.settings, items, learnt.cpu().numpy(), np.unique(learn.items))
        self.catalogue = self.catalogue.widened(items.vocabulary, products)
        self._features = items.features
        self.scorer = self._scorer(number).to(learnt.device)
        state = trained.state_dict()
        table = next(name for name in state if name.endswith("item_embedding.weight"))
        state[table] = torch.cat([torch.zeros(1, vectors.shape[1]), torch.from_numpy(vectors)])
        self.scorer.load_state_dict(state)
        self._set_prior(replace(learn, values=places[learn.items]))
        self._ready()

    def _set_prior(self, learn: CodedSessions) -> None:
        settings, catalogue = self.settings, self.catalogue
        self._prior = item_prior(
            learn,
            len(catalogue.locales),
            len(catalogue.vocabulary),
            settings.locale_weight,
            settings.popularity_weight,
        )

    def _train(self, learn: CodedSessions, held: Held | None, folder: Path | None, resume: bool) -> None:
        settings = self.settings
        prefixes = build_prefixes(learn, settings.history, settings.every_prefix)
        self._set_prior(learn)
        epochs = itertools.count(1)

        def validate(scorer: Scorer, held: Held) -> float:
            score = validation_mrr(scorer, *held, self.catalogue, self._prior)
            if self.watch is not None:
                self.watch(next(epochs), score)
            return score

        if len(prefixes):
            self.history = train_scorer(
                self.scorer,
                prefixes,
                settings,
                validate=None if held is None else lambda scorer: validate(scorer, held),
                folder=folder,
                resume=resume,
            )
        self._ready()

    def _ready(self) -> None:
        """Keep the item vectors as sessions are compared with them."""
        self.scorer.eval()
        sold = self.catalogue.sold
        self._shelves = None if sold is None else Shelves.of(sold)
        with torch.no_grad():
            self._items = self.scorer.item_vectors()[1:].float()
            if self._shelves is not None:
                self._items = self._items[torch.from_numpy(self._shelves.order).to(self._items.device)]

    def _rank_coded(self, sessions: CodedSessions, k: int, seen: Seen) -> tuple[Ints, Floats]:
        return rank_codes(self.scorer, self._items, sessions, k, seen, self.catalogue, self._prior, self._shelves)

    def _state(self) -> Mapping[str, NDArray[Any]]:
        weights = {f"weights.{name}": value.cpu().numpy() for name, value in self.scorer.state_dict().items()}
        prior = {} if self._prior is None else {"prior": self._prior}
        return {**weights, **prior, **{f"features.{name}": value for name, value in self._features.items()}}

    def _restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        number, shape = (
            len(self.catalogue.vocabulary),
            (len(self.catalogue.locales) + 1, len(self.catalogue.vocabulary)),
        )
        _refuse_outsized(self.settings, {name: one for name, one in arrays.items() if name.startswith("weights.")})
        self._features = {
            name: checked(arrays, f"features.{name}", _FEATURES[name], (number + 1, None)) for name in self.reads
        }
        self._prior = checked(arrays, "prior", "float32", shape) if "prior" in arrays else None
        self.scorer = self._scorer(number)
        weights = {
            name: checked(arrays, f"weights.{name}", str(value.dtype).removeprefix("torch."), tuple(value.shape))
            for name, value in self.scorer.state_dict().items()
        }
        learnt = {name: torch.from_numpy(value) for name, value in weights.items()}
        self.scorer.load_state_dict(learnt, assign=True)  # no copies: the arrays may be mapped
        self.scorer.to("cuda" if torch.cuda.is_available() else "cpu")
        self._ready()


def _refuse_outsized(settings: NeuralSettings, weights: Mapping[str, NDArray[Any]]) -> None:
    """Refuse settings of a larger model than its weights are of, before one is built and takes the memory."""
    widest = max((one.size for one in weights.values()), default=0)
    limits = {"embedding_size": widest, "hidden_size": widest, "inner_size": widest}
    limits |= {"n_layers": len(weights), "num_layers": len(weights)}
    for name, most in limits.items():
        if getattr(settings, name, 0) > most:
            raise ValueError(f"{name} {getattr(settings, name)}, which its weights are too few for")


def item_prior(
    training: CodedSessions, num_locales: int, num_items: int, locale_weight: float, popularity_weight: float
) -> Floats | None:
    """What is added to the scores of a locale's sessions before any session is looked at.

    An item's prior in a locale is ``locale_weight`` times the log of the locale's share of its occurrences, `SMOOTHING`
    of one in every locale added, plus ``popularity_weight`` times the log of one more than its occurrences. A locale
    without training sessions, and the last row, which stands for unknown ones, have the second term alone.

    Returns:
        Shape ``(num_locales + 1, num_items)``; None where both weights are 0.
    """
    if not (locale_weight or popularity_weight):
        return None
    counts = training.counts(num_locales, num_items)
    total = counts.sum(axis=0)
    share = np.log((counts + SMOOTHING) / (total + num_locales * SMOOTHING))
    share[counts.sum(axis=1) == 0] = 0
    prior: Floats = (locale_weight * share + popularity_weight * np.log1p(total)).astype(np.float32)
    return prior


def hold_out(training: CodedSessions, share: float, most: int, seed: int) -> tuple[CodedSessions, Held | None]:
    """Take the last item of some sessions away, to validate on; labelled sessions first, where there are any.

    Args:
        training: Sessions to learn from.
        share: Part of the sessions with two or more items that validates.
        most: Most sessions that validate.
        seed: Seed of the draw.

    Returns:
        Sessions to learn from, the held ones cut by their last item, and the held sessions with their targets; None
        where ``share`` leaves none.
    """
    fit = training.lengths >= 2
    if training.labelled is not None and (fit & training.labelled).any():
        fit &= training.labelled
    candidates = np.flatnonzero(fit)
    number = min(most, int(share * len(candidates)))
    if not number:
        return training, None
    held = np.sort(np.random.default_rng([seed, 1]).choice(candidates, number, replace=False))
    parted = np.zeros(len(training), dtype=np.bool_)
    parted[held] = True
    cut = training.without_last(parted)
    return cut, (cut.take(held), training.ends[held])
