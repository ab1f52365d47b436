"""Tables and figures of a data set as files: CSV, PNG and SVG of each, and one page with all of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from matplotlib.figure import Figure

from llmrec.console import track
from llmrec.display import for_csv
from llmrec.output import atomic_file, write_text
from llmrec.paper.statistics.corpus import ALL
from llmrec.paper.statistics.figures import overlap_matrix
from llmrec.paper.statistics.overview import Overview
from llmrec.paper.statistics.sknn import NTH, SknnScores
from llmrec.reporting.blocks import Block, Heading, Paragraph, Plot, Table, provenance_table
from llmrec.reporting.page import render_page
from llmrec.reporting.plots import (
    plot_heatmap,
    plot_histogram,
    plot_long_tail,
    plot_long_tails,
    plot_shares,
    save_figure,
)

__all__ = ["Numbers", "PaperFigure", "build_figures", "overview_rows", "write_statistics"]

OVERVIEW_HEADER: Final = (
    "split",
    "locale",
    "products",
    "sessions",
    "interactions",
    "mean length",
    "longest",
    "with a repeat",
)
_SESSIONS: Final = "number of sessions"


@dataclass(frozen=True)
class Numbers:
    """All that is counted in a data set: the tables of `llmrec.paper.statistics.figures` by the names of its functions.

    Attributes:
        overview: Tables 1 and 2.
        tables: Name of the function to its table.
        sknn: Scores of Figure 2f; None where they were left out.
        counted: Splits whose sessions the figures count.
    """

    overview: Overview
    tables: Mapping[str, pa.Table]
    sknn: SknnScores | None
    counted: Sequence[str]


@dataclass(frozen=True)
class PaperFigure:
    """A figure of the paper, counted here.

    Attributes:
        name: File name without ending: ``figure_2a`` …
        title: What it shows, in a few words.
        plot: The drawing.
        alt: What is to be seen, with its main numbers, for those who do not see it.
        caption: How it was counted.
        table: Its numbers.
    """

    name: str
    title: str
    plot: Figure
    alt: str
    caption: str
    table: pa.Table


def build_figures(numbers: Numbers) -> list[PaperFigure]:
    """Draw every figure, in the paper's order."""
    tables, counted = numbers.tables, f"Sessions counted: {', '.join(numbers.counted)}."
    figures = [
        _long_tail(tables["product_frequency"], counted),
        _overlap(tables["product_overlap"], numbers.overview.num_products is not None),
        _lengths(tables["session_lengths"], counted),
        _shares(tables["repeat_shares"], counted),
        _repeats(tables["repeated_items"], counted),
    ]
    if numbers.sknn is not None:
        figures.append(_sknn(numbers.sknn))
    for name, key in (("figure_4", "session_lengths"), ("figure_5", "repeated_items")):
        figures.append(_by_locale(name, key, tables[key]))
    return [figure for figure in figures if len(figure.table)]


def _series(table: pa.Table, x: str, y: str) -> dict[str, tuple[list[int], list[int]]]:
    """Each locale's x and y, ``all`` among them; x of 0 has no place on a logarithmic axis."""
    series: dict[str, tuple[list[int], list[int]]] = {}
    for row in table.to_pylist():
        xs, ys = series.setdefault(row["locale"], ([], []))
        if row[x] > 0:
            xs.append(row[x])
            ys.append(row[y])
    return series


def _one(table: pa.Table, x: str, y: str) -> dict[str, tuple[list[int], list[int]]]:
    return {"": _series(table, x, y).get(ALL, ([], []))}


def _long_tail(table: pa.Table, counted: str) -> PaperFigure:
    series = _series(table, "times", "num_products")
    times, products = (np.array(values) for values in series[ALL])
    once = products[times == 1].sum() / max(products.sum(), 1)
    alt = (
        f"On two logarithmic axes the number of products falls as they are seen more often: {once:.0%} of "
        f"{products.sum():,} products are seen once, the most frequent {times.max(initial=0):,} times; "
        f"the same in every locale."
    )
    return PaperFigure(
        "figure_2a",
        "A few products are seen often, most hardly ever",
        plot_long_tail(series, "times a product is seen in sessions", "number of products"),
        alt,
        f"Figure 2a, over all locales and in each. Items of prev_items are counted. {counted}",
        table,
    )


def _overlap(table: pa.Table, from_catalogue: bool) -> PaperFigure:
    locales, matrix = overlap_matrix(table)
    pairs = [(matrix[a, b], locales[a], locales[b]) for a in range(len(locales)) for b in range(len(locales)) if a != b]
    summary = "There is one locale alone."
    if pairs:
        share, a, b = max(pairs)
        summary = f"The largest share off the diagonal: {share:.0%} of the products of {a} are sold in {b} too."
    what = "the products of the catalogue" if from_catalogue else "the items of the sessions, for no products are known"
    return PaperFigure(
        "figure_2b",
        "How many products of a locale another one has too",
        plot_heatmap(
            np.where(np.eye(len(locales), dtype=bool), np.nan, 100 * matrix),
            locales,
            "% of the row's products that the column has too",
        ),
        f"Heat map of the product overlap between {len(locales)} locales. {summary}",
        f"Figure 2b: |a ∩ b| / |a|, a the row, b the column; the diagonal, 100 %, is left empty. Counted: {what}.",
        table,
    )


def _lengths(table: pa.Table, counted: str) -> PaperFigure:
    lengths, sessions = (np.array(values) for values in _one(table, "length", "num_sessions")[""])
    mean = (lengths * sessions).sum() / max(sessions.sum(), 1)
    above = int(sessions[lengths > 100].sum())
    return PaperFigure(
        "figure_2c",
        "Most sessions are short",
        plot_long_tail(_one(table, "length", "num_sessions"), "session length (items)", _SESSIONS),
        f"On two logarithmic axes the number of sessions falls with their length: {mean:.2f} items in the mean, "
        f"{lengths.max(initial=0):,} in the longest, {above:,} sessions of more than 100.",
        f"Figure 2c: the length of prev_items, the next item not counted. {counted}",
        table,
    )


def _shares(table: pa.Table, counted: str) -> PaperFigure:
    shares = {row["locale"]: row["share"] for row in table.to_pylist()}
    summary = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
    return PaperFigure(
        "figure_2d",
        "Sessions that hold a product more than once",
        plot_shares(shares, "sessions with a repeat"),
        f"Bars of the share of sessions with a repeated product: {summary}.",
        f"Figure 2d. {counted}",
        table,
    )


def _repeats(table: pa.Table, counted: str) -> PaperFigure:
    repeated, sessions = (
        np.array(values, dtype=np.int64) for values in _one(table, "num_repeated", "num_sessions")[""]
    )
    one = sessions[repeated == 1].sum() / max(sessions.sum(), 1)
    return PaperFigure(
        "figure_2e",
        "How many products a session repeats",
        plot_long_tail(
            _one(table, "num_repeated", "num_sessions"),
            "different products seen more than once in a session",
            _SESSIONS,
        ),
        f"On two logarithmic axes the number of sessions falls with the number of products they repeat: {one:.0%} of "
        f"{sessions.sum():,} repeating sessions repeat one product, the largest number is {repeated.max(initial=0)}.",
        f"Figure 2e: sessions without a repeat are left out. {counted}",
        table,
    )


def _sknn(scores: SknnScores) -> PaperFigure:
    values = scores.table["score"].to_numpy()
    none = float((values == 0).mean())
    settings = scores.settings
    return PaperFigure(
        "figure_2f",
        f"Score of the {NTH}th best product of the sessions around a session",
        plot_histogram(values, f"{NTH}th-highest SKNN score", f"sessions, of a sample of {len(values):,}", 0.1),
        f"Histogram of the {NTH}th-highest SKNN score: median {np.median(values):.2f}, a tenth of the sessions above "
        f"{np.quantile(values, 0.9):.2f}; {none:.0%} have fewer than {NTH} products around them and score 0.",
        f"Figure 2f, on {len(values):,} sessions drawn with seed {scores.seed} from {scores.num_sessions:,}. Cosine of "
        f"the sessions as sets; the {settings.neighbours} most similar other sessions vote, looked for among the "
        f"{settings.sample:,} newest of each item; the paper names neither number. A session's own products are scored "
        "as all others, and it is no neighbour of itself.",
        scores.table,
    )


def _by_locale(name: str, key: str, table: pa.Table) -> PaperFigure:
    lengths = key == "session_lengths"
    x, what = ("length", "session length (items)") if lengths else ("num_repeated", "different products repeated")
    series = {locale: xy for locale, xy in _series(table, x, "num_sessions").items() if locale != ALL and xy[0]}
    summary = ", ".join(f"{locale} {max(xs)}" for locale, (xs, _) in series.items())
    return PaperFigure(
        name,
        "Session length by locale" if lengths else "Repeated products by locale",
        plot_long_tails(series or {"": ([], [])}, what, _SESSIONS),
        f"A panel for each locale, both axes logarithmic: a long tail in every one. Largest value: {summary}.",
        f"Figure {name[-1]} (Appendix B.2).",
        table,
    )


def overview_rows(overview: Overview) -> list[list[str]]:
    """Cells of Table 2, as `OVERVIEW_HEADER` names them."""
    return [
        [
            row["split"],
            row["locale"],
            "–" if row["num_products"] is None else f"{row['num_products']:,}",
            f"{row['num_sessions']:,}",
            f"{row['num_interactions']:,}",
            _number(row["mean_length"], ".4f"),
            _number(row["longest"], ",d"),
            _number(row["repeat_share"], ".2%"),
        ]
        for row in overview.table.to_pylist()
    ]


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def write_statistics(folder: Path, title: str, numbers: Numbers, provenance: Mapping[str, Any]) -> Path:
    """Write ``report.html``, ``statistics.json``, and each table and figure as CSV, figures as PNG and SVG too.

    Args:
        folder: Where to; files of the same names are replaced, others stay.
        title: Heading of the page.
        numbers: What was counted.
        provenance: How.

    Returns:
        The page.

    Raises:
        DiskError: the place cannot be written.
    """
    one = numbers.overview
    table_1 = pa.table(
        {"train_sessions": [one.num_train], "test_sessions": [one.num_test], "products": [one.num_products]}
    )
    _write_csv(folder / "table_1.csv", table_1)
    _write_csv(folder / "table_2.csv", one.table)
    figures = build_figures(numbers)
    pictures = [block for figure in figures for block in _picture(figure)]
    page = render_page(title, [*_tables(numbers), *pictures, provenance_table(provenance)])
    for figure in track(figures, "draw", len(figures)):
        _write_csv(folder / f"{figure.name}.csv", figure.table)
        figure.plot.set_layout_engine("none")  # laid out for the page; to do it again takes most of the time
        for ending in ("png", "svg"):
            save_figure(figure.plot, folder / f"{figure.name}.{ending}")
    write_text(folder / "statistics.json", json.dumps(_record(numbers, figures, provenance), indent=1) + "\n")
    write_text(folder / "report.html", page)
    return folder / "report.html"


def _write_csv(path: Path, table: pa.Table) -> None:
    with atomic_file(path) as temporary:
        pa_csv.write_csv(_for_people(table), temporary)


def _for_people(table: pa.Table) -> pa.Table:
    """The table as a spreadsheet may open it: no locale is a formula."""
    columns = {name: table[name] for name in table.column_names}
    texts = {
        name: [for_csv(value) for value in column.to_pylist()]
        for name, column in columns.items()
        if pa.types.is_string(column.type)
    }
    return pa.table(columns | texts)


def _record(numbers: Numbers, figures: Sequence[PaperFigure], provenance: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "counted": list(numbers.counted),
        "table_1": {
            "train_sessions": numbers.overview.num_train,
            "test_sessions": numbers.overview.num_test,
            "products": numbers.overview.num_products,
        },
        "table_2": numbers.overview.table.to_pylist(),
        "figures": {figure.name: {"title": figure.title, "shows": figure.alt} for figure in figures},
        "provenance": dict(provenance),
    }


def _tables(numbers: Numbers) -> list[Block]:
    one = numbers.overview
    products = "products are not known" if one.num_products is None else f"{one.num_products:,} distinct products"
    caption = "Table 2, with the longest session and the share of sessions that repeat a product."
    return [
        Heading("Sessions and products"),
        Paragraph(f"Table 1: {one.num_train:,} training sessions, {one.num_test:,} test sessions, {products}."),
        Table(OVERVIEW_HEADER, overview_rows(one), caption, align="llr"),
        Paragraph(
            "Interactions and lengths are of prev_items, the next item not counted. Products: rows of the locale in "
            "the catalogue; for all locales together, distinct ids.",
            note=True,
        ),
    ]


def _picture(figure: PaperFigure) -> list[Block]:
    return [
        Heading(figure.title),
        Plot(figure.plot, figure.alt, figure.caption),
        Paragraph(f"Numbers: {figure.name}.csv; picture: {figure.name}.png, {figure.name}.svg.", note=True),
    ]
