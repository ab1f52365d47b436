"""What runs on an executor for titles: a writer or a selector that is there, and the sessions of a partition."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

import llmrec
from llmrec.cluster.on_executor import said, same_version, sessions_of_batch
from llmrec.console import stderr
from llmrec.data.spark.storage import shared_folder
from llmrec.evaluation.runs import PREDICTION
from llmrec.rankers.fusion.ranker import Fusion
from llmrec.selection.selector import Selector
from llmrec.selection.table import TitleTable
from llmrec.titles.title_writer import TitleWriter

__all__ = ["Choosing", "Writing"]

_AT_ONCE: Final = 1024  # sessions chosen for at once


@dataclass(frozen=True)
class Writing:
    """What an executor is told of a writer; it travels with the work.

    Attributes:
        model: Where it is, from `llmrec.data.spark.storage.ship`, or a hub name.
        asked: Further arguments of `TitleWriter.load`, as JSON.
        num_beams: Beams.
        batch_size: Sessions written at once.
        version: The driver's version of this package.
    """

    model: str
    asked: str
    num_beams: int
    batch_size: int
    version: str = llmrec.__version__

    def told(self, batches: Iterator[Any]) -> Iterator[Any]:
        """What a run says of the writer, and what it reads: ``k`` products and which of their ``fields``."""
        for _ in batches:
            writer = self._writer()
            written = writer.write([], [], num_beams=self.num_beams, batch_size=self.batch_size)
            read = {"k": writer.history, "fields": list(writer.prompt.fields)}
            yield said({"provenance": dict(written.provenance), **read})

    def written(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Titles for batches with ``locale`` and ``products``, lists of structs of texts, in their order."""
        writer = self._writer()
        for batch in batches:
            locales = batch.column("locale").to_pylist()
            histories = batch.column("products").to_pylist()
            titles = writer.write(histories, locales, num_beams=self.num_beams, batch_size=self.batch_size)
            yield _titles(locales, list(titles))

    def _writer(self) -> Any:
        same_version(self.version)
        return _loaded(self.model, self.asked)


@dataclass(frozen=True)
class Choosing:
    """What an executor is told of a selector and the products whose titles it chooses among."""

    selector: str
    products: str
    version: str = llmrec.__version__

    def told(self, batches: Iterator[Any]) -> Iterator[Any]:
        """What a run says of the selector."""
        for _ in batches:
            selector = self._opened()[0]
            settings = {**vars(selector.settings)}
            yield said({"settings": settings, "tokenizers": selector.tokenizers, "estimate": selector.estimate})

    def written(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Titles for batches with ``prev_items``, ``locale``, ``file`` and ``row``, in their order.

        Raises:
            DataError: a session is malformed; names file and row.
        """
        selector, table = self._opened()
        for batch in batches:
            sessions = sessions_of_batch(pa.Table.from_batches([batch]))
            for start in range(0, len(sessions), _AT_ONCE):
                some = sessions.slice(start, min(_AT_ONCE, len(sessions) - start))
                yield _titles(some.locales, selector.select(some, table))

    def _opened(self) -> tuple[Selector, TitleTable]:
        same_version(self.version)
        return _opened(self.selector, self.products)


def _titles(locales: Any, titles: list[str]) -> Any:
    names = locales.combine_chunks() if isinstance(locales, pa.ChunkedArray) else pa.array(locales, pa.string())
    return pa.RecordBatch.from_arrays([names, pa.array(titles, pa.string())], names=["locale", PREDICTION])


@cache
def _loaded(model: str, asked: str) -> Any:
    """The writer, once for a worker process."""
    stderr.quiet = True
    given = json.loads(asked)
    if given["prompt"]:
        given["prompt"] = _here(given["prompt"])
    return TitleWriter.load(_here(model), **given)


def _here(place: str) -> str:
    """What was shipped, as a path of this node; a name as it is."""
    return str(shared_folder(place)) if place.startswith(("file:", "shipped:")) else place


@cache
def _opened(selector: str, products: str) -> tuple[Selector, TitleTable]:
    stderr.quiet = True
    kept = Selector.load(shared_folder(selector))
    return kept, TitleTable(_products(shared_folder(products)), kept.tokenizers)


def _products(place: Path) -> Any:
    """Products of a file of Parquet, or of a folder of such files."""
    return pq.read_table(place, columns=list(Fusion.product_columns), partitioning=None).combine_chunks()
