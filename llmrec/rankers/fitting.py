"""Fitting a ranker on what people have: the same for Python and the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from llmrec.api.public import public
from llmrec.data.overlap import Overlap, find_overlap, refuse_overlap, stamped
from llmrec.data.products import PRODUCTS_WANTED, given_products, load_products
from llmrec.data.store import Store
from llmrec.errors import ConfigError
from llmrec.files import given_file
from llmrec.hub.pull import local_folder, stamp_of
from llmrec.rankers.base import Ranker
from llmrec.rankers.per_locale import PerLocale
from llmrec.rankers.recipes import ranker_settings
from llmrec.rankers.registry import load_ranker as load_joint
from llmrec.rankers.registry import ranker_class
from llmrec.rankers.session_data import SessionData, training_sessions
from llmrec.rankers.session_data import sessions as sessions_of
from llmrec.rankers.sessions import Sessions, TrainingSessions

__all__ = ["AnyRanker", "Learning", "fit", "fitted", "learning", "load_ranker", "product_table"]

AnyRanker = Ranker[Any] | PerLocale


@dataclass(frozen=True)
class Learning:
    """What a ranker learns from.

    Attributes:
        training: Sessions.
        products: Arrow table with the ranker's `product_columns`, or None.
        settings: Its settings.
        overlap: Training rows that repeat sessions to be ranked with their labels, where that was allowed.
        transductive: Whether the ranker learns from the prefixes of the sessions to be ranked.
    """

    training: TrainingSessions
    products: Any
    settings: Any
    overlap: Overlap | None = None
    transductive: bool = False

    def with_prefixes(self, sessions: Sessions) -> Learning:
        """The same with the prefixes of the sessions to be ranked."""
        return replace(self, training=self.training.joined(sessions.bare()))

    @property
    def stamp(self) -> dict[str, Any]:
        """What a run is to say of it."""
        return {"transductive": self.transductive, **stamped(self.overlap)}


@public
def fit(
    ranker: str | type[Ranker[Any]],
    training: SessionData,
    products: Any = None,
    *,
    sessions: SessionData = None,
    transductive: bool = False,
    allow_overlap: bool = False,
    recipe: str | None = None,
    seed: int | None = None,
    per_locale: bool = False,
    start: Ranker[Any] | None = None,
    folder: Path | str | None = None,
    resume: bool = False,
    locale: str | Sequence[str] | None = None,
    **settings: Any,
) -> AnyRanker:
    """Fit a ranker by its recipe (paper §4.1, Tables 4 and 5; the strong ones are ours).

    Args:
        ranker: ``popularity``, ``covisit``, ``gru4rec``, ``fusion`` …, or a class of your own.
        training: Sessions to learn from, as `llmrec.sessions` takes them; ``next_item``, where known, ends a session.
        products: What each locale sells, with titles and attributes for rankers that read them: a data frame, an Arrow
            table, a CSV or Parquet file, or a `Store`.
        sessions: Those to be ranked later: training that repeats them with their labels is refused.
        transductive: Learn from the prefixes of ``sessions`` too; runs say so.
        allow_overlap: Let training repeat ``sessions`` with their labels; runs say so.
        recipe: Recipe by name or file; the ranker's own if not given.
        seed: Of a ranker that draws.
        per_locale: One ranker for each locale.
        start: A fitted ranker to go on from (paper §4.1, pretraining and finetuning); ranker's class must be its own.
        folder: Where a ranker that trains for long keeps checkpoints and logs; nowhere if not given.
        resume: Go on from the newest checkpoint in ``folder``.
        locale: Locale of ``training``, where it holds none.
        settings: Settings by name, over those of the recipe.

    Returns:
        The fitted ranker; ``ranker.rank(sessions)`` ranks, ``ranker.save(folder)`` keeps it.

    Raises:
        ConfigError: no such ranker, recipe or setting, or two that exclude each other.
        DataError: the data cannot be read, holds no item, or repeats ``sessions`` with their labels.

    Example:
        >>> import llmrec
        >>> ranker = llmrec.fit("covisit", [["tea", "cup"], ["tea", "cup", "pot"]])
        >>> ranker.rank([["tea"]], k=1).to_list()
        [['cup']]
    """
    cls = ranker_class(ranker) if isinstance(ranker, str) else ranker
    known = None if sessions is None else sessions_of(sessions, argument="sessions")
    given = training_sessions(training, locale), product_table(products, cls.product_columns), known
    leaks: dict[str, Any] = {"transductive": transductive, "allow_overlap": allow_overlap}
    told = learning(cls, *given, **leaks, recipe=recipe, seed=seed, finetune=start is not None, changes=settings)
    told = told.with_prefixes(known) if transductive and known is not None else told
    place = None if folder is None else Path(folder)
    return fitted(cls, told, start=start, per_locale=per_locale, folder=place, resume=resume)


def learning(
    cls: type[Ranker[Any]],
    training: TrainingSessions,
    products: Any,
    sessions: Sessions | None,
    *,
    transductive: bool = False,
    allow_overlap: bool = False,
    recipe: str | None = None,
    seed: int | None = None,
    finetune: bool = False,
    changes: Mapping[str, Any] | None = None,
    files: tuple[Sequence[Path], str] = ((Path("training"),), "sessions"),
) -> Learning:
    """What a ranker is to learn from, checked.

    Args:
        cls: Its class.
        training: Sessions.
        products: From `product_table`.
        sessions: Those to be ranked, or None.
        transductive: Whether the prefixes of ``sessions`` will be added (`Learning.with_prefixes`).
        allow_overlap: As `fit`.
        recipe: As `fit`.
        seed: As `fit`.
        finetune: Whether a fitted ranker goes on: the recipe's settings for that are then taken.
        changes: Settings over the recipe's.
        files: What an error calls the files of ``training``, and ``sessions``.

    Raises:
        ConfigError: the settings do not fit together.
        DataError: training repeats ``sessions`` with their labels, and that was not allowed.
    """
    if transductive and sessions is None:
        raise ConfigError("--transductive learns from the sessions to rank for; give --sessions FILE")
    values, known = dict(changes or {}), {one.name for one in fields(cls.settings_class)}
    if seed is not None and "seed" in known:
        values["seed"] = seed
    if transductive and "transductive" in known:
        values["transductive"] = True
    settings = ranker_settings(cls, recipe, values, finetune)
    overlap = None
    if sessions is not None:
        found = find_overlap(training.sequences, training.locales, sessions.prev_items, sessions.locales)
        overlap = refuse_overlap(found, *files, allow_overlap)
    return Learning(training, products, settings, overlap, transductive)


def fitted(
    cls: type[Ranker[Any]],
    told: Learning,
    *,
    start: AnyRanker | None = None,
    per_locale: bool = False,
    folder: Path | None = None,
    resume: bool = False,
) -> AnyRanker:
    """A ranker fitted on what `learning` made ready, or ``start`` gone on with it; arguments as of `fit`.

    Raises:
        ConfigError: ``start`` is of another class, or cannot go on.
    """
    if isinstance(start, PerLocale):
        raise ConfigError("a ranker for each locale cannot go on learning; load or pretrain a joint one")
    if start is not None and type(start) is not cls:
        raise ConfigError(f"start: a fitted {start.name} cannot go on as {cls.name}; fit a {start.name}")
    fresh: AnyRanker
    place: dict[str, Any] = {"folder": folder, "resume": resume}
    if start is None:
        empty: AnyRanker = PerLocale(cls, told.settings) if per_locale else cls(told.settings)
        fresh = empty.fit(told.training, told.products, **place)
    elif per_locale:
        fresh = PerLocale(cls, told.settings).finetune(start, told.training, told.products, **place)
    else:
        fresh = start.finetuned(told.settings, told.training, told.products, **place)
    fresh.learnt = told.stamp
    return fresh


@public
def load_ranker(folder: Path | str) -> AnyRanker:
    """Read a ranker that ``ranker.save(folder)`` or ``llmrec rank --save`` wrote, whichever it is.

    Args:
        folder: Its folder, or ``hf://OWNER/NAME@REVISION``, which is fetched from the hub first.

    Returns:
        The fitted ranker; it ranks as the one that was saved.

    Raises:
        MissingExtraError: a package that it needs is not installed.
        ModelError: none is there, it is damaged, or it is one that nobody has registered.

    Example:
        >>> import llmrec
        >>> llmrec.fit("covisit", [["tea", "cup"]]).save("models/covisit")
        >>> llmrec.load_ranker("models/covisit").rank([["tea"]]).to_list()
        [['cup']]
    """
    place = local_folder(folder)
    ranker = PerLocale.load(place) if PerLocale.is_at(place) else load_joint(place)
    ranker.learnt |= stamp_of(place)
    return ranker


def product_table(products: Any, columns: Sequence[str]) -> Any:
    """Some columns of products as an Arrow table, one row for each ``(locale, id)``; None for None.

    Raises:
        DataError: a file is missing or malformed, or a column is missing.
    """
    if products is None:
        return None
    if isinstance(products, Store):
        return load_products(products.products, columns)
    if isinstance(products, str | Path):
        return load_products(given_file(products, "products", PRODUCTS_WANTED), columns)
    return given_products(products, columns)
