"""The sessions that every cell answers and the examples that a chat shows: drawn by seed, alike on every machine."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ibis
import ibis.expr.types as ir

from llmrec.data.store import Store
from llmrec.errors import ConfigError, DataError, nearest
from llmrec.schema import LOCALES
from llmrec.titles.prompting.recent_products import iterate_recent_products, open_split, products_of, session_ranges

__all__ = ["SampledSession", "draw_examples", "draw_sample"]


@dataclass(frozen=True)
class SampledSession:
    """A session whose next title is known.

    Attributes:
        session_id: Its row in the source file.
        locale: Locale.
        products: Its most recent products that have a title, oldest first, at least one.
        target: Title of the next product.
    """

    session_id: int
    locale: str
    products: Sequence[Mapping[str, str]]
    target: str

    @property
    def last_title(self) -> str:
        """The paper's Last Product Title (§4.3)."""
        return str(self.products[-1]["title"])


def draw_sample(
    store: Store,
    split: str,
    number: int,
    *,
    k: int,
    fields: Sequence[str],
    seed: int,
    locales: Sequence[str] = (),
) -> list[SampledSession]:
    """Draw sessions from every locale in equal numbers, as far as a locale has them.

    Sessions without a target title, or without any title before it, are not drawn: no prompt could tell them apart.

    Args:
        store: The store.
        split: ``validation``, ``development`` or ``train``; prompts are not chosen on a test split.
        number: Most sessions.
        k: Most products of a session.
        fields: Product fields, ``title`` first.
        seed: Another seed draws other sessions.
        locales: Locales to draw from; all of the split's where empty.

    Returns:
        The sessions by locale, the paper's six in its order, then others by name.

    Raises:
        ConfigError: the split has no session of a locale.
        StoreError: no such split, or a test split.
        DataError: no session can be drawn.
    """
    store.labelled(split)
    drawn = _draw(store, split, number, k, fields, f"sample-{seed}", locales)
    found = {session.locale for session in drawn}
    missing = [locale for locale in locales if locale not in found]
    if missing:
        known = {session.locale for session in _draw(store, split, 100, 1, ("title",), "", ())}
        raise ConfigError(
            f"--locale {missing[0]}: {split} has no session with titles there{nearest(missing[0], known)}"
        )
    if not drawn:
        raise DataError(f"{store.path}: {split} has no session with titles before and after; compare on another split")
    return drawn


def draw_examples(
    store: Store,
    sample: Sequence[SampledSession],
    shots: int,
    *,
    k: int,
    fields: Sequence[str],
    seed: int,
) -> dict[str, list[SampledSession]]:
    """Draw examples from development sessions, for each locale its own, never a session of the sample.

    Args:
        store: The store.
        sample: Sessions that will be asked about.
        shots: Examples for a locale; fewer where it has fewer.
        k: Most products of an example.
        fields: Product fields, ``title`` first.
        seed: Of the draw.
    """
    locales = sorted({session.locale for session in sample})
    examples: dict[str, list[SampledSession]] = {locale: [] for locale in locales}
    if shots:
        asked = {session.session_id for session in sample}
        number = shots * len(locales)  # enough for each, and too many for some where another has too few
        for one in _draw(store, "development", number, k, fields, f"shots-{seed}", locales, exclude=asked):
            examples[one.locale].append(one)
    return {locale: found[:shots] for locale, found in examples.items()}


def _draw(
    store: Store,
    split: str,
    number: int,
    k: int,
    fields: Sequence[str],
    salt: str,
    locales: Sequence[str],
    exclude: Collection[int] = (),
) -> list[SampledSession]:
    rows: list[dict[str, Any]] = []
    with open_split(store, split, fields) as (sessions, products):
        wanted = sessions.filter(sessions.locale.isin(list(locales))) if locales else sessions
        wanted = wanted.filter(~wanted.session_id.isin(list(exclude))) if exclude else wanted
        ids = _drawn_ids(wanted, products, number, salt)
        chosen = sessions.filter(sessions.session_id.isin(ids))
        ranges = session_ranges(chosen) if ids else []
        for table in iterate_recent_products(chosen, products, ranges, k=k, fields=fields):
            rows += table.to_pylist()
    place = {name: position for position, name in enumerate(LOCALES)}
    rows.sort(key=lambda row: (place.get(row["locale"], len(place)), row["locale"], row["session_id"]))
    return [
        SampledSession(row["session_id"], row["locale"], products_of(row, fields), row["target_title"]) for row in rows
    ]


def _drawn_ids(sessions: ir.Table, products: ir.Table, number: int, salt: str) -> list[int]:
    """Round by round one session of every locale, in the order of a salted hash."""
    answered = sessions.semi_join(products.select("locale", next_item="id"), ["locale", "next_item"])
    items = answered.select("session_id", "locale", id="prev_items").unnest("id")
    titled = items.semi_join(products, ["locale", "id"]).select("session_id").distinct()
    hashed = answered.semi_join(titled, "session_id").select(
        "session_id",
        "locale",
        order=(ibis.literal(f"{salt}:") + answered.session_id.cast("string")).hexdigest("md5"),
    )
    ranked = hashed.mutate(round=ibis.row_number().over(group_by=hashed.locale, order_by=hashed.order))
    drawn = ranked.order_by("round", "locale").limit(number).session_id.to_pyarrow().to_pylist()
    return [int(session) for session in drawn]
