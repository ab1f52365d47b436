"""One ranker for each locale, as the KDD Cup's winners trained their neural models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec.api.public import public
from llmrec.artefact import Kind, Stamp
from llmrec.console import notice
from llmrec.errors import ModelError
from llmrec.hub.methods import OnHub
from llmrec.rankers.base import Ranker, Seen
from llmrec.rankers.ranker_record import current_name
from llmrec.rankers.rankings import Rankings
from llmrec.rankers.registry import load_ranker
from llmrec.rankers.session_data import SessionData
from llmrec.rankers.session_data import sessions as sessions_of
from llmrec.rankers.sessions import Sessions, TrainingSessions

__all__ = ["PerLocale"]


class _Record(Stamp, frozen=True, kw_only=True):
    locales: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.locales or len(set(self.locales)) < len(self.locales):
            raise ValueError("no locale, or one twice")


_KIND: Final = Kind(
    what="rankers by locale",
    record="per_locale.json",
    holds=_Record,
    make="make them: llmrec rank RANKER ... --per-locale --save {folder}",
    again="fit them again with --per-locale --save",
)


class PerLocale(OnHub):
    """Rankers of one kind, each for the sessions of one locale.

    A session of a locale that was not in training is ranked by the ranker of the locale with the most sessions.

    Attributes:
        settings: Settings of all of them.
        rankers: By locale, the one with the most training sessions first.
    """

    def __init__(self, cls: type[Ranker[Any]], settings: Any) -> None:
        self._class = cls
        self.settings = settings
        self.rankers: dict[str, Ranker[Any]] = {}
        self.learnt: dict[str, Any] = {}

    @public
    def fit(
        self, training: TrainingSessions, products: Any = None, *, folder: Path | None = None, resume: bool = False
    ) -> Self:
        """Fit one ranker on each locale's sessions; arguments and errors as `Ranker.fit`."""
        return self._each(
            training,
            folder,
            lambda part, place: self._class(self.settings).fit(part, products, folder=place, resume=resume),
        )

    def finetune(
        self,
        start: Ranker[Any],
        training: TrainingSessions,
        products: Any = None,
        *,
        folder: Path | None = None,
        resume: bool = False,
    ) -> Self:
        """Go on from one joint ranker with each locale's sessions."""
        return self._each(
            training,
            folder,
            lambda part, place: start.finetuned(self.settings, part, products, folder=place, resume=resume),
        )

    def _each(
        self,
        training: TrainingSessions,
        folder: Path | None,
        learn: Callable[[TrainingSessions, Path | None], Ranker[Any]],
    ) -> Self:
        counted = sorted(training.locales.value_counts().to_pylist(), key=lambda row: (-row["counts"], row["values"]))
        self.rankers = {}
        for row in counted:
            name = row["values"]
            rows = np.flatnonzero(pc.equal(training.locales, name).to_numpy(zero_copy_only=False))
            notice(f"locale {name}: {len(rows):,} sessions")
            place = len(self.rankers)  # a locale's name is data and makes no path
            self.rankers[name] = learn(training.take(rows), None if folder is None else folder / str(place))
        return self

    @public
    def rank(
        self,
        sessions: SessionData,
        k: int = 100,
        seen: Seen | None = None,
        *,
        locale: str | Sequence[str] | None = None,
    ) -> Rankings:
        """Rank each session by its locale's ranker; as `Ranker.rank`."""
        sessions = sessions_of(sessions, locale, argument="sessions")
        fallback = next(iter(self.rankers))
        chosen = np.array([name if name in self.rankers else fallback for name in sessions.locales.to_pylist()])
        ids, scores, places = [], [], []
        for name, ranker in self.rankers.items():
            rows = np.flatnonzero(chosen == name)
            part = Sessions(sessions.prev_items.take(pa.array(rows)), sessions.locales.take(pa.array(rows)))
            listed, values = ranker.rank(part, k, seen)
            ids.append(listed)
            scores.append(values)
            places.append(rows)
        back = pa.array(np.argsort(np.concatenate(places), kind="stable"))
        made_by = self.rankers[fallback].made_by(k, seen) | {"per_locale": True} | self.learnt
        made_by["sessions_fingerprint"] = sessions.fingerprint
        return Rankings(
            pa.concat_arrays(ids).take(back), pa.concat_arrays(scores).take(back), sessions.locales, made_by
        )

    @public
    def rank_session(
        self, items: Sequence[str], locale: str, k: int = 100, seen: Seen | None = None
    ) -> tuple[list[str], list[float]]:
        """Rank items for one session; as `Ranker.rank_session`."""
        return self.rank_sessions([items], [locale], k, seen)[0]

    def rank_sessions(
        self, sessions: Sequence[Sequence[str]], locales: Sequence[str], k: int = 100, seen: Seen | None = None
    ) -> list[tuple[list[str], list[float]]]:
        """Rank items for a few sessions at once; as `Ranker.rank_sessions`."""
        fallback = next(iter(self.rankers))
        rows: dict[str, list[int]] = {}
        for row, locale in enumerate(locales):
            rows.setdefault(locale if locale in self.rankers else fallback, []).append(row)
        lists: dict[int, tuple[list[str], list[float]]] = {}
        for name, own in rows.items():
            ranked = self.rankers[name].rank_sessions([sessions[row] for row in own], [name] * len(own), k, seen)
            lists |= dict(zip(own, ranked, strict=True))
        return [lists[row] for row in range(len(locales))]

    @public
    def save(self, folder: Path | str) -> None:
        """Write a folder for each ranker and ``per_locale.json``.

        Raises:
            ConfigError: ``folder`` holds something else.
            DiskError: the place cannot be written.
        """
        with _KIND.written(Path(folder), {"locales": list(self.rankers)}) as temporary:
            for place, ranker in enumerate(self.rankers.values()):
                ranker.save(temporary / str(place))

    @staticmethod
    def refuse_foreign(folder: Path) -> None:
        """Refuse to write them in the place of something else, before they are learnt.

        Raises:
            ConfigError: ``folder`` holds something else.
        """
        _KIND.refuse_foreign(folder)

    @staticmethod
    def is_at(folder: Path) -> bool:
        """Whether a folder holds rankers by locale."""
        return _KIND.is_at(folder)

    @classmethod
    def load(cls, folder: Path, name: str | None = None) -> Self:
        """Read rankers that `save` wrote, of the kind ``name`` if one is given.

        Raises:
            ModelError: they are not there, are damaged, or are of another kind.
        """
        locales = _KIND.read(folder).locales
        with _KIND.understood(folder):
            rankers = {locale: load_ranker(folder / str(place)) for place, locale in enumerate(locales)}
        for ranker in rankers.values():
            if name is not None and ranker.name != current_name(name):
                raise ModelError(f"{folder}: holds the ranker '{ranker.name}', not '{name}'")
        first = next(iter(rankers.values()))
        loaded = cls(type(first), first.settings)
        loaded.rankers = rankers
        return loaded
