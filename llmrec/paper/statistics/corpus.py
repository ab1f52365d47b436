"""Sessions and products to count in: a store, a folder of raw files, or one file of sessions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import ibis
import ibis.expr.types as ir
from ibis.backends.duckdb import Backend

from llmrec.data.connection import connected
from llmrec.data.products import read_products_file
from llmrec.data.raw import explained
from llmrec.data.sessions import read_products, read_sessions, read_sessions_file
from llmrec.data.sources import Source, find_source, is_store, source_of, test_split
from llmrec.data.spark.open_cluster import Engine, check_places, spread_tables
from llmrec.data.store import TRAINING_SPLITS, Store
from llmrec.errors import ConfigError, DataError, nearest
from llmrec.files import table_files, uri_of
from llmrec.schema import LOCALES

__all__ = ["ALL", "TRAIN", "Corpus", "by_locale", "open_corpus"]

ALL: Final = "all"
"""What stands for every locale together in the tables."""
TRAIN: Final = "train"
_MEMORY_GB: Final = 4


@dataclass(frozen=True)
class Corpus:
    """Sessions by split, open for counting.

    Attributes:
        path: Where they were read.
        con: The engine that holds them.
        splits: Split to a table of ``session_id``, ``prev_items`` and ``locale``; ``train`` first where there is one.
        targets: The training sessions' ``next_item`` with ``locale``, where there are any.
        products: ``locale`` and ``id``, one row for each pair; None where no products are known.
        counted: Splits whose sessions the figures count.
    """

    path: Path
    con: Backend
    splits: Mapping[str, ir.Table]
    targets: ir.Table | None
    products: ir.Table | None
    counted: tuple[str, ...]

    @property
    def sessions(self) -> ir.Table:
        """Sessions that the figures count: ``split``, ``session_id``, ``prev_items``, ``locale``."""
        return self.sessions_of(self.counted)

    def sessions_of(self, names: Sequence[str]) -> ir.Table:
        """Sessions of some splits, with the split's name."""
        parts = [self.splits[name].mutate(split=ibis.literal(name)) for name in names]
        return parts[0] if len(parts) == 1 else ibis.union(*parts)

    def rows(self, table: ir.Table) -> Any:
        """Run an expression; the answer as an Arrow table."""
        with explained(self.path):
            return self.con.to_pyarrow(table)

    def choose(self, split: str) -> Corpus:
        """The same with figures of one split alone.

        Raises:
            ConfigError: there is no such split; the known ones are named.
        """
        if split not in self.splits:
            raise ConfigError(f"{self.path}: no split '{split}'{nearest(split, self.splits)}")
        return replace(self, counted=(split,))


def by_locale(names: Sequence[str]) -> list[str]:
    """Locales in the order of every table here: all together, the paper's six, others by name."""
    place = {name: position for position, name in enumerate((ALL, *LOCALES))}
    return sorted(set(names), key=lambda name: (place.get(name, len(place)), name))


@contextmanager
def open_corpus(path: Path, engine: Engine | None = None, master: str | None = None) -> Iterator[Corpus]:
    """Open sessions for counting; the figures are of the training sessions, or of all files where there are none.

    Args:
        path: A store, a folder of raw files (the official CSVs, the authors' repository, Parquet), or a file of
            sessions; for Spark the URI of one.
        engine: Where to count.
        master: Of Spark.

    Raises:
        ConfigError: ``path`` is neither.
        DataError: a file cannot be read.
    """
    check_places(engine, {"STORE": [path]})
    if engine == "spark":
        with spread_tables(master) as con:
            yield _corpus(path, con, *_read_on_cluster(con, path))
    else:
        with connected(_MEMORY_GB) as con:
            yield _corpus(path, con, *_read(con, path))


def _corpus(
    path: Path, con: Any, splits: Mapping[str, ir.Table], targets: ir.Table | None, products: ir.Table | None
) -> Corpus:
    return Corpus(path, con, splits, targets, products, (TRAIN,) if TRAIN in splits else tuple(splits))


def _read(con: Backend, path: Path) -> tuple[dict[str, ir.Table], ir.Table | None, ir.Table | None]:
    if table_files(path):
        sessions = read_sessions_file(con, path)
        return {test_split(path.stem) or path.stem: _bare(sessions)}, _targets(sessions), None
    if not is_store(path):
        return _read_source(con, find_source(path))
    Store.load(path)
    return _read_store(con, path, [file.stem for file in path.glob("*.parquet")])


def _read_on_cluster(con: Backend, path: Path) -> tuple[dict[str, ir.Table], ir.Table | None, ir.Table | None]:
    names = con.names(uri_of(path) or "")
    if "manifest.json" in names:
        return _read_store(con, path, [name.removesuffix(".parquet") for name in names])
    if names and (source := source_of(path, names)) and (source.train or source.tests):
        return _read_source(con, source)
    sessions = read_sessions_file(con, path)
    return {test_split(path.stem) or path.stem: _bare(sessions)}, _targets(sessions), None


def _read_store(
    con: Backend, path: Path, tables: Iterable[str]
) -> tuple[dict[str, ir.Table], ir.Table | None, ir.Table | None]:
    splits, targets = {}, None
    if "sessions_development" in tables:
        training = read_sessions(con, [path / f"sessions_{name}.parquet" for name in TRAINING_SPLITS])
        splits[TRAIN], targets = _bare(training), _targets(training)
    for name in sorted(one.removeprefix("sessions_") for one in tables if one.startswith("sessions_test")):
        splits[name] = _bare(read_sessions(con, [path / f"sessions_{name}.parquet"]))
    products = read_products(con, path / "products.parquet").select("locale", "id")
    known = con.to_pyarrow(products.count()).as_py()
    if not splits:
        raise DataError(f"{path}: a store without sessions; import again: llmrec data import SRC {path}")
    return splits, targets, products if known else None


def _read_source(con: Backend, source: Source) -> tuple[dict[str, ir.Table], ir.Table | None, ir.Table | None]:
    splits, targets, products = {}, None, None
    if source.train is not None:
        training = read_sessions_file(con, source.train)
        splits[TRAIN], targets = _bare(training), _targets(training)
    for test in source.tests:
        splits[test.split] = _bare(read_sessions_file(con, test.sessions))
    if source.products is not None:
        products = read_products_file(con, source.products).select("locale", "id")
    return splits, targets, products


def _bare(sessions: ir.Table) -> ir.Table:
    return sessions.select("session_id", "prev_items", locale=ibis.coalesce(sessions.locale, ""))


def _targets(sessions: ir.Table) -> ir.Table | None:
    return sessions.select("locale", id="next_item") if "next_item" in sessions.columns else None
