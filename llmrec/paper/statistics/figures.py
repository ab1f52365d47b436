"""The numbers behind Figures 2a-e, 4 and 5 of the paper: a table each, ``all`` locales together and every one alone."""

from __future__ import annotations

from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llmrec.data.sessions import item_counts
from llmrec.paper.statistics.corpus import ALL, Corpus, by_locale

__all__ = [
    "overlap_matrix",
    "product_frequency",
    "product_overlap",
    "repeat_shares",
    "repeated_items",
    "session_lengths",
]


def product_frequency(corpus: Corpus) -> pa.Table:
    """How many products are seen how often (Fig. 2a; by locale, its long tail in each, §3).

    Interactions are items of ``prev_items``. For ``all`` an id counts once for all locales.

    Returns:
        ``locale``, ``times`` and ``num_products``, ascending in ``times``.
    """
    seen = corpus.con.create_table(ibis.util.gen_name("seen"), item_counts(corpus.sessions), temp=True)
    everywhere = seen.group_by("id").aggregate(times=seen.times.sum()).select("times", locale=ibis.literal(ALL))
    both = ibis.union(seen.select("times", "locale"), everywhere)
    counted = both.group_by("locale", "times").aggregate(num_products=both.count())
    return _ordered(corpus.rows(counted), "times", "num_products")


def product_overlap(corpus: Corpus) -> pa.Table:
    """Share of a locale's products that another sells too: |a ∩ b| / |a| (Fig. 2b, §3).

    A locale's products are its catalogue rows; where no products are known, the items of its sessions.

    Returns:
        ``locale_a``, ``locale_b``, ``num_shared`` and ``overlap`` (fraction of a's products), every pair of locales.
    """
    products = _products_or_items(corpus)
    other = products.view()
    pairs = products.join(other, "id").select(locale_a=products.locale, locale_b=other.locale)
    found = corpus.rows(pairs.group_by("locale_a", "locale_b").aggregate(num_shared=pairs.count())).to_pylist()
    shared = {(row["locale_a"], row["locale_b"]): row["num_shared"] for row in found}
    locales = by_locale([a for a, _ in shared])
    rows = [
        {"locale_a": a, "locale_b": b, "num_shared": shared.get((a, b), 0), "overlap": shared.get((a, b), 0) / own}
        for a in locales
        for b in locales
        for own in (shared[a, a],)
    ]
    kinds = {"locale_a": pa.string(), "locale_b": pa.string(), "num_shared": pa.int64(), "overlap": pa.float64()}
    return pa.Table.from_pylist(rows, pa.schema(kinds))


def overlap_matrix(table: pa.Table) -> tuple[list[str], NDArray[np.float64]]:
    """Locales and the overlaps of `product_overlap` as a matrix: row a, column b."""
    locales = by_locale(table["locale_a"].to_pylist())
    matrix = np.zeros((len(locales), len(locales)))
    for row in table.to_pylist():
        matrix[locales.index(row["locale_a"]), locales.index(row["locale_b"])] = row["overlap"]
    return locales, matrix


def session_lengths(corpus: Corpus) -> pa.Table:
    """How many sessions have how many items in ``prev_items`` (Fig. 2c; by locale, Fig. 4).

    Returns:
        ``locale``, ``length`` and ``num_sessions``, ascending in ``length``.
    """
    sessions = corpus.sessions
    lengths = sessions.select("locale", length=sessions.prev_items.length())
    counted = lengths.group_by("locale", "length").aggregate(num_sessions=lengths.count())
    return _with_all(corpus, counted, "length")


def repeat_shares(corpus: Corpus) -> pa.Table:
    """Share of sessions that hold an item more than once (Fig. 2d).

    Returns:
        ``locale``, ``num_sessions``, ``num_with_repeat`` and ``share`` (a fraction).
    """
    sessions = corpus.sessions
    flagged = sessions.select(
        "locale", repeats=(sessions.prev_items.unique().length() < sessions.prev_items.length()).cast("int64")
    )
    counted = flagged.group_by("locale").aggregate(num_sessions=flagged.count(), num_with_repeat=flagged.repeats.sum())
    rows = corpus.rows(counted).to_pylist()
    names = ("num_sessions", "num_with_repeat")
    rows.append({"locale": ALL} | {name: sum(row[name] for row in rows) for name in names})
    by_name = {row["locale"]: row for row in rows}
    ordered = [by_name[name] for name in by_locale(list(by_name))]
    ordered = [row | {"share": row["num_with_repeat"] / max(row["num_sessions"], 1)} for row in ordered]
    kinds = {"locale": pa.string(), **dict.fromkeys(names, pa.int64()), "share": pa.float64()}
    return pa.Table.from_pylist(ordered, pa.schema(kinds))


def repeated_items(corpus: Corpus) -> pa.Table:
    """How many sessions hold how many different items more than once (Fig. 2e; by locale, Fig. 5).

    Sessions without a repeat are left out, as in the paper.

    Returns:
        ``locale``, ``num_repeated`` (different items that the session holds twice or more) and ``num_sessions``.
    """
    sessions = corpus.sessions
    repeating = sessions.filter(sessions.prev_items.unique().length() < sessions.prev_items.length())
    items = repeating.select("split", "session_id", "locale", id=repeating.prev_items.unnest())
    visits = items.group_by("split", "session_id", "locale", "id").aggregate(visits=items.count())
    again = visits.filter(visits.visits > 1)
    each = again.group_by("split", "session_id", "locale").aggregate(num_repeated=again.count())
    counted = each.group_by("locale", "num_repeated").aggregate(num_sessions=each.count())
    return _with_all(corpus, counted, "num_repeated")


def _products_or_items(corpus: Corpus) -> ir.Table:
    if corpus.products is not None:
        return corpus.products
    sessions = corpus.sessions
    items = sessions.select("locale", id=sessions.prev_items.unnest())
    if corpus.targets is not None:
        items = ibis.union(items, corpus.targets.select("locale", "id").filter(lambda one: one.id.notnull()))
    distinct = items.distinct()
    # a view that is computed once: the overlap joins it with itself
    return corpus.con.create_table(ibis.util.gen_name("items"), distinct, temp=True)


def _with_all(corpus: Corpus, counted: ir.Table, key: str) -> pa.Table:
    """Counts by locale and ``key``, and their sums over the locales."""
    held = corpus.rows(counted)
    sums = held.group_by(key).aggregate([("num_sessions", "sum")]).rename_columns([key, "num_sessions"])
    sums = sums.append_column("locale", pa.array([ALL] * len(sums), pa.string()))
    names = ["locale", key, "num_sessions"]
    both = pa.concat_tables([held.select(names).cast(_counts(names)), sums.select(names).cast(_counts(names))])
    return _ordered(both, key, "num_sessions")


def _counts(names: list[str]) -> pa.Schema:
    return pa.schema([(name, pa.string() if name == "locale" else pa.int64()) for name in names])


def _ordered(table: Any, key: str, value: str) -> pa.Table:
    names = ["locale", key, value]
    plain = table.select(names).cast(_counts(names))
    place = {name: position for position, name in enumerate(by_locale(plain["locale"].to_pylist()))}
    places = pa.array([place[name] for name in plain["locale"].to_pylist()], pa.int64())
    ordered = plain.append_column("place", places).sort_by([("place", "ascending"), (key, "ascending")])
    return ordered.select(names)
