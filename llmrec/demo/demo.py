"""``llmrec demo``: from nothing to ranked products, titles, similar products and one page, on made-up data."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pyarrow.compute as pc
import pyarrow.parquet as pq

from llmrec.console import notice, recap
from llmrec.data.store import Store
from llmrec.demo.job import DemoJob
from llmrec.demo.stages import SPLIT, Question, make_store, rank_products, search_abroad, write_titles
from llmrec.errors import require
from llmrec.evaluation.parts import ALL_SESSIONS
from llmrec.evaluation.results import Result
from llmrec.evaluation.runs import read_run
from llmrec.reporting.blocks import Block, Code, Heading, Paragraph, Table, Text, to_terminal
from llmrec.reporting.page import write_page
from llmrec.reporting.tables import comparison_plot, label_of, number, with_interval
from llmrec.settings import claiming
from llmrec.training.history import read_history

__all__ = ["run_demo"]

NAMES: Final = {
    "popularity": "Popularity (the paper's)",
    "covisit": "Co-visitation",
    "fusion": "Fusion of rankers",
    "last_title": "Last Product Title (the paper's)",
    "tiny_mt5": "Tiny mT5 from scratch",
    "select": "Selector",
}
NEXT: Final = (  # a folder with sessions_train and products_train, CSV or Parquet
    "llmrec data import YOUR_FOLDER stores/shop",
    "llmrec rank covisit --train stores/shop/sessions_development.parquet "
    "--sessions stores/shop/sessions_validation.parquet --out runs/covisit.parquet",
    "llmrec evaluate runs/covisit.parquet --targets stores/shop/sessions_validation.parquet",
)
EXAMPLES: Final = 6


@claiming
def run_demo(job: DemoJob) -> dict[str, Any]:
    """Run the stages that are not done, print their tables, write the page.

    Returns:
        The page, and each method's metrics.

    Raises:
        DiskError: the place cannot be written.
        MissingExtraError: an extra that a stage needs is not installed.
    """
    for package in ("lightgbm", "torch", "transformers", "faiss"):
        require(package, "generate,rank,search")
    started = time.monotonic()
    store = make_store(job.out, job.size, job.seed)
    data = _data_table(store)
    recap(to_terminal(data))
    ranked = rank_products(store, job.out / "ranked", job.seed)
    rankings = _score_table(ranked, "mrr@100", "recall@100")
    recap(to_terminal(rankings))
    questions = search_abroad(store, job.out / "titles_index", _some_titles(store))
    similar = _similar_table(questions)
    recap(to_terminal(similar))
    titled = write_titles(store, job.out / "titles", job.seed, job.steps)
    titles = _score_table(titled, "bleu")
    recap(to_terminal(titles))
    page = job.out / "report.html"
    write_page(page, "llmrec in a few minutes", _page(job, (data, rankings, similar, titles), titled))
    notice(f"{time.monotonic() - started:.0f} s; all of it as a page: {page}")
    notice("your own data next, a folder with sessions_train and products_train, CSV or Parquet:")
    for line in NEXT:
        notice(line)
    return {"page": page, "metrics": {name: one.overall.metrics for name, one in {**ranked, **titled}.items()}}


def _data_table(store: Store) -> Table:
    files = [store.path / f"sessions_{name}.parquet" for name in ("development", SPLIT)]
    counts = [_counted(pq.ParquetFile(file).read(["locale"])["locale"]) for file in (store.products, *files)]
    rows = [[locale, *(f"{one.get(locale, 0):,}" for one in counts)] for locale in counts[0]]
    return Table(("locale", "products", "sessions to learn from", "sessions to judge by"), rows, "Made-up data")


def _counted(column: Any) -> dict[str, int]:
    return {
        row["values"]: row["counts"]
        for row in sorted(pc.value_counts(column).to_pylist(), key=lambda row: -row["counts"])
    }


def _score_table(results: Mapping[str, Result], *metrics: str) -> Table:
    """A method a row: each metric with its interval, and what the first method has less."""
    rows = []
    for name, result in results.items():
        part = result.breakdowns["locale"][ALL_SESSIONS]
        cells = [with_interval(metric, part.intervals[metric]) for metric in metrics]
        more = with_interval(metrics[0], part.differences[metrics[0]], "+") if part.differences else "–"
        rows.append([NAMES[name], *cells, more])
    first = NAMES[next(iter(results))]
    columns = ("method", *(f"{label_of(metric)} [95 % interval]" for metric in metrics), f"more than {first}")
    return Table(columns, rows, "The next title" if metrics[0] == "bleu" else "The next product")


def _some_titles(store: Store) -> list[tuple[str, str]]:
    """The first titled product of three locales."""
    table = pq.ParquetFile(store.products).read(["locale", "title"])
    found: dict[str, str] = {}
    for locale, title in zip(table["locale"].to_pylist(), table["title"].to_pylist(), strict=True):
        if title and locale in ("UK", "DE", "ES"):
            found.setdefault(locale, title)
    return list(found.items())


def _similar_table(questions: Sequence[Question]) -> Table:
    rows: list[list[str | Text]] = []
    for question in questions:
        best = sorted((hits[0] for hits in question.hits.values() if hits), key=lambda hit: -hit.score)[:3]
        rows += [
            [
                f"{question.locale} → {hit.locale}",
                Text(question.title, question.locale),
                Text(hit.title, hit.locale),
                f"{hit.score:.2f}",
            ]
            for hit in best
        ]
    return Table(
        ("from → to", "looked for", "most alike there", "cosine"), rows, "Similar products in other languages", "l"
    )


def _page(job: DemoJob, tables: tuple[Table, ...], titled: Mapping[str, Result]) -> list[Block]:
    data, rankings, similar, titles = tables
    gain = titled["select"].breakdowns["locale"][ALL_SESSIONS].differences["bleu"]
    lost = titled["tiny_mt5"].breakdowns["locale"][ALL_SESSIONS].differences["bleu"]
    sure = "more than chance" if gain.low > 0 else "which may be chance"
    steps = read_history(job.out / "titles" / "tiny_mt5")[-1]["step"]
    return [
        Paragraph(
            "Sessions of six locales were made up; rankers learnt from some and were judged on others, and titles were "
            "written. Made-up data shows what the toolkit does, not how good it is: for that see the results on real "
            "sessions in the README."
        ),
        Heading("The data"),
        data,
        Heading("The next product"),
        Paragraph(
            "Each session of the last column is ranked without its last item; the rank of that item is what counts."
        ),
        rankings,
        Heading("Similar products in other languages"),
        Paragraph("Titles become vectors, and the nearest ones of another locale are found; no model was downloaded."),
        similar,
        Heading("The next title"),
        Paragraph(
            "The last title of a session is hard to beat: no model of the paper does. The tiny mT5 has learnt for "
            f"{steps} steps from nothing and has {number('bleu', lost.difference, '+')} BLEU against it; a "
            "pretrained one needs a GPU and hours. The selector chooses among titles that exist and has "
            f"{number('bleu', gain.difference, '+')}, {sure}."
        ),
        titles,
        *comparison_plot(_named(titled["select"])),
        _examples(job.out / "titles"),
        Heading("Your own data"),
        Code("\n".join(NEXT), "bash"),
    ]


def _named(result: Result) -> Result:
    """The selector's result with names for people instead of those of files."""
    compared = result.comparison and replace(result.comparison, baseline="Last Product Title")
    return replace(result, run=NAMES["select"], comparison=compared)


def _examples(folder: Path) -> Table:
    """Titles of some sessions side by side."""
    runs = {name: read_run(folder / f"{name}.parquet") for name in ("last_title", "select", "tiny_mt5")}
    locales = runs["select"].locales.to_pylist()
    places = list({locale: place for place, locale in reversed(list(enumerate(locales)))}.values())[:EXAMPLES]
    rows: list[list[str | Text]] = [
        [locales[place], *(Text(str(run.predictions[place]), locales[place]) for run in runs.values())]
        for place in sorted(places)
    ]
    return Table(
        ("locale", *(NAMES[name] for name in runs)),
        rows,
        "Titles for the first session of each locale",
        "l",
    )
