"""Figures of a synthetic data set, counted from its files, beside the paper's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import sacrebleu

from llmrec.errors import DataError
from llmrec.schema import PRICE_SENTINEL, SMALL_LOCALES
from llmrec.synth.build import read_settings
from llmrec.synth.product_lines import distinct_share
from llmrec.synth.sizes import FULL, LocalePlan, plan

__all__ = ["Figure", "measure_synthetic"]

_BLEU_SAMPLE: Final = 20_000
_DISTINCT: Final = 1_410_675  # distinct products of the paper's Table 2
_READ: Final = (
    "all_varchar = true, header = true, delim = ',', quote = '\"', escape = '\"', nullstr = '', parallel = false"
)


@dataclass(frozen=True)
class Figure:
    """One measured figure beside the paper's.

    Attributes:
        name: What was measured.
        measured: Its value in the files.
        paper: The paper's value, in proportion to the size for counts; None where the paper gives none.
        low: Least value that is as it should be.
        high: Greatest value that is.
        source: Where the paper's value or the bounds are from.
    """

    name: str
    measured: float
    paper: float | None
    low: float
    high: float
    source: str

    @property
    def ok(self) -> bool:
        """Whether the measured value lies within the bounds."""
        return self.low <= self.measured <= self.high


def measure_synthetic(out: Path) -> list[Figure]:
    """Measure a folder that `synthesize` wrote, from its CSV files alone.

    Raises:
        ConfigError: ``out`` holds no synthetic data set.
        DataError: one of its files is missing.
    """
    size = read_settings(out).size
    plans = plan(size)
    with duckdb.connect() as con:
        con.execute("set memory_limit = '4GB'; set preserve_insertion_order = false")
        _load(con, out)
        return [
            *_counts(con, plans, size),
            *_overlaps(con, size),
            *_shapes(con, size),
            *_titles(con),
            *_promises(con),
        ]


def _load(con: duckdb.DuckDBPyConnection, out: Path) -> None:
    for name in ("products_train.csv", "sessions_train.csv", "targets"):
        if not (out / name).exists():
            raise DataError(f"{out / name}: no such file; write the data set again with llmrec data synth")
    con.execute(
        f"create table products as select id, locale, title, price from read_csv($file, {_READ})",
        {"file": str(out / "products_train.csv")},
    )
    parsed = "regexp_extract_all(prev_items, '[0-9A-Z]{10}') as items, next_item, locale"
    for table, file in (
        ("train", out / "sessions_train.csv"),
        ("cold", out / "targets" / "sessions_test_task3_*.csv"),
        ("warm", out / "targets" / "sessions_test_task[12]_*.csv"),
    ):
        con.execute(f"create table {table} as select {parsed} from read_csv($file, {_READ})", {"file": str(file)})


def _rows(con: duckdb.DuckDBPyConnection, query: str) -> dict[str, Any]:
    return {row[0]: row[1] for row in con.execute(query).fetchall()}


def _value(con: duckdb.DuckDBPyConnection, query: str) -> float:
    row = con.execute(query).fetchone()
    return float(row[0]) if row and row[0] is not None else math.nan


def _near(name: str, measured: float, paper: float, share: float, source: str) -> Figure:
    return Figure(name, measured, paper, paper * (1 - share), paper * (1 + share), source)


def _counts(con: duckdb.DuckDBPyConnection, plans: Sequence[LocalePlan], size: str) -> Iterable[Figure]:
    products = _rows(con, "select locale, count(*) from products group by 1")
    sessions = _rows(con, "select locale, count(*) from train group by 1")
    lengths = _rows(con, "select locale, avg(len(items)) from train group by 1")
    table = "Table 2" if size == "full" else f"Table 2, scaled to {size}"
    loose = {"full": 0.02, "small": 0.06, "tiny": 0.25}[size]  # chance alone moves a mean by that much
    for one in plans:
        yield _near(f"sessions {one.locale}", sessions.get(one.locale, 0), one.sessions, 0, table)
        yield _near(f"products {one.locale}", products.get(one.locale, 0), one.products, 0, table)
        yield _near(
            f"mean length {one.locale}",
            lengths.get(one.locale, math.nan),
            one.mean_length,
            loose,
            "Table 2, prev_items",
        )
    distinct = _value(con, "select count(distinct id) / count(*) from products")
    # Nearly all repeated rows are the small locales'; where a size gives them a larger part, fewer ids are distinct.
    whole = FULL.values()
    paper = _DISTINCT / sum(one.products for one in whole) * distinct_share(plans) / distinct_share(whole)
    source = "Table 2" if size == "full" else f"Table 2, weighted by the locales' parts of {size}"
    yield _near("distinct ids / product rows", distinct, paper, 0.01, source)


def _overlaps(con: duckdb.DuckDBPyConnection, size: str) -> Iterable[Figure]:
    shared = con.execute(
        "select a.locale, b.locale, count(*) / any_value(n.rows) from products a join products b using (id) "
        "join (select locale, count(*) as rows from products group by 1) n on n.locale = a.locale group by 1, 2"
    ).fetchall()
    share = {(a, b): float(value) for a, b, value in shared}
    slack = {"full": 0.02, "small": 0.05, "tiny": 0.15}[size]
    for small in SMALL_LOCALES:
        yield Figure(
            f"products of {small} in DE", share.get((small, "DE"), 0), 0.4, 0.4 - slack, 0.4 + slack, "Fig. 2b"
        )
    for a, b, low, high in (
        ("UK", "DE", 0.08, 0.25),
        ("DE", "UK", 0.08, 0.25),
        ("JP", "DE", 0, 0.08),
        ("JP", "UK", 0, 0.08),
    ):
        yield Figure(f"products of {a} in {b}", share.get((a, b), 0), None, low, high, "Fig. 2b, in words")
    for a, b, low, high in (("ES", "UK", 0.1, 0.45), ("ES", "JP", 0, 0.15), ("FR", "ES", 0.03, 0.45)):
        yield Figure(f"products of {a} in {b}", share.get((a, b), 0), None, low, high, "Fig. 2b, in words")


def _shapes(con: duckdb.DuckDBPyConnection, size: str) -> Iterable[Figure]:
    slack = 0.05 if size != "tiny" else 0.08
    repeats = "avg((len(list_distinct(items)) < len(items))::int)"
    total = _value(con, f"select {repeats} from train")
    yield Figure("sessions with a repeat", total, 0.35, 0.35 - slack, 0.35 + slack, "Fig. 2d")
    for locale, value in sorted(_rows(con, f"select locale, {repeats} from train group by 1").items()):
        yield Figure(f"sessions with a repeat {locale}", value, 0.35, 0.22, 0.48, "Fig. 2d")
    twice = "list_bool_or(list_transform(list_zip(items[:-2], items[2:]), lambda pair: pair[1] = pair[2]))"
    consecutive = _value(con, f"select avg(coalesce({twice}, false)::int) from train")
    yield Figure("sessions with an item twice in a row", consecutive, None, 0.12, 0.30, "released Task 2: 0.22")
    top = (
        "with counts as (select item, count(*) as n from (select unnest(items) as item from train) group by 1), "
        "ranked as (select n, row_number() over (order by n desc) as rank from counts) "
        "select sum(n) filter (rank <= (select count(distinct id) / 100 from products)) / sum(n) from ranked"
    )
    yield Figure("interactions with the top 1 % of products", _value(con, top), None, 0.04, 0.40, "Fig. 2a, long tail")
    for name, test, low, high in (
        ("sessions of length 2", "= 2", 0.25, 0.45),
        ("sessions longer than 10", "> 10", 0.01, 0.08),
    ):
        share = _value(con, f"select avg((len(items) {test})::int) from train")
        yield Figure(name, share, None, low, high, "Fig. 2c; released Task 2: 0.34, 0.024")
    longest = _value(con, "select count(*) from train where len(items) > 100")
    yield Figure("sessions longer than 100, number", longest, None, 1 if size == "full" else 0, 500, "Fig. 2c: few")


def _titles(con: duckdb.DuckDBPyConnection) -> Iterable[Figure]:
    low, high = 20, 30
    for table, name in (("train", "training"), ("cold", "Task 3")):
        pairs = con.execute(
            f"with sample as (select items[-1] as last, next_item, locale from {table} "
            f"order by hash(items, next_item, locale) limit {_BLEU_SAMPLE}) "
            "select a.title, b.title from sample s join products a on a.id = s.last and a.locale = s.locale "
            "join products b on b.id = s.next_item and b.locale = s.locale where b.title is not null "
            "order by hash(s.last, s.next_item, s.locale), 1, 2"
        ).fetchall()
        # evaluation may import data, so data scores with sacrebleu itself; the paper's BLEU is not smoothed
        score = sacrebleu.corpus_bleu(
            [last or "" for last, _ in pairs], [[title for _, title in pairs]], smooth_method="none", tokenize="13a"
        ).score
        yield Figure(f"BLEU of Last Product Title, {name}", score, 26.55, low, high, "Last Product Title, 0.2655")
    words = _value(con, "select avg(len(string_split(title, ' '))) from products where locale = 'UK'")
    yield Figure("words of a title UK", words, None, 8, 25, "released titles")


def _promises(con: duckdb.DuckDBPyConnection) -> Iterable[Figure]:
    seen = "+".join(
        f"(select count(*) from {table} where list_contains(items, next_item))" for table in ("train", "cold", "warm")
    )
    yield Figure("next_item in prev_items, sessions", _value(con, f"select {seen}"), 0, 0, 0, "released Task 2: 0")
    leaked = (
        "with known as (select unnest(list_append(items, next_item)) as id from train) "
        "select count(*) from cold semi join known on known.id = cold.next_item"
    )
    yield Figure("Task 3 targets in training", _value(con, leaked), 0, 0, 0, "§2.2")
    rowless = (
        "select count(*) from (select next_item as id, locale from cold union all select next_item, locale from warm) "
        "anti join products using (id, locale)"
    )
    yield Figure("test targets without product row", _value(con, rowless), 0, 0, 0, "release")
    priceless = _value(con, f"select avg((price = '{PRICE_SENTINEL}')::int) from products")
    yield Figure("products without price", priceless, None, 0.01, 0.15, "release: 40000000.07")
    empty = _value(con, "select count(*) from products where title is null")
    yield Figure("empty titles, number", empty, None, 1, 2_000, "release: a few")
