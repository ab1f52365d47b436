"""The page that a finished run leaves behind: scores beside Last Product Title, training, data and examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import Dataset

from llmrec.data.connection import connected
from llmrec.data.sessions import item_counts, read_products, read_sessions
from llmrec.data.store import Store
from llmrec.evaluation.results import Result
from llmrec.reporting.blocks import Block, Heading, Paragraph, Plot, Table, Text, provenance_table
from llmrec.reporting.page import write_page
from llmrec.reporting.plots import plot_long_tail, plot_training_curves
from llmrec.reporting.tables import comparison_plot, result_blocks
from llmrec.training.history import read_history

__all__ = ["ReportedRun", "write_generation_report"]

EXAMPLES_PER_LOCALE = 2


@dataclass(frozen=True)
class ReportedRun:
    """What a run of title generation produced.

    Attributes:
        split: Split that titles were written for.
        sessions: Its prompt sessions, ``S`` rows.
        titles: ``S`` titles.
        targets: ``S`` titles of the next products; None where one is not known.
        result: The scores.
        summary: What was run, in one sentence.
        ceiling: How well the tokenizer gives the targets back, in one line; empty where it is not known.
    """

    split: str
    sessions: Dataset
    titles: Sequence[str]
    targets: Sequence[str | None]
    result: Result
    summary: str
    ceiling: str = ""


def write_generation_report(folder: Path, store: Store, outcome: ReportedRun) -> Path:
    """Write ``report.html`` into a run's output folder.

    Args:
        folder: Output folder; its ``history.jsonl`` gives the training curves.
        store: The data.
        outcome: What was written and how it scored.

    Raises:
        DiskError: the page cannot be written.
    """
    page = folder / "report.html"
    blocks: list[Block] = [Paragraph(outcome.summary), *result_blocks(outcome.result), *comparison_plot(outcome.result)]
    blocks += [Paragraph(f"At most: {outcome.ceiling}.", note=True)] if outcome.ceiling else []
    blocks += [provenance_table(outcome.result.provenance)] if outcome.result.provenance else []
    blocks += [Heading("Examples"), Paragraph("Drawn at even distances from each locale, not chosen.", note=True)]
    blocks += [_examples(store, outcome), *_training_blocks(folder), *_data_blocks(store)]
    write_page(page, "Next-product titles", blocks)
    return page


def _examples(store: Store, outcome: ReportedRun) -> Table:
    """Some sessions: previous titles, the written one and the target, each in the language of its locale."""
    locales = np.array(outcome.sessions.data.column("locale").to_pylist(), dtype=object)
    known = np.array([bool(target) for target in outcome.targets])
    chosen: list[int] = []
    for locale in dict.fromkeys(locales):
        rows = np.flatnonzero((locales == locale) & known)
        chosen += rows[np.linspace(0, len(rows) - 1, min(EXAMPLES_PER_LOCALE, len(rows)), dtype=int)].tolist()
    shown: list[list[str | Text]] = []
    for row, previous in zip(chosen, _previous_titles(store, outcome, chosen), strict=True):
        texts = (previous, outcome.titles[row], outcome.targets[row] or "")
        shown.append([str(locales[row]), *(Text(one, str(locales[row])) for one in texts)])
    return Table(("locale", "previous titles, newest last", "written", "target"), shown, align="l")


def _previous_titles(store: Store, outcome: ReportedRun, rows: Sequence[int]) -> list[list[str]]:
    """All titles of some sessions, oldest first; an item without a product row is left out."""
    labelled = outcome.split in ("validation", "development")
    files = store.labelled(outcome.split).files if labelled else (store.test(outcome.split).file,)
    wanted = [outcome.sessions[row]["session_id"] for row in rows]
    with connected() as con:
        sessions = read_sessions(con, files)
        products = read_products(con, store.products).select("locale", "id", "title")
        items = sessions.filter(sessions.session_id.isin(wanted)).select("session_id", "locale", id="prev_items")
        found = items.unnest("id", offset="place").join(products, ["locale", "id"]).order_by("session_id", "place")
        rows_found = found.to_pyarrow().to_pylist()
    titles: dict[int, list[str]] = {session: [] for session in wanted}
    for row in rows_found:
        titles[row["session_id"]].append(row["title"])
    return [titles[session] for session in wanted]


def _training_blocks(folder: Path) -> list[Block]:
    entries = read_history(folder)
    train, validation = (
        [(entry["step"], entry[name]) for entry in entries if entry.get(name) is not None]
        for name in ("train_loss", "validation_loss")
    )
    if not validation:
        return []
    best = min(validation, key=lambda point: point[1])
    alt = f"Validation loss by optimizer step; the lowest is {best[1]:.3f} at step {best[0]}."
    return [Heading("Training"), Plot(plot_training_curves(train, validation), alt)]


def _data_blocks(store: Store) -> list[Block]:
    rows = [[name, f"{table.rows:,}"] for name, table in store.manifest.tables.items()]
    with connected() as con:
        counted = item_counts(read_sessions(con, store.labelled("train").files))
        frequency = counted.group_by("locale", "times").agg(products=lambda t: t.count()).order_by("locale", "times")
        points = frequency.to_pyarrow().to_pydict()
    locale = np.array(points["locale"], dtype=object)
    times, products = np.array(points["times"]), np.array(points["products"])
    series = {str(name): (times[locale == name], products[locale == name]) for name in dict.fromkeys(locale)}
    plot = plot_long_tail(series, "times seen in training sessions", "number of products")
    alt = "Number of products by how often they are seen, for each locale, on two logarithmic axes: a long tail."
    return [Heading("Data"), Table(("table", "rows"), rows), Plot(plot, alt, "Paper, Figure 2a.")]
