"""The paper's Tables 1 and 2: sessions, interactions, products and lengths, by split and locale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from llmrec.paper.statistics.corpus import ALL, TRAIN, Corpus, by_locale

__all__ = ["Overview", "overview"]

_SCHEMA = pa.schema(
    {
        "split": pa.string(),
        "locale": pa.string(),
        "num_products": pa.int64(),
        "num_sessions": pa.int64(),
        "num_interactions": pa.int64(),
        "mean_length": pa.float64(),
        "longest": pa.int64(),
        "repeat_share": pa.float64(),
    }
)


@dataclass(frozen=True)
class Overview:
    """Figures of the paper's Tables 1 and 2.

    Attributes:
        table: One row for each split and locale, ``all`` first: ``split``, ``locale``, ``num_products`` (catalogue rows
            of the locale, for ``all`` distinct ids; null beside a test split or without products), ``num_sessions``,
            ``num_interactions`` (items of ``prev_items``), ``mean_length`` and ``longest`` (items of ``prev_items``),
            ``repeat_share`` (fraction of sessions that hold an item more than once).
        num_train: Training sessions (Table 1); 0 where there are none.
        num_test: Sessions of Tasks 1 and 2 in phase 1, which Table 2's test columns count; where no split is named
            after a task, of all test splits.
        num_products: Distinct product ids; None where no products are known.
    """

    table: pa.Table
    num_train: int
    num_test: int
    num_products: int | None

    def row(self, split: str, locale: str = ALL) -> dict[str, Any]:
        """One row by split and locale.

        Raises:
            KeyError: there is none.
        """
        for row in self.table.to_pylist():
            if (row["split"], row["locale"]) == (split, locale):
                found: dict[str, Any] = row
                return found
        raise KeyError((split, locale))


def overview(corpus: Corpus) -> Overview:
    """Count sessions, interactions and products (paper, Tables 1 and 2).

    A session's length is that of ``prev_items``: the paper's interactions leave the next item out.

    Raises:
        DataError: a file cannot be read.
    """
    products = _products(corpus)
    rows = []
    for split in corpus.splits:
        counted = {row["locale"]: row for row in _sessions(corpus, split)}
        for locale in by_locale([*counted, *(products if split == TRAIN else ())]):
            row = counted.get(locale, {"num_sessions": 0, "num_interactions": 0})
            held = products.get(locale) if split == TRAIN else None
            rows.append({"split": split, "locale": locale, "num_products": held, **row})
    sizes = {row["split"]: int(row["num_sessions"]) for row in rows if row["locale"] == ALL}
    return Overview(
        table=pa.Table.from_pylist(rows, _SCHEMA),
        num_train=sizes.get(TRAIN, 0),
        num_test=sum(sizes[split] for split in _test_splits(list(sizes))),
        num_products=products.get(ALL),
    )


def _test_splits(splits: list[str]) -> list[str]:
    """Splits that the paper's test columns count: their sessions are those of Tasks 1 and 2, phase 1."""
    named = [f"test_task{task}{phase}" for task in (1, 2) for phase in ("", "_phase1")]
    ours = [split for split in splits if split in named]
    return ours or [split for split in splits if split != TRAIN]


def _sessions(corpus: Corpus, split: str) -> list[dict[str, Any]]:
    sessions = corpus.splits[split]
    lengths = sessions.select(
        "locale",
        length=sessions.prev_items.length(),
        repeats=sessions.prev_items.unique().length() < sessions.prev_items.length(),
    )
    each = _measured(lengths.group_by("locale"), lengths)
    everywhere = _measured(lengths.group_by(locale=ibis.literal(ALL)), lengths)
    rows: list[dict[str, Any]] = corpus.rows(ibis.union(each, everywhere)).to_pylist()
    return rows


def _measured(grouped: Any, lengths: ir.Table) -> ir.Table:
    return grouped.aggregate(
        num_sessions=lengths.count(),
        num_interactions=lengths.length.sum(),
        mean_length=lengths.length.mean(),
        longest=lengths.length.max(),
        repeat_share=lengths.repeats.cast("float64").mean(),
    )


def _products(corpus: Corpus) -> dict[str, int]:
    products = corpus.products
    if products is None:
        return {}
    counted = corpus.rows(products.group_by("locale").aggregate(num=products.count())).to_pylist()
    distinct = corpus.rows(products.aggregate(num=products.id.nunique())).to_pylist()
    return {ALL: distinct[0]["num"], **{row["locale"]: row["num"] for row in counted}}
