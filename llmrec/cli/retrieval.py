"""``llmrec index``, ``similar`` and ``ground``: what is done with vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from llmrec.console import out as out_console
from llmrec.errors import ConfigError, require

__all__ = ["ground", "index", "similar"]


def index(
    folder: Annotated[Path, typer.Argument(help="What `llmrec embed` wrote.")],
    kind: Annotated[str, typer.Option(help="auto, exact, hnsw, ivf or pq.")] = "auto",
    memory_mb: Annotated[
        float | None, typer.Option(help="Most megabytes of the index; the vectors stay on disk and do not count.")
    ] = None,
    recall: Annotated[float, typer.Option(help="Share of the exact ten nearest that a search is to find.")] = 0.95,
    add: Annotated[
        Path | None, typer.Option(help="Add the products of this file; nothing is built.", metavar="PRODUCTS")
    ] = None,
    remove: Annotated[
        Path | None, typer.Option(help="Remove the products of this file (id, locale); nothing is built.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Draws what it learns from and is tuned on.")] = 0,
) -> None:
    """Build and tune the index of an embeddings folder; or add and remove products without building it.

    Example: llmrec index runs/titles --kind ivf --memory-mb 600 --recall 0.95
    """
    require("faiss", "text")
    from llmrec.text.search.build import add_products, build_for_folder, remove_products

    if remove is not None:
        remove_products(folder, remove)
    if add is not None:
        add_products(folder, add)
    if add is None and remove is None:
        build_for_folder(folder, kind, memory_mb, recall, seed)


def similar(
    folder: Annotated[Path, typer.Argument(help="What `llmrec embed` wrote.", metavar="INDEX")],
    title: Annotated[str | None, typer.Argument(help="Title to look for.")] = None,
    k: Annotated[int, typer.Option(help="Most products.")] = 10,
    locale: Annotated[str | None, typer.Option(help="Only products of this locale.")] = None,
    product: Annotated[str | None, typer.Option(help="Look for products like this one, by id.")] = None,
    session: Annotated[str | None, typer.Option(help="Look for products like these ids, the latest last.")] = None,
    recency: Annotated[float, typer.Option(help="Weight of a session's item against the one after it.")] = 0.7,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
) -> None:
    """Find products like a title, a product or a session.

    Example: llmrec similar runs/titles "wireless headphones black" --locale DE --k 10
    """
    require("faiss", "text")
    from llmrec.text.search.similar import SimilarProducts

    if sum(given is not None for given in (title, product, session)) != 1:
        raise ConfigError("give one of a title, --product ID and --session 'ID ID ID'")
    products = SimilarProducts.load(folder)
    if title is not None:
        hits = products.search([title], k, locale)[0]
    elif product is not None:
        hits = products.by_product([product], k, locale)[0]
    else:
        hits = products.by_session((session or "").split(), k, locale, recency)
    _show(hits, as_json)


def ground(
    run: Annotated[Path, typer.Argument(help="Run of titles (Task 3).")],
    index: Annotated[Path, typer.Option(help="What `llmrec embed` wrote.")],
    out: Annotated[Path, typer.Option(help="Run of ranked products to write (Parquet).")],
    k: Annotated[int, typer.Option(help="Most products of a list.")] = 100,
    sessions: Annotated[
        Path | None, typer.Option(help="Sessions of the run's split: their own items are left out.")
    ] = None,
) -> None:
    """Turn titles into ranked products that exist, of each session's locale.

    Example: llmrec ground runs/titles_validation.parquet --index runs/titles --out runs/grounded.parquet
    """
    require("faiss", "text")
    from llmrec.text.products.ground import ground_run

    ground_run(run, index, out, k, sessions)


def _show(hits: list[Any], as_json: bool) -> None:
    import dataclasses
    import json

    from rich.table import Table
    from rich.text import Text

    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(hit) for hit in hits], ensure_ascii=False, indent=2))
        return
    table = Table("rank", "score", "locale", "id", "title")
    for hit in hits:
        cells = (str(hit.rank), f"{hit.score:.3f}", hit.locale, hit.id, hit.title)
        table.add_row(*(Text(cell) for cell in cells))  # a title's brackets are no markup
    out_console.print(table)
