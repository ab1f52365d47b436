"""The contract of everything that orders items: sessions in, at most k distinct items out, best first."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, Literal, Self, TypeVar

import pyarrow as pa
from numpy.typing import NDArray

from llmrec.api.public import public
from llmrec.arrays import Floats, Ints
from llmrec.console import notice_once, track
from llmrec.errors import ConfigError, DataError, ModelError
from llmrec.hub.methods import OnHub
from llmrec.ragged import list_array, offsets_of
from llmrec.rankers.catalogue import Catalogue, catalogue_and_codes
from llmrec.rankers.learnt_from import Batch, LearntFrom, Remembers, Saved
from llmrec.rankers.ranker_record import FORMER, RANKER, RankerRecord, learnt_arrays, put_arrays
from llmrec.rankers.rankings import CodedLists, Rankings
from llmrec.rankers.session_data import SessionData, training_sessions
from llmrec.rankers.session_data import sessions as sessions_of
from llmrec.rankers.sessions import CodedSessions, TrainingSessions
from llmrec.rankers.settings import NoSettings, Seen, check_k
from llmrec.settings import resolve
from llmrec.vocabulary import UNKNOWN

__all__ = ["NoSettings", "Ranker", "Seen"]

SettingsT = TypeVar("SettingsT")

CHUNK: Final = 1024  # sessions ranked at once, so that memory does not grow with their number


class Ranker(OnHub, Remembers, CodedLists, ABC, Generic[SettingsT]):
    """Session → at most k distinct items, best first.

    A subclass says how it learns (`_fit`) and how it ranks codes (`_rank_coded`), and where it is made of more than the
    arrays that `_fit` leaves on it, how it is stored (`_state`, `_restore`). Ids, locales, short lists, chunks and
    files are dealt with here, the same for all.

    Attributes:
        name: What the command line calls it.
        settings_class: Dataclass of its settings.
        product_columns: Columns of the products that it reads.
        fills_up: Whether short lists are filled with the locale's most frequent items.
        needs_products: Whether it cannot be fitted without products.
        ranks_cold: Whether its catalogue has products that no training session holds.
        goes_on: Whether it goes on from what it learnt; else it keeps its sessions, and later ones join them.
        fades: Whether sessions can count less than once.
        keeps: What later sessions leave as it was until it is made anew; "" for nothing.
        settings: Its settings.
        catalogue: Items and locales; there once it is fitted.
        learnt: What a run says of its training: ``transductive``, and ``overlap`` that was allowed.
        watch: Called by a ranker that trains in epochs after each, with its number from 1 and MRR@100 on its own
            validation part; what it raises ends the training.

    Example:
        >>> import numpy as np
        >>> class Frequent(Ranker):
        ...     name = "frequent"
        ...
        ...     def _fit(self, training, products, folder, resume):
        ...         self.counts = np.bincount(training.items, minlength=len(self.catalogue.vocabulary))
        ...
        ...     def _rank_coded(self, sessions, k, seen):
        ...         return self._best_of(np.tile(self.counts, (len(sessions), 1)), sessions, k, seen)
        >>> Frequent(NoSettings()).fit([["tea", "cup"], ["tea", "pot"]]).rank([["cup"]], k=2).to_list()
        [['tea', 'pot']]
    """

    name: ClassVar[str]
    settings_class: ClassVar[type[Any]] = NoSettings
    product_columns: ClassVar[tuple[str, ...]] = ("id", "locale")
    needs_products: ClassVar[bool] = False
    ranks_cold: ClassVar[bool] = False
    goes_on: ClassVar[bool] = False
    fades: ClassVar[bool] = False
    keeps: ClassVar[Literal["", "trees", "vectors"]] = ""
    catalogue: Catalogue
    watch: Callable[[int, float], None] | None = None

    def __init__(self, settings: SettingsT) -> None:
        self.settings = settings
        self.learnt: dict[str, Any] = {}

    @public
    def fit(
        self, training: SessionData, products: Any = None, *, folder: Path | None = None, resume: bool = False
    ) -> Self:
        """Learn from sessions.

        Args:
            training: Sessions to learn from: `TrainingSessions`, or what `llmrec.sessions` takes.
            products: Arrow table with `product_columns`, one row for each ``(locale, id)``. With it a session is only
                offered what its locale sells. None: no filter, and no text or attributes for rankers that read them.
            folder: Where a ranker that trains for long keeps checkpoints and logs; none are kept without it.
            resume: Go on from the newest checkpoint in ``folder``.

        Returns:
            The ranker itself. Fitting it again starts over.

        Raises:
            DataError: the sessions hold no item, or are nothing that `llmrec.sessions` takes.
        """
        training = training_sessions(training)
        self.catalogue, coded = catalogue_and_codes(training, products, cold=self.ranks_cold)
        if not len(coded.items):
            raise DataError("the training sessions hold no item; nothing to learn from")
        vocabulary = self.catalogue.vocabulary
        self._fit(coded, products, folder, resume)
        self.learnt_from = self._remembered([Batch.of(training)], coded, vocabulary)
        return self

    def fit_coded(self, catalogue: Catalogue, training: CodedSessions, products: Any = None) -> Self:
        """Learn from sessions that are codes of a catalogue already, which several rankers can then share.

        Args:
            catalogue: Items and locales; it may have items that no session holds.
            training: Sessions to learn from, as codes of it.
            products: As `fit`.
        """
        self.catalogue = catalogue
        self._fit(training, products, None, False)
        self.kept_counts = None  # nobody keeps the sessions, so none will join them
        return self

    def propose(self, sessions: CodedSessions, k: int, seen: Seen = "drop") -> tuple[Ints, Floats]:
        """Best items of sessions of known items alone, short lists left short.

        Args:
            sessions: ``S`` sessions, as codes of `catalogue`.
            k: Most items of a list.
            seen: As `rank`.

        Returns:
            Codes ``(S, k)``, -1 beyond the end of a list, and scores, ``-inf`` there.
        """
        return self._rank_coded(sessions, min(k, len(self.catalogue.vocabulary)), seen)

    def finetuned(
        self,
        settings: SettingsT,
        training: TrainingSessions,
        products: Any = None,
        *,
        folder: Path | None = None,
        resume: bool = False,
    ) -> Self:
        """A new ranker that goes on from this fitted one with other sessions (paper §4.1, pretraining and finetuning).

        Args:
            settings: Settings of the new ranker.
            training: Sessions to go on with; their new items and locales are added to this one's.
            products: As `fit`.
            folder: As `fit`.
            resume: As `fit`.

        Raises:
            ConfigError: this ranker counts, which knows no going on; or a setting would give a model another shape.
            DataError: as `fit`.
        """
        training = training_sessions(training)
        grown = self._go_on(type(self)(settings), training, products, folder, resume)
        grown.learnt_from = LearntFrom((Batch.of(training),), None)
        return grown

    @public
    def rank(
        self,
        sessions: SessionData,
        k: int = 100,
        seen: Seen | None = None,
        *,
        locale: str | Sequence[str] | None = None,
    ) -> Rankings:
        """Rank items for sessions, which need not have existed when the ranker was fitted.

        Args:
            sessions: ``S`` sessions, as anything that `llmrec.sessions` takes. Items that were never in training are
                passed over; a session without a known item gets its locale's most frequent ones.
            k: Most items of a list.
            seen: ``drop`` leaves a session's own items out of its list, ``keep`` does not; `seen_by_default` if not
                given.
            locale: Locale of all sessions, or of each, where ``sessions`` does not hold them.

        Returns:
            ``S`` lists of at most ``k`` distinct ids, best first, with their scores.

        Raises:
            ConfigError: ``k`` is below 1, or ``seen`` is neither drop nor keep.
            DataError: ``sessions`` is nothing that `llmrec.sessions` takes.

        Example:
            >>> import llmrec
            >>> ranker = llmrec.fit("covisit", [["tea", "cup"], ["tea", "cup", "pot"]])
            >>> ranker.rank([["tea"], ["cup"]], k=1).to_list()
            [['cup'], ['tea']]
        """
        check_k(k)
        seen = seen or self.seen_by_default
        sessions = sessions_of(sessions, locale, argument="sessions")
        known = {*self.catalogue.locales}
        if new := [name for name in sessions.locales.unique().to_pylist() if name not in known]:
            notice_once(f"sessions: no training session is of locale {', '.join(sorted(new))}; ranked by all locales'")
        ids, scores = [], []
        coded = self.catalogue.encode(sessions)
        starts = range(0, len(sessions), CHUNK)
        for start in track(starts, "rank", len(starts)):
            ranked, values = self._rank_filled(coded.slice(start, CHUNK), min(k, len(self.catalogue.vocabulary)), seen)
            offsets = offsets_of((ranked != UNKNOWN).sum(axis=1))
            ids.append(list_array(offsets, self.catalogue.vocabulary.decode(ranked[ranked != UNKNOWN])))
            scores.append(list_array(offsets, pa.array(values[ranked != UNKNOWN])))
        if not ids:
            ids, scores = [pa.array([], pa.list_(pa.string()))], [pa.array([], pa.list_(pa.float32()))]
        made_by = self.made_by(k, seen) | {"sessions_fingerprint": sessions.fingerprint}
        return Rankings(pa.concat_arrays(ids), pa.concat_arrays(scores), sessions.locales, made_by)

    def made_by(self, k: int, seen: Seen | None = None) -> dict[str, Any]:
        """What a run says of the ranker that made it.

        Args:
            k: Most items of a list.
            seen: As `rank`.
        """
        seen = seen or self.seen_by_default
        return {"ranker": self.name, "settings": self.plain_settings, "k": k, "seen": seen, **self.learnt}

    @property
    def seen_by_default(self) -> Seen:
        """What its lists do with a session's own items where nobody says it: ``drop``, if it has not learnt better."""
        return "drop"

    @property
    def plain_settings(self) -> dict[str, Any]:
        """The settings by name, as JSON holds them."""
        return {key: str(value) if isinstance(value, Path) else value for key, value in vars(self.settings).items()}

    @public
    def rank_session(
        self, items: Sequence[str], locale: str, k: int = 100, seen: Seen | None = None
    ) -> tuple[list[str], list[float]]:
        """Rank items for one session, as `rank` does; made for serving.

        Args:
            items: The session's ids in time order.
            locale: Its locale.
            k: Most items of the list.
            seen: As `rank`.

        Returns:
            At most ``k`` ids, best first, and their scores.

        Raises:
            ConfigError: as `rank`.

        Example:
            >>> import llmrec
            >>> ids, scores = llmrec.fit("global_popularity", [["tea", "cup"], ["tea"]]).rank_session(["cup"], "UK")
            >>> ids
            ['tea']
        """
        return self.rank_sessions([items], [locale], k, seen)[0]

    @public
    def rank_sessions(
        self, sessions: Sequence[Sequence[str]], locales: Sequence[str], k: int = 100, seen: Seen | None = None
    ) -> list[tuple[list[str], list[float]]]:
        """Rank items for ``S`` lists of ids and the locale of each, without progress, for a service; as `rank`.

        Returns:
            For each session at most ``k`` ids, best first, and their scores.

        Raises:
            ConfigError: as `rank`.
        """
        check_k(k)
        seen = seen or self.seen_by_default
        catalogue = self.catalogue
        coded = catalogue.encode_lists(sessions, locales)
        ranked, scores = self._rank_filled(coded, min(k, len(catalogue.vocabulary)), seen)
        return [
            (catalogue.vocabulary.decode(codes[:length]).to_pylist(), values[:length].tolist())
            for codes, values, length in zip(ranked, scores, (ranked != UNKNOWN).sum(axis=1).tolist(), strict=True)
        ]

    @public
    def save(self, folder: Path | str) -> None:
        """Write the fitted ranker: ``ranker.json`` and ``arrays.safetensors``, never a pickle.

        Args:
            folder: Where to; a ranker that is there is replaced in one step.

        Raises:
            ConfigError: ``folder`` holds something else.
            DiskError: the place cannot be written.
        """
        with self._saved(Path(folder)):
            pass

    @contextmanager
    def _saved(self, folder: Path) -> Iterator[Path]:
        """`save`, with a block that puts more into the folder that it is given."""
        record = {"ranker": self.name, "settings": self.plain_settings, "locales": list(self.catalogue.locales)}
        with RANKER.written(folder, record, {**self.catalogue.arrays(), **self._state()}) as temporary:
            self._put_sessions(temporary)
            yield temporary

    @classmethod
    @public
    def load(cls, folder: Path | str) -> Self:
        """Read a fitted ranker of this class; `llmrec.load_ranker` reads any.

        Args:
            folder: What `save` wrote.

        Raises:
            ModelError: nothing of this kind is there, or it is damaged.
        """
        folder = Path(folder)
        record = RANKER.read(folder)
        if (held := FORMER.get(record.ranker, record.ranker)) != cls.name:
            raise ModelError(
                f"{folder}: holds the ranker '{held}', not '{cls.name}'; llmrec rank {held} --load {folder}"
            )
        arrays = RANKER.read_arrays(folder, record)
        with RANKER.understood(folder):
            ranker = cls(cls._settings_of(record, folder))
            ranker.catalogue = Catalogue.from_arrays(arrays, record.locales)
            ranker._restore(arrays)
        ranker.learnt_from = Saved(folder, record.arrays_sha256)
        return ranker

    @classmethod
    def _settings_of(cls, record: RankerRecord, folder: Path) -> Any:
        """Settings that the record of a ranker saved in ``folder`` holds."""
        return resolve(cls.settings_class, record.settings, origin=folder)

    @abstractmethod
    def _fit(self, training: CodedSessions, products: Any, folder: Path | None, resume: bool) -> None:
        """Learn from training sessions as codes of `catalogue`; none of them is unknown."""

    def _take_in(self, earlier: Self, training: CodedSessions, start: int, places: Ints, products: Any) -> None:
        """Learn from sessions of which ``earlier`` knows those before ``start``: as `_fit` does from all of them.

        ``places`` are the new codes ``(N,)`` of the earlier one's items.
        """
        del earlier, start, places
        self._fit(training, products, None, False)

    def _go_on(self, grown: Self, training: TrainingSessions, products: Any, folder: Path | None, resume: bool) -> Self:
        """`finetuned`, of ``grown``: a new ranker with its settings alone."""
        raise ConfigError(f"{self.name} counts sessions and cannot be pretrained; give all files to --train")

    def _state(self) -> Mapping[str, NDArray[Any]]:
        """What was learnt, as arrays: all that `_fit` left on the ranker, where a subclass does not say otherwise."""
        return learnt_arrays(self)

    def _restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take back what `_state` gave; KeyError or ValueError where it is not that."""
        put_arrays(self, arrays)
