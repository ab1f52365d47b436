"""One command: count everything in a data set, and write tables, figures and the page."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import pyarrow as pa

from llmrec.console import Group, RenderableType, notice, out, progress_bar, table
from llmrec.data.sources import is_store
from llmrec.data.store import Store, time_split_of
from llmrec.errors import DataError
from llmrec.evaluation.provenance import collect_provenance
from llmrec.files import table_files, uri_of
from llmrec.output import check
from llmrec.paper.statistics import figures
from llmrec.paper.statistics.corpus import ALL, TRAIN, Corpus, open_corpus
from llmrec.paper.statistics.job import StatisticsJob
from llmrec.paper.statistics.overview import Overview, overview
from llmrec.paper.statistics.publish import Numbers, write_statistics
from llmrec.paper.statistics.sknn import NTH, sknn_scores
from llmrec.settings import claiming

__all__ = ["next_command", "render_numbers", "run_statistics_job", "show_statistics"]

_FIGURES: Final[dict[str, Callable[[Corpus], pa.Table]]] = {
    function.__name__: function
    for function in (
        figures.product_frequency,
        figures.product_overlap,
        figures.session_lengths,
        figures.repeat_shares,
        figures.repeated_items,
    )
}


def show_statistics(job: StatisticsJob) -> Numbers:
    """Count, print what the terminal shows, and give it; errors are those of `run_statistics_job`."""
    numbers = run_statistics_job(job)
    out.print(render_numbers(job, numbers))
    if job.out is not None:
        notice(f"report: {job.out / 'report.html'}")
    if is_store(job.data) and (cut := time_split_of(job.data / "manifest.json")) is not None:
        notice(f"the log was {cut.told()}")
    notice(next_command(job, numbers))
    return numbers


@claiming
def run_statistics_job(job: StatisticsJob) -> Numbers:
    """Count, and write if asked to.

    Raises:
        ConfigError: ``data`` is no place with sessions, or a setting is wrong.
        DataError: a file cannot be read.
        DiskError: ``out`` cannot be written.
    """
    started = time.monotonic()
    if job.out is not None:
        check(job.out / "statistics.json")
        check(job.out / "report.html")
    if job.engine == "spark" and job.sknn_sample:
        notice("Figure 2f is left out: its neighbours are looked for in memory; count a sample here, without a cluster")
        job = replace(job, sknn_sample=0)
    with open_corpus(job.data, job.engine, job.master) as corpus:
        chosen = corpus if job.split is None else corpus.choose(job.split)
        tables = {}
        with progress_bar() as bar:
            task = bar.add_task("count", total=1 + len(_FIGURES), note="overview")
            counted = overview(corpus)
            _refuse_empty(chosen, counted)
            for name, function in _FIGURES.items():
                bar.update(task, advance=1, note=name.replace("_", " "))
                tables[name] = function(chosen)
            bar.update(task, advance=1, note="")
        sknn = None if not job.sknn_sample else sknn_scores(chosen, job.sknn_sample, job.seed)
        numbers = Numbers(counted, tables, sknn, chosen.counted)
    if job.out is not None:
        fingerprint = Store.load(job.data).fingerprint if is_store(job.data) else None
        provenance = collect_provenance(None, job.seed, fingerprint, started)
        write_statistics(job.out, f"What the sessions of {job.data.name} look like", numbers, provenance)
    return numbers


def _refuse_empty(corpus: Corpus, counted: Overview) -> None:
    held = sum(row["num_interactions"] for row in counted.table.to_pylist() if row["split"] in corpus.counted)
    if not held:
        raise DataError(f"{corpus.path}: no item in its sessions ({', '.join(corpus.counted)}); nothing to count")


def render_numbers(job: StatisticsJob, numbers: Numbers) -> Group:
    """Render what the terminal shows: Table 2 with every split, the counted ones by locale, then what figures say."""
    one = numbers.overview
    known = one.num_products is not None
    rows = [
        _overview_row(row, known)
        for row in one.table.to_pylist()
        if row["locale"] == ALL or row["split"] in numbers.counted
    ]
    header = ["split", *(["products"] if known else []), "sessions", "items", "length (most)", "repeats"]
    parts: list[RenderableType] = [table(f"{uri_of(job.data) or job.data}: Table 2", header, rows)]
    parts.append(table("Figures", ("what", "all", "largest", "smallest"), _figure_rows(numbers)))
    return Group(*parts)


def _overview_row(row: dict[str, Any], with_products: bool) -> list[str]:
    name = row["split"].removeprefix("test_") if row["locale"] == ALL else f"  {row['locale']}"
    products = [_or_dash(row["num_products"], ",d")] if with_products else []
    lengths = f"{row['mean_length']:.4f} ({row['longest']})" if row["num_sessions"] else "–"
    counts = [f"{row['num_sessions']:,}", f"{row['num_interactions']:,}"]
    return [name, *products, *counts, lengths, _or_dash(row["repeat_share"], ".2%")]


def _or_dash(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _figure_rows(numbers: Numbers) -> list[list[str]]:
    pairs = {
        f"{row['locale_a']} in {row['locale_b']}": row["overlap"]
        for row in numbers.tables["product_overlap"].to_pylist()
        if row["locale_a"] != row["locale_b"]
    }
    shares = {row["locale"]: row["share"] for row in numbers.tables["repeat_shares"].to_pylist()}
    rows = [
        *_share_row(numbers, "product_frequency", "times", 1, "2a: products seen once"),
        ["2b: products shared", "", *_ends(pairs, ".1%")],
        *_share_row(numbers, "session_lengths", "length", 2, "2c: sessions of length 2"),
        ["2d: with a repeated product", f"{shares.pop(ALL):.2%}", *_ends(shares, ".2%")],
        *_share_row(numbers, "repeated_items", "num_repeated", 1, "2e: of them, with one"),
    ]
    if numbers.sknn is not None:
        scores = numbers.sknn.table.to_pandas()
        medians = scores.groupby("locale")["score"].median().to_dict()
        what = f"2f: {NTH}th SKNN score, median"
        rows.append([what, f"{scores['score'].median():.3f}", *_ends(medians, ".3f")])
    return rows


def _share_row(numbers: Numbers, name: str, x: str, value: int, what: str) -> list[list[str]]:
    shares = _shares_at(numbers.tables[name], x, value)
    return [[what, f"{shares.pop(ALL):.1%}", *_ends(shares, ".1%")]] if shares else []


def _shares_at(table: pa.Table, x: str, value: int) -> dict[str, float]:
    """By locale, the share of what is counted that stands at one value of x."""
    count = table.column_names[-1]
    whole: dict[str, int] = {}
    there: dict[str, int] = {}
    for row in table.to_pylist():
        whole[row["locale"]] = whole.get(row["locale"], 0) + row[count]
        there[row["locale"]] = there.get(row["locale"], 0) + (row[count] if row[x] == value else 0)
    return {locale: there[locale] / total for locale, total in whole.items()}


def _ends(values: dict[Any, float], form: str) -> list[str]:
    """The largest and the smallest of some values, with their names."""
    if not values:
        return ["–", "–"]
    high, low = max(values, key=values.__getitem__), min(values, key=values.__getitem__)
    return [f"{high} {values[high]:{form}}", f"{low} {values[low]:{form}}"]


def next_command(job: StatisticsJob, numbers: Numbers) -> str:
    """What to type after this."""
    store = job.data
    if (uri := uri_of(store)) is not None:
        return f"next: llmrec data holdout {uri}/sessions_development.parquet URI --engine spark"
    if job.out is None:
        return f"next: llmrec stats {job.data} --out runs/stats"
    if table_files(store):
        return f"next: llmrec data holdout {store} runs/holdout"
    if not is_store(store):
        return f"next: llmrec data import {store} STORE"
    split = "validation" if TRAIN in numbers.overview.table["split"].to_pylist() else Store.load(store).test_splits[0]
    train = f"{store}/sessions_{'development' if split == 'validation' else split}.parquet"
    return f"next: llmrec rank popularity --train {train} --sessions {store}/sessions_{split}.parquet --out RUN"
