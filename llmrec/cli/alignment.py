"""``llmrec evaluate-alignment`` and ``impute``: what vectors know across languages, and of attributes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from llmrec.cli.flags import choice
from llmrec.console import notice
from llmrec.console import out as out_console
from llmrec.errors import require

__all__ = ["evaluate_alignment", "impute"]

_METRICS = {"hit@1": "Hit@1", "hit@10": "Hit@10", "mrr": "MRR"}


def evaluate_alignment(
    folder: Annotated[Path, typer.Argument(help="What `llmrec embed` wrote.", metavar="INDEX")],
    json: Annotated[Path | None, typer.Option(help="Write the scores here as well.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a heat map here (.png or .svg).")] = None,
    metric: Annotated[str, typer.Option(help="What the heat map shows: hit@1, hit@10 or mrr.")] = "mrr",
    queries: Annotated[int, typer.Option(help="Most products of a pair of locales that ask.")] = 1000,
    seed: Annotated[int, typer.Option(help="Draws them.")] = 0,
) -> None:
    """Let each product look for itself in the other locales: Hit@1, Hit@10 and MRR for each ordered pair.

    Example: llmrec evaluate-alignment runs/titles --plot runs/alignment.svg
    """
    from dataclasses import asdict
    from json import dumps

    from llmrec.files import write_text
    from llmrec.text.encoders.embeddings_folder import open_embeddings
    from llmrec.text.products.alignment import align_locales, render_alignment

    shown = _METRICS[choice(metric, "--metric", tuple(_METRICS))]
    embeddings = open_embeddings(folder)
    alignment = align_locales(embeddings.vectors, embeddings.products, queries, seed)
    if json is not None:
        pairs = [{"asks": one, "answers": two, **asdict(scores)} for (one, two), scores in alignment.pairs.items()]
        record = {"encoder": embeddings.manifest["encoder"], "queries": queries, "seed": seed, "pairs": pairs}
        write_text(json, dumps(record, indent=2, ensure_ascii=False) + "\n")
    if plot is not None:
        from llmrec.reporting.plots import plot_heatmap, save_figure

        name = embeddings.manifest["encoder"]["name"]
        figure = plot_heatmap(alignment.matrix(shown), alignment.locales, f"{shown}, {name}: the same product abroad")
        (axes,) = figure.axes
        axes.set_xlabel("locale that answers")
        axes.set_ylabel("locale that asks")
        save_figure(figure, plot)
    out_console.print(render_alignment(alignment), markup=False)


def impute(
    folder: Annotated[Path, typer.Argument(help="What `llmrec embed` wrote.", metavar="INDEX")],
    products: Annotated[Path, typer.Option(help="The product file, with the attributes.")],
    attribute: Annotated[list[str] | None, typer.Option(help="brand, color, material …; may be repeated.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write values for the products that lack them (.parquet).")] = None,
    k: Annotated[int, typer.Option(help="Neighbours that vote.")] = 10,
    hide: Annotated[float, typer.Option(help="Share of the known values that is hidden, to measure accuracy.")] = 0.1,
    queries: Annotated[int, typer.Option(help="Most hidden values of a locale.")] = 1000,
    seed: Annotated[int, typer.Option(help="Draws them.")] = 0,
) -> None:
    """Vote on brand, colour and material by the products with like texts; accuracy on hidden values by locale.

    Example: llmrec impute runs/titles --products products.parquet --attribute brand --out runs/brands.parquet
    """
    require("faiss", "text")
    import pyarrow.parquet as pq

    from llmrec.files import atomic_file
    from llmrec.text.encoders.embeddings_folder import open_embeddings
    from llmrec.text.products.impute import impute_attributes, render_accuracies

    names = [{"colour": "color"}.get(name, name) for name in attribute or ("brand", "color", "material")]
    embeddings = open_embeddings(folder)
    table = _attributes(embeddings.products, products, names)
    made = impute_attributes(
        embeddings.vectors, table, names, k=k, hide=hide, most=queries, fill=out is not None, seed=seed
    )
    if out is not None:
        with atomic_file(out) as temporary:
            pq.write_table(made.values, temporary, compression="zstd")
        notice(f"{made.values.num_rows:,} values in {out}")
    out_console.print(render_accuracies(made.accuracies), markup=False)


def _attributes(keys: Any, products: Path, names: list[str]) -> Any:
    """Attributes of the embedded products, in their order; null where the file has no such product."""
    import numpy as np
    import pyarrow as pa

    from llmrec.data.products import load_products
    from llmrec.errors import DataError
    from llmrec.text.products.impute import ATTRIBUTES
    from llmrec.text.search.keys import key_rows

    for name in names:
        choice(name, "--attribute", ATTRIBUTES)
    table = load_products(products, ("locale", "id", *names))
    rows = key_rows(table, keys["locale"], keys["id"], np.ones(len(table), dtype=np.bool_))
    if not (rows >= 0).any():
        raise DataError(f"{products}: holds none of the embedded products; give the file that was embedded")
    taken = (
        table.select(names).take(pa.array(rows, mask=rows < 0)).cast(pa.schema([(one, pa.string()) for one in names]))
    )
    columns = {name: taken[name].combine_chunks() for name in names}
    return pa.table({"locale": keys["locale"].combine_chunks(), "id": keys["id"].combine_chunks(), **columns})
