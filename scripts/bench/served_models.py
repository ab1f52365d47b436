"""What the service is measured with: models of each kind, made where they are missing, and what they are asked for."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.measure import RUNS, measure, store_of

__all__ = ["CASES", "Case", "Served", "made"]

PLACE: Final = RUNS / "serving"
NEURAL_ITEMS: Final = {"tiny": 2_000, "small": 140_000, "full": 1_410_675}  # of Task 2, and of all locales
LIST: Final = 20  # products of a list


@dataclass(frozen=True)
class Case:
    """A kind of request: its route, and the latency that nine of ten should not exceed."""

    path: str
    promise_ms: float


CASES: Final = {
    "covisit": Case("/v1/recommend", 5.0),
    "fusion": Case("/v1/recommend", 15.0),
    "gru4rec": Case("/v1/recommend", 50.0),
    "similar": Case("/v1/similar", 10.0),
    "titles": Case("/v1/title", 250.0),
    "titles_transformers": Case("/v1/title", 250.0),
}


@dataclass(frozen=True)
class Served:
    """A case's model.

    Attributes:
        flags: Of `llmrec serve`.
        bodies: What is asked.
        said: In words.
        extra: What else can be told once it was asked.
    """

    flags: tuple[str, ...]
    bodies: Sequence[dict[str, Any]]
    said: str
    extra: Callable[[], str] | None = None


def made(
    name: str, size: str, ranker: Path | None = None, sessions: Path | None = None, index: Path | None = None
) -> Served:
    """The model of a case, made where it is missing; or ``ranker``, asked for ``sessions``; or ``index``."""
    if CASES[name].path == "/v1/recommend" and ranker is not None and sessions is not None:
        return Served(("--ranker", str(ranker)), _asked(sessions), f"{ranker}, {sessions.name}")
    if name == "similar" and index is not None:
        return _similar(size, index)
    folder = PLACE / size / name
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(part := folder.with_name(f"{name}.part"), ignore_errors=True)
        measure(_MAKERS[name], size, part)
        part.rename(folder)
    return _SERVED[name](size, folder)


def _asked(file: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    table = next(pq.ParquetFile(file).iter_batches(20_000, columns=["prev_items", "locale"])).to_pylist()
    return [{"items": row["prev_items"], "locale": row["locale"], "k": LIST} for row in table]


def _make_covisit(size: str, folder: Path) -> None:
    from bench.counting import covisit_fit

    covisit_fit(store_of(size), folder)


def _make_fusion(size: str, folder: Path) -> None:
    from bench.fusion import fusion_fit

    fusion_fit(store_of(size), folder, 5_000, None)


def _make_gru4rec(size: str, folder: Path) -> None:
    """Random weights are as quick as learnt ones."""
    from bench.neural import untrained

    untrained(NEURAL_ITEMS[size], 128).save(folder)


def _make_similar(size: str, folder: Path) -> None:
    from bench.embeddings import embed_store
    from llmrec.text.search.build import build_for_folder

    embed_store(store_of(size), folder)
    build_for_folder(folder)


def _make_titles(size: str, folder: Path) -> None:
    from bench.decoding import tiny_writer

    tiny_writer(store_of(size), folder)


def _recommending(size: str, folder: Path) -> Served:
    from bench.counting import TEST

    store = store_of(size)
    return Served(("--ranker", str(folder)), _asked(store / TEST), f"synthetic {size}")


def _neural(size: str, folder: Path) -> Served:
    rng, items = np.random.default_rng(1), NEURAL_ITEMS[size]
    drawn = rng.integers(0, items, (5_000, 4)).tolist()
    bodies = [{"items": [f"B{one:09d}" for one in row], "locale": "DE", "k": LIST} for row in drawn]
    return Served(("--ranker", str(folder)), bodies, f"{items:,} items, random weights, 128 numbers")


def _similar(_: str, folder: Path) -> Served:
    bodies = [{"title": title, "k": LIST} for title in _titles(folder)]
    return Served(("--index", str(folder)), bodies, str(folder))


def _written(size: str, folder: Path, backend: str) -> Served:
    from bench.decoding import tokens_of

    titles = _titles(store_of(size))
    histories = [titles[row : row + 3] for row in range(0, len(titles) - 3, 3)]
    bodies = [{"titles": history, "locale": "UK"} for history in histories]

    def told() -> str:
        return f"a title has {tokens_of(folder, histories[:64]):.1f} tokens in the mean"

    flags = ("--titles", str(folder), "--backend", backend)
    return Served(flags, bodies, f"a tiny mT5 of random weights, {backend}", told)


def _titles(folder: Path) -> list[str]:
    """Some of a store or of an embeddings folder."""
    import pyarrow.parquet as pq

    column = pq.read_table(folder / "products.parquet", columns=["title"]).column("title")
    chosen = np.random.default_rng(2).permutation(len(column))[:6_000]
    return [title for title in column.take(chosen).to_pylist() if title]


_MAKERS: Final[dict[str, Callable[[str, Path], None]]] = {
    "covisit": _make_covisit,
    "fusion": _make_fusion,
    "gru4rec": _make_gru4rec,
    "similar": _make_similar,
    "titles": _make_titles,
    "titles_transformers": _make_titles,
}
_SERVED: Final[dict[str, Callable[[str, Path], Served]]] = {
    "covisit": _recommending,
    "fusion": _recommending,
    "gru4rec": _neural,
    "similar": _similar,
    "titles": partial(_written, backend="ctranslate2"),
    "titles_transformers": partial(_written, backend="transformers"),
}
