"""Later sessions into a fitted ranker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.compute as pc

from llmrec.api.public import public
from llmrec.console import notice
from llmrec.errors import ConfigError, DataError, shown
from llmrec.rankers.base import Ranker
from llmrec.rankers.catalogue import recounted, with_later
from llmrec.rankers.fitting import AnyRanker, product_table
from llmrec.rankers.learnt_from import DATE, Batch, LearntFrom, now
from llmrec.rankers.per_locale import PerLocale
from llmrec.rankers.recipes import yaml_value
from llmrec.rankers.session_data import SessionData, training_sessions
from llmrec.rankers.sessions import TrainingSessions
from llmrec.settings import resolve

__all__ = ["Asked", "How", "how_it_keeps_up", "items_of", "update", "updated"]

How = Literal["as refitted", "faded", "trained on", "trees kept", "vectors kept"]
"""What an updated ranker is: the one that a fit on all sessions would give; that with older sessions counting less; one
that went on from its weights; one whose sources are as refitted under trees that have not changed; or one whose counts
are, beside old vectors."""
_DAY_S = 86_400


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How later sessions are taken in.

    Attributes:
        half_life: Days after which a session counts half; None: for ever.
        date: When the later sessions were, as ISO 8601 in UTC; now if not given.
        again: Whether sessions that were learnt from already may count once more.
        refit: Whether a fused ranker grows its trees anew, and item vectors are factorised anew.
        settings: Other settings of a ranker that trains.
        folder: Where a ranker that trains keeps checkpoints.
        resume: Whether it goes on from the newest of them.
    """

    half_life: float | None = None
    date: str | None = None
    again: bool = False
    refit: bool = False
    settings: Mapping[str, Any] | None = None
    folder: Path | None = None
    resume: bool = False


@public
def update(
    ranker: Ranker[Any] | PerLocale,
    sessions: SessionData,
    products: Any = None,
    *,
    half_life: float | None = None,
    date: str | None = None,
    again: bool = False,
    refit: bool = False,
    folder: Path | str | None = None,
    resume: bool = False,
    locale: str | Sequence[str] | None = None,
    **settings: Any,
) -> AnyRanker:
    """Take later sessions into a fitted ranker, which stays as it is; the updated one is given.

    A ranker that counts keeps the sessions that it was fitted on and becomes what a fit on all of them would be. A
    neural one goes on training from its weights, and new items get first vectors as a fit would give them. `fusion`
    updates its sources and keeps its trees.

    Args:
        ranker: One that was fitted, or read from its folder.
        sessions: Later sessions, as `llmrec.sessions` takes them; ``next_item``, where known, ends a session.
        products: What each locale sells now, as `fit`. Without it known products stay as they are, and a new item is
            sold where it was seen; a ranker that reads titles or attributes needs it.
        half_life: Days after which a visit counts half. Sessions fade by batch: all that was learnt before fades by
            the days between the last batch's date and this one's. For rankers that count.
        date: Date or time of these sessions, ISO 8601 in UTC; now if not given.
        again: Let sessions count that were learnt from already.
        refit: Grow the trees of `fusion` anew, or factorise `item_vectors` anew.
        folder: As `fit`, of a ranker that trains.
        resume: As `fit`.
        locale: Locale of ``sessions``, where they hold none.
        settings: Other settings of a ranker that trains, as ``max_epochs=1``.

    Raises:
        ConfigError: the ranker cannot do what is asked for.
        DataError: the sessions cannot be read, hold no item, or were learnt from already.
        ModelError: the ranker does not hold what it was fitted on.

    Example:
        >>> import llmrec
        >>> ranker = llmrec.fit("covisit", [["tea", "cup"]])
        >>> llmrec.update(ranker, [["tea", "pot"], ["tea", "pot"]]).rank([["tea"]], k=2).to_list()
        [['pot', 'cup']]
    """
    place = None if folder is None else Path(folder)
    asked = Asked(
        half_life=half_life,
        date=date,
        again=again,
        refit=refit,
        settings=settings,
        folder=place,
        resume=resume,
    )
    return updated(ranker, training_sessions(sessions, locale), products, asked)


def updated(ranker: AnyRanker, training: TrainingSessions, products: Any, asked: Asked) -> AnyRanker:
    """`update`, of sessions that were read.

    Raises:
        ConfigError, DataError, ModelError: as `update`.
    """
    if asked.half_life is not None and not 0 < asked.half_life < float("inf"):
        raise ConfigError(f"--half-life must be above 0 days; got {asked.half_life:g}")
    if isinstance(ranker, PerLocale):
        return _updated_by_locale(ranker, training, products, asked)
    learnt_from = ranker.known_sessions()
    _refuse_unfit(ranker, training, products, asked, learnt_from)
    batch = Batch.of(training, _date(asked.date, learnt_from))
    table = product_table(products, ranker.product_columns)
    if ranker.goes_on:
        changes = {key: yaml_value(value) for key, value in (asked.settings or {}).items()}
        settings = resolve(type(ranker.settings), {**vars(ranker.settings), **changes})
        fresh = ranker.finetuned(settings, training, table, folder=asked.folder, resume=asked.resume)
        fresh.learnt_from = LearntFrom((*learnt_from.batches, batch), None)
    else:
        fresh = _with_all(ranker, learnt_from, training, table, batch, asked)
    fresh.learnt = {**ranker.learnt, "updates": len(learnt_from.batches)}
    return fresh


def how_it_keeps_up(ranker: AnyRanker, refit: bool) -> How:
    """What an updated ranker is; of one by locale, what the first locale is that is no fit on all sessions."""
    if isinstance(ranker, PerLocale):
        ways = [how_it_keeps_up(one, refit) for one in ranker.rankers.values()]
        return next((way for way in ways if way != "as refitted"), "as refitted")
    if ranker.goes_on:
        return "trained on"
    if ranker.keeps == "trees" and not refit:
        return "trees kept"
    batches = ranker.known_sessions().batches
    if ranker.keeps == "vectors":
        factorised = ranker.known_sessions().counts["factorised"]
        if int(factorised[0]) < sum(batch.sessions for batch in batches):
            return "vectors kept"
    return "faded" if any(batch.weight != 1 for batch in batches) else "as refitted"


def items_of(ranker: AnyRanker) -> int:
    """Number of items that a ranker, or those of all locales, can rank."""
    rankers = ranker.rankers.values() if isinstance(ranker, PerLocale) else [ranker]
    return sum(len(one.catalogue.vocabulary) for one in rankers)


def _with_all(
    ranker: Ranker[Any],
    learnt_from: LearntFrom,
    training: TrainingSessions,
    table: Any,
    batch: Batch,
    asked: Asked,
) -> Ranker[Any]:
    """A ranker that has learnt from what another did, and from later sessions."""
    batches = (*_faded(learnt_from.batches, asked.half_life, batch.date), batch)
    before = learnt_from.sessions
    if before is None:
        raise ConfigError(f"{ranker.name}: keeps no sessions")
    start = len(before)
    fresh = type(ranker)(ranker.settings)
    fresh.catalogue, coded, places = with_later(ranker.catalogue, before, training, table, cold=ranker.ranks_cold)
    vocabulary = fresh.catalogue.vocabulary
    weighed = LearntFrom(batches, coded).weighed or coded
    if weighed.weights is not None:
        fresh.catalogue = recounted(fresh.catalogue, weighed)
    if asked.refit:
        fresh._fit(weighed, table, asked.folder, asked.resume)
    else:
        fresh._take_in(ranker, weighed, start, places, table)
    fresh.learnt_from = fresh._remembered(batches, coded, vocabulary)
    return fresh


def _refuse_unfit(
    ranker: Ranker[Any], training: TrainingSessions, products: Any, asked: Asked, learnt_from: LearntFrom
) -> None:
    repeated = learnt_from.repeated(training.origins())
    if repeated is not None and not asked.again:
        what = repeated.name or "these sessions"
        raise DataError(f"{what}: was learnt from already and would count twice; leave it out, or give --again")
    if asked.half_life is not None and not ranker.fades:
        others = "it trains on what is new" if ranker.goes_on else "the newest sessions come first"
        raise ConfigError(f"--half-life: {ranker.name} has no visits that fade ({others}); leave it out")
    if not ranker.goes_on:
        for given, flag in ((asked.settings, "--set"), (asked.folder, "--checkpoints")):
            if given and not asked.refit:
                raise ConfigError(f"{flag}: {ranker.name} counts, and is updated as it was fitted; leave it out")
        if asked.settings:
            raise ConfigError(f"--set: {ranker.name} keeps its settings; fit it anew for others")
    if asked.refit and not ranker.keeps:
        raise ConfigError(f"--refit: {ranker.name} has no trees or vectors that stay as they were; leave it out")
    reads_again = ranker.needs_products or (ranker.catalogue.sold is not None and (ranker.goes_on or ranker.ranks_cold))
    if products is None and reads_again:
        raise ConfigError(f"{ranker.name}: reads products, new ones among them; give their file with --products")
    unknown = [name for name in training.locales.unique().to_pylist() if name not in ranker.catalogue.locales]
    if unknown:
        notice(f"new to the ranker: locale {', '.join(sorted(unknown))}")


def _date(text: str | None, learnt_from: LearntFrom) -> str:
    """Date of a batch as `DATE`; none before the last one's."""
    last = max(batch.date for batch in learnt_from.batches)
    if text is None:
        return max(now(), last)
    try:
        given = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"--date {shown(text)} is no date; write 2026-11-29 or 2026-11-29T03:00") from error
    date = (given if given.tzinfo else given.replace(tzinfo=UTC)).astimezone(UTC).strftime(DATE)
    if date < last:
        raise ConfigError(f"--date {text} is before {last}, of the last sessions; take updates in the order of time")
    return date


def _faded(batches: Sequence[Batch], half_life: float | None, date: str) -> list[Batch]:
    """Batches that have faded by the days since the last of them."""
    if half_life is None:
        return [*batches]
    days = (_time(date) - max(_time(batch.date) for batch in batches)) / _DAY_S
    return [_replaced(batch, batch.weight * 0.5 ** (days / half_life)) for batch in batches]


def _replaced(batch: Batch, weight: float) -> Batch:
    return Batch(date=batch.date, sessions=batch.sessions, weight=weight, origins=batch.origins)


def _time(date: str) -> float:
    return datetime.strptime(date, DATE).replace(tzinfo=UTC).timestamp()


def _updated_by_locale(ranker: PerLocale, training: TrainingSessions, products: Any, asked: Asked) -> PerLocale:
    """Each locale's ranker with its sessions; a new locale gets a ranker of its own."""
    rankers = dict(ranker.rankers)
    for number, name in enumerate(sorted(training.locales.unique().to_pylist())):
        part = training.take(np.flatnonzero(pc.equal(training.locales, name).to_numpy(zero_copy_only=False)))
        folder = None if asked.folder is None else asked.folder / str(number)
        if name in rankers:
            one = updated(rankers[name], part, products, replace(asked, folder=folder))
            rankers[name] = one if isinstance(one, Ranker) else rankers[name]
        else:
            notice(f"locale {name}: new, it gets a ranker of its own")
            model = type(next(iter(rankers.values())))
            table = product_table(products, model.product_columns)
            rankers[name] = model(ranker.settings).fit(part, table, folder=folder, resume=asked.resume)
    fresh = PerLocale(type(next(iter(rankers.values()))), ranker.settings)
    sizes = {name: sum(batch.sessions for batch in one.known_sessions().batches) for name, one in rankers.items()}
    fresh.rankers = {name: rankers[name] for name in sorted(rankers, key=lambda name: (-sizes[name], name))}
    fresh.learnt = dict(ranker.learnt)
    return fresh
